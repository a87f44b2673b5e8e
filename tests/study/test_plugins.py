"""Modules of the user's that add to the registries."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from studies import secnn

from secnn import CRITERIA, DATASETS, TrialConfig, plugins
from secnn.study import worker
from secnn.study.run import main
from secnn.study.store import StoreError, open_study, read_study

QUICK = ("--preset", "quick", "--dataset", "digits", "--epochs", "2", "--num-samples", "1")
QUICK = (*QUICK, "--tau", "--lam")
OWN = """
import secnn
from dataclasses import replace
from secnn.growth.decision import Decision


class Eager:
    scored = False

    def decide(self, growth):
        return Decision(growth.candidates[0].expansion, f"from {__file__}")


class Broken(Eager):
    def decide(self, growth):
        return {}["score"]


secnn.CRITERIA["eager"] = lambda settings: Eager()
secnn.CRITERIA["broken"] = lambda settings: Broken()
secnn.THRESHOLDS["eager"] = 0.25
secnn.PRESETS["ours"] = replace(secnn.PRESETS["quick"], summary="grows 100 % of the time")
"""


@pytest.fixture
def own(tmp_path) -> Path:
    """A folder with the plugin `own`."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "own.py").write_text(OWN.lstrip())
    return tmp_path / "here"


def test_a_plugins_criteria_run_in_the_workers_and_its_errors_are_told(own):
    arguments = ("--import", "own", *QUICK, "--criterion", "eager", "broken")
    arguments = (*arguments, "--max-failures", "0", "--out", "out")
    run = secnn("run", *arguments, cwd=own)
    assert run.returncode == 1, run.stdout + run.stderr
    assert "2 of 3 trials are done" in run.stdout
    line = 1 + OWN.lstrip().splitlines().index('        return {}["score"]')
    reason = f"KeyError: 'score' (own.py:{line})"
    (failed,) = (text for text in run.stderr.splitlines() if text.startswith("FAILED"))
    assert failed == f"FAILED criterion=broken,seed=0: {reason}"
    assert (own / "out/trials/criterion=broken,seed=0/ERROR").read_text() == f"{reason}\n"
    assert "memory" not in run.stderr
    assert len(run.stderr.splitlines()) == 2  # With the line that tries it again.

    eager = "criterion=eager,tau=0.25,lam=0,seed=0"
    rows = pq.read_table(own / f"out/logs/expansions/{eager}.parquet").to_pylist()
    assert [row["reason"] for row in rows if row["chosen"]] == [f"from {own / 'own.py'}"]
    study = json.loads((own / "out/study.json").read_text())
    assert study["imports"] == ["own"]
    assert study["command"] == "python -m secnn run " + " ".join(arguments)

    # What needs no settings needs no plugin either.
    status = secnn("status", "out", cwd=own)
    assert status.stdout.count(" done ") == 2
    assert reason in status.stdout
    assert secnn("ladder", "out", cwd=own).returncode == 0


def test_a_plugin_shows_in_the_choices_and_is_part_of_the_study(own):
    shown = secnn("run", "--import", "own", "--help", cwd=own)
    assert shown.returncode == 0, shown.stderr
    assert "ours: grows 100 % of the time" in " ".join(shown.stdout.split())
    assert "broken" in shown.stdout
    without = secnn("run", "--criterion", "eager", "--dry-run", cwd=own)
    assert without.returncode == 2
    assert without.stderr.count("\n") == 1
    assert "'eager'" in without.stderr


def test_a_study_goes_on_with_more_plugins_but_not_with_fewer(tmp_path):
    def study(*imports):
        trials = {"a": TrialConfig().to_dict()}
        about = {"format": 1, "preset": "quick", "dataset": {"name": "x"}, "trials": trials}
        return about | {"imports": [*imports]}

    open_study(tmp_path / "out", study("a"))
    open_study(tmp_path / "out", study("b", "a"))
    assert read_study(tmp_path / "out")["imports"] == ["b", "a"]
    open_study(tmp_path / "out", study("a", "b"))
    with pytest.raises(StoreError, match=r'\(imports: \["a", "b"\] there, \["a"\] asked for\)'):
        open_study(tmp_path / "out", study("a"))


BAD = {
    "missing": (None, "ModuleNotFoundError: No module named 'bad_missing'"),
    "raises": ("x = {}\n\nx['no']\n", "KeyError: 'no' (bad_raises.py:3)"),
    "syntax": ("x = 1\ndef f(:\n", "SyntaxError: invalid syntax (bad_syntax.py:2)"),
    "leaves": ("import sys\nsys.exit('no')\n", "SystemExit: no (bad_leaves.py:2)"),
    "empty": ("assert False\n", "AssertionError (bad_empty.py:1)"),
    "lines": ("raise ValueError('one\\ntwo')\n", "ValueError: one (bad_lines.py:1)"),
    "needs": ("import nil\n", "ModuleNotFoundError: No module named 'nil' (bad_needs.py:1)"),
    "taken": (
        "from secnn import CRITERIA\nCRITERIA['natural'] = print\n",
        "ValueError: criterion: the name 'natural' is taken; choose another one (bad_taken.py:2)",
    ),
}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The current folder, and the search path as it was afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_error_in_a_plugin_before_any_trial_is_told_too(here, monkeypatch, capsys):
    (here / "bad_source.py").write_text("def read(folder):\n    return {}[folder.name]\n")
    sys.path.insert(0, str(here))
    plugins.load(["bad_source"])
    monkeypatch.setitem(DATASETS, "own", sys.modules["bad_source"].read)
    assert main(["--dataset", "own"]) == 2
    assert capsys.readouterr().err == "error: KeyError: 'data' (bad_source.py:2)\n"


@pytest.mark.parametrize("case", BAD)
def test_a_plugin_that_cannot_be_imported_is_refused_in_one_line(case, here, capsys):
    text, reason = BAD[case]
    if text:
        (here / f"bad_{case}.py").write_text(text)
    with pytest.raises(SystemExit) as exit:
        main(["--import", f"bad_{case}", "--help"])
    assert exit.value.code == 2
    assert capsys.readouterr() == ("", f"error: --import bad_{case}: {reason}\n")


@pytest.mark.parametrize("name", ["sched", "queue", "statistics.mine"])
def test_a_module_that_python_has_already_is_refused(name, here, capsys):
    (here / f"{name}.py").write_text("print('loaded')\n")
    with pytest.raises(SystemExit) as exit:
        main(["--import", name, "--help"])
    assert exit.value.code == 2
    out, error = capsys.readouterr()
    top = name.partition(".")[0]
    assert (out, error) == (
        "",
        f"error: --import {name}: Python has a module {top} of its own; rename yours\n",
    )


def test_a_source_that_gives_no_splits_is_named(monkeypatch, capsys):
    monkeypatch.setitem(DATASETS, "own", lambda folder: None)
    assert main(["--dataset", "own"]) == 2
    assert "dataset 'own': expected its function to give Splits, got NoneType" in (
        capsys.readouterr().err
    )


def test_a_packages_module_is_told_with_its_folder(here, capsys):
    (here / "bad_package" / "inner").mkdir(parents=True)
    (here / "bad_package" / "__init__.py").write_text("from bad_package.inner import cells\n")
    (here / "bad_package" / "inner" / "cells.py").write_text("\n1 / 0\n")
    with pytest.raises(SystemExit):
        main(["--import", "bad_package", "--help"])
    assert "ZeroDivisionError: division by zero (bad_package/inner/cells.py:2)" in (
        capsys.readouterr().err
    )


def test_installed_plugins_are_loaded_and_a_broken_one_is_named(here, monkeypatch):
    (here / "bad_installed.py").write_text("raise OSError('no licence')\n")
    sys.path.insert(0, str(here))
    entry = SimpleNamespace(
        name="cells",
        module="bad_installed",
        dist=SimpleNamespace(name="secnn-cells"),
        load=lambda: __import__("bad_installed"),
    )
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])
    with pytest.raises(plugins.PluginError) as error:
        plugins.load([])
    assert str(error.value) == (
        "the plugin cells of secnn-cells: OSError: no licence (bad_installed.py:1)"
    )


def test_a_worker_that_does_not_know_a_setting_says_so(tmp_path):
    """As on a machine with another version of an installed plugin."""
    fields = TrialConfig().to_dict() | {"criterion": "eager"}
    study = {"trials": {"key": fields}, "imports": []}
    with pytest.raises(ValueError, match="eager"):
        worker.run({"key": "key"}, {}, study, str(tmp_path), threads=1)
    (note,) = tmp_path.glob("trials/key/ERROR")
    assert note.read_text().startswith("ValueError: criterion: expected one of ")


def test_a_worker_without_the_plugin_says_so_and_is_not_tried_again(tmp_path):
    study = {"trials": {"key": TrialConfig().to_dict()}, "imports": ["no_such_plugin"]}
    worker.run({"key": "key"}, {}, study, str(tmp_path), threads=1)
    assert (tmp_path / "trials/key/ERROR").read_text() == (
        "PluginError: --import no_such_plugin: ModuleNotFoundError: "
        "No module named 'no_such_plugin'\n"
    )


def test_an_entry_that_is_no_criterion_is_refused_before_anything_is_written(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(CRITERIA, "halfway", lambda settings: object())
    assert main([*QUICK, "--criterion", "halfway", "--out", str(tmp_path / "out")]) == 2
    assert "criterion halfway: expected a function of the settings" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
