"""The documentation: the site builds, links lead somewhere, what runs runs, tables are true."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

import pyarrow.parquet as pq
import pytest
from documents import (
    LINK,
    PAGES,
    TEXTS,
    Page,
    anchors,
    commands,
    python,
    read,
    rows,
    section,
    without_code,
)
from studies import ROOT

import secnn
from secnn.store.record import EpochRecord, ExpansionRecord, TrialRecord, schema

NEEDED = ("sphinx", "furo", "myst_parser")
DOCS = {page.stem: read(page) for page in PAGES}

STUDY = """
from secnn.data.dataset import load_dataset
from secnn.study import describe, store, worker
from secnn.study.run import options
from secnn.training.config import TrialConfig
from secnn.training.trial import Trial

line = "--preset quick --dataset digits --num-samples 1 --tau --lam --epochs 2 --set rungs=2"
asked, data = options().parse_args(line.split()), load_dataset("digits")
study, out = describe.describe(asked, data), store.Path("runs/quick-digits")
store.open_study(out, study)
for key, fields in study["trials"].items():
    config = TrialConfig.from_dict(fields)
    kept = store.TrialStore(out, key, worker.identity(study, key, config))
    kept.fence.acquire()
    trial = Trial(config, data, ladder=kept.ladder)
    kept.resume(trial)
    while not trial.done:
        trial.step()
        kept.save(trial)
    kept.finish(config, trial.finish())
"""
"""A study of one trial without Ray, in the folder that the pages name."""

PARSED = """
import json, shlex, sys
from secnn import __main__ as front, commands
from secnn.study.settings import setting

parse, names = commands.Parser.parse_args, {v: k for k, v in commands.SCRIPTS.items()}

class Parsed(Exception):
    pass

def once(self, *given):
    for text in getattr(parse(self, *given), "set", []):
        setting(text)
    raise Parsed

commands.Parser.parse_args = once
for line in json.load(sys.stdin):
    words = shlex.split(line)
    words = words[1:] if words[0] == "secnn" else names[words[1]].split() + words[2:]
    if " ".join(words) in front.COMMANDS:
        continue  # Its name alone.
    try:
        front.main(words)
    except Parsed:
        pass
    except (SystemExit, ValueError) as error:
        print(line, error)
"""
"""Prints the command lines that secnn refuses."""

REGISTRIES = """
import importlib, json, sys
for name in json.load(sys.stdin):
    module, _, own = name.rpartition(".")
    print(json.dumps([name, [*getattr(importlib.import_module(module), own)]]))
"""


def run(*line: object, given: str = "", cwd: Path = ROOT) -> str:
    """What a process prints, if all went well."""
    done = subprocess.run(
        [sys.executable, *map(str, line)],
        cwd=cwd,
        input=given,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- the site -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> dict[str, Page]:
    """Address within the site → page, built strictly."""
    for name in NEEDED:
        if find_spec(name) is None:
            pytest.skip(f"the site needs {name}: pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    strict = ("-W", "--keep-going", "-q", "-d", folder / "trees")
    assert run("-m", "sphinx", *strict, ROOT / "docs", folder / "html") == ""
    files = sorted((folder / "html").rglob("*.html"))
    return {str(file): Page(file) for file in files}


def test_the_site_has_every_page(site):
    assert {Path(file).stem for file in site} >= set(DOCS)


def test_every_link_of_the_site_leads_somewhere(site):
    checked = 0
    for file, page in site.items():
        for link in [*page.links, *page.loaded]:
            if re.match(r"\w+:", link):
                continue
            name, _, place = unquote(link).partition("#")
            target = (Path(file).parent / name.partition("?")[0]).resolve() if name else Path(file)
            assert target.is_file(), f"{file}: {link}"
            if place and str(target) in site:
                assert place in site[str(target)].ids, f"{file}: {link}"
            checked += 1
    assert checked > 500


def test_the_site_loads_nothing_from_elsewhere(site):
    loaded = {link for page in site.values() for link in page.loaded}
    assert loaded and not [link for link in loaded if re.match(r"\w+:|//", link)]


def test_the_reference_has_a_docstring_for_every_public_name(site):
    (page,) = (page for file, page in site.items() if Path(file).stem == "api")
    names = {n for n in secnn.__all__ if callable(getattr(secnn, n))}
    assert {f"secnn.{name}" for name in names} <= page.ids


# --- the Markdown -------------------------------------------------------------------------


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.name)
def test_every_link_in_the_markdown_leads_somewhere(file):
    for link in LINK.findall(without_code(read(file))):
        if re.match(r"\w+:", link):
            continue
        name, _, place = link.partition("#")
        target = (file.parent / name).resolve() if name else file
        assert target.exists() and target.is_relative_to(ROOT), link
        assert not place or place in anchors(read(target)), link


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.name)
def test_every_file_that_is_named_exists(file):
    tops = "secnn|study|analysis|benchmarks|examples|tests|docs"
    named = re.findall(rf"(?<![\w/])(?:{tops})/[\w/-]+\.(?:py|yaml|csv|cpp)\b", read(file))
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_every_command_line_is_one():
    lines = [line for file in TEXTS for line in commands(read(file))]
    assert len(lines) > 40
    assert run("-c", PARSED, given=json.dumps(lines)) == ""


def test_the_criterion_is_told_briefly_and_every_interval_is_in_the_evidence():
    assert len(DOCS["criterion"].split()) <= 1500
    intervals = re.findall(r"\d[\d.]* ± \d[\d.]*\d", DOCS["criterion"])
    assert intervals and not [i for i in intervals if i not in DOCS["criterion-evidence"]]


def test_the_citation_is_of_this_version_and_in_the_papers_order():
    text = read(ROOT / "CITATION.cff")
    names = re.findall(r"family-names: (\w+)", text)
    assert names == ["Deaconu", "Appolinary", "Yang", "Li"]
    assert re.findall(r"(?m)^version: (.*)", text) == [secnn.__version__]


# --- what runs ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the study that the pages name."""
    folder = tmp_path_factory.mktemp("reader")
    run("-c", STUDY, cwd=folder)
    return folder


@pytest.mark.parametrize("page", [name for name, text in DOCS.items() if python(text)])
def test_the_python_of_a_page_runs(page, folder):
    assert run("-W", "error", "-c", python(DOCS[page]), cwd=folder)


# --- what the tables say ------------------------------------------------------------------


def columns(heading: str) -> list[tuple[str, str]]:
    """Name and type, of the table under a heading of results.md."""
    return [(row[0], row[1]) for row in rows(section(DOCS["results"], heading))]


@pytest.mark.parametrize("record", [EpochRecord, ExpansionRecord, TrialRecord])
def test_the_columns_are_those_of_the_logs(record, folder):
    kind = record.__name__.removesuffix("Record").lower()
    kind = {"epoch": "epochs", "expansion": "expansions", "trial": "trials"}[kind]
    own = columns(f"`logs/{kind}`")
    assert own == [(field.name, str(field.type)) for field in schema(record)]
    (log,) = (folder / "runs" / "quick-digits" / "logs" / kind).iterdir()
    found = [(field.name, str(field.type)) for field in pq.ParquetFile(log).schema_arrow]
    shared = columns("Columns of all logs")
    if record is not TrialRecord:
        assert found == shared + own
        return
    settings = secnn.TrialConfig().to_dict().keys()
    versions = {"secnn", "torch", "python", "hostname", "threads"}
    assert dict(found).items() >= dict(shared + own).items()
    assert {name for name, _ in found} - dict(shared + own).keys() - settings == versions


def test_the_files_are_those_of_a_study(folder):
    out = folder / "runs" / "quick-digits"
    named = [name for row in rows(section(DOCS["results"], "Files")) for name in row[:1]]
    named = [part.strip("` ") for names in named for part in names.split(",")]
    later = ("analysis/", "table", "settings", "growth", "sweep", "calibration", "comparison")
    named = [name for name in named if not name.startswith((*later, "ray/", "trials/KEY/ERROR"))]
    signs = {"KEY": "[^/]+", r"\-N": r"\-\d+", r"\-T": r"\-\d+"}
    patterns = {name: re.escape(name) for name in named}
    for sign, pattern in signs.items():
        patterns = {name: text.replace(sign, pattern) for name, text in patterns.items()}
    files = [str(f.relative_to(out)) for f in out.rglob("*") if f.is_file()]
    assert [f for f in files if not any(re.fullmatch(p, f) for p in patterns.values())] == []
    assert [n for n, p in patterns.items() if not any(re.fullmatch(p, f) for f in files)] == []


def test_the_keys_are_those_of_the_files(folder):
    out = folder / "runs" / "quick-digits"
    study = json.loads(read(out / "study.json"))
    told = [row[0] for row in rows(section(DOCS["results"], "`study.json`"))]
    assert set(told) == study.keys() | {"retrain"}
    told = rows(section(DOCS["results"], "A checkpoint"))
    keys = {name: where for names, _, where in told for name in re.findall(r"\w+", names)}
    last = secnn.store.checkpoint.read(next(out.glob("trials/*/last.pt")))
    best = secnn.store.checkpoint.read(next(out.glob("trials/*/ladder/best.pt")))
    assert keys.keys() == last.keys()
    assert {name for name, where in keys.items() if where == "all"} == best.keys()


def test_the_public_names_are_all_told():
    told = [row[0] for row in rows(DOCS["api"])]
    assert sorted(told) == sorted(secnn.__all__)


def test_the_registries_hold_what_the_table_says():
    table = rows(section(DOCS["extending"], "The registries"))
    told = {row[0]: re.findall(r"`([^`]+)`", row[2]) or [row[2]] * bool(row[2]) for row in table}
    found = map(json.loads, run("-c", REGISTRIES, given=json.dumps([*told])).splitlines())
    assert told == dict(found)
