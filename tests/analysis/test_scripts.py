"""The scripts' command lines: what they write, what they import, what they answer to bad input."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image
from written_studies import ROOT, SWEEP, config, draw_epochs, write_study, write_trial

from secnn.analysis import make_table, plot_growth, plot_pareto, plot_sweep, report
from secnn.analysis.logs import read_study

SCRIPTS = {
    "make_table": make_table,
    "plot_pareto": plot_pareto,
    "plot_growth": plot_growth,
    "plot_sweep": plot_sweep,
    "report": report,
}
WRITTEN = {
    "make_table": {"table.md", "table.csv", "settings.csv", "table.tex"},
    **{
        f"plot_{name}": {f"{name}.{kind}" for kind in ("png", "svg", "pdf")}
        for name in ("pareto", "growth", "sweep")
    },
    "report": {"report.html"},
}


def run(script: str, *arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    line = [sys.executable, "-W", "error", ROOT / "analysis" / f"{script}.py", *arguments]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        list(map(str, line)),
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        timeout=60,
        env=os.environ | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_write_their_files_and_no_others(finished: Path, script: str):
    done = run(script, finished)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"Study: {finished}"
    written = finished / "analysis"
    assert {p.name for p in written.iterdir()} == WRITTEN[script]
    assert all(name in done.stdout for name in WRITTEN[script])
    for path in written.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size < 500_000
    for path in written.glob("*.svg"):
        assert ET.parse(path).getroot().tag.endswith("svg")
    for path in written.glob("*.pdf"):
        assert path.read_bytes().startswith(b"%PDF")


def test_the_default_is_the_newest_study_under_runs(finished: Path):
    done = run("make_table", cwd=finished.parents[1])
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == f"Study: {Path('runs', 'finished')} (the newest)"


@pytest.mark.parametrize("script", SCRIPTS)
def test_bad_input_is_one_line_and_status_2(
    tmp_path: Path, script: str, capsys: pytest.CaptureFixture
):
    write_study(tmp_path / "started", [config()])
    for out in (tmp_path, tmp_path / "missing", tmp_path / "started"):
        assert SCRIPTS[script].main([str(out)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and str(out) in error
    done = run(script, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no study under runs") and done.stderr.count("\n") == 1
    assert not (tmp_path / "started" / "analysis").exists()


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_study_of_failures_says_why_instead_of_to_wait(tmp_path: Path, script: str, capsys):
    keys = write_study(tmp_path, [config(seed=s) for s in range(3)])
    for key in reversed(keys[1:]):
        (tmp_path / "trials" / key).mkdir(parents=True)
        (tmp_path / "trials" / key / "ERROR").write_text(f"TrialDiverged: nan in {key}\n")
    assert SCRIPTS[script].main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "2 of 3 trials failed" in error and error.count("\n") == 1
    assert error.endswith(f"TrialDiverged: nan in {keys[1]}\n") and "wait" not in error
    write_trial(tmp_path, keys[0], draw_epochs(2, 0))
    assert len(read_study(tmp_path).trials) == 3, "one that goes on can be analysed"


@pytest.mark.parametrize("target", ["0", "-1", "100.5", "nan", "inf", "many"])
def test_targets_are_percentages(finished: Path, target: str, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as stopped:
        make_table.main([str(finished), "--targets", "70", target])
    assert stopped.value.code == 2
    assert f"above 0 and at most 100, got {target}" in capsys.readouterr().err


def test_a_study_without_a_sweep_has_no_sweep_to_plot(tmp_path: Path, capsys):
    for key in write_study(tmp_path, [config(seed=s) for s in range(2)]):
        write_trial(tmp_path, key, draw_epochs(3, 0))
    assert plot_sweep.main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "there is no sweep in this study" in error and "yet" not in error


def test_a_sweep_that_has_not_begun_can_still_come(tmp_path: Path, capsys):
    keys = write_study(tmp_path, SWEEP, reference=config())
    write_trial(tmp_path, keys[0], draw_epochs(3, 0))
    assert plot_sweep.main([str(tmp_path)]) == 2
    assert "no sweep of τ or λ has logged an epoch yet" in capsys.readouterr().err


@pytest.mark.parametrize("script", SCRIPTS)
def test_notice_and_protocol_stand_in_every_output(tmp_path: Path, script: str, monkeypatch):
    notice = "Not CIFAR-10 but\ndigits, for $5^^6$."
    dataset = {"name": "digits", "notice": notice, "validation": "test"}
    for i, key in enumerate(write_study(tmp_path, SWEEP, **dataset)):
        write_trial(tmp_path, key, draw_epochs(4, i))
    drawn, savefig = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *a, **k: drawn.append(figure) or savefig(figure, *a, **k)
    )
    assert SCRIPTS[script].main([str(tmp_path)]) == 0
    texts = [" ".join(figure.get_supxlabel().split()) for figure in drawn]
    if not texts or script == "report":
        texts = [p.read_text() for p in (tmp_path / "analysis").iterdir()]
    for text in texts:
        assert "Not CIFAR-10 but digits, for" in text
        assert "validation = test set (the paper" in text
        assert "quick" in text and "digits" in text


@pytest.mark.parametrize("script", [s for s in SCRIPTS if s.startswith("plot_")])
@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_one_file_of_the_size_asked_for_is_written(finished: Path, script: str, kind: str):
    out = finished.parent / f"mine.{kind}"
    arguments = [str(finished), "--output", str(out), "--size", "column", "--title", "Mine <1>"]
    assert SCRIPTS[script].main(arguments) == 0
    assert not (finished / "analysis").exists()
    if kind == "png":
        with Image.open(out) as image:
            assert image.size[0] == pytest.approx(3.4 * 200, abs=1)
    if kind == "svg":
        assert "Mine &lt;1&gt;" in out.read_text()
        assert float(ET.parse(out).getroot().get("width")[:-2]) == pytest.approx(3.4 * 72, abs=1)


@pytest.mark.parametrize("text", ["figure", "figure.jpg", "a.html"])
def test_figures_are_written_in_known_formats(finished: Path, text: str, capsys):
    with pytest.raises(SystemExit) as stopped:
        plot_growth.main([str(finished), "--output", text])
    assert stopped.value.code == 2
    assert f"ends in .png, .svg, .pdf, got {text}" in capsys.readouterr().err
    assert (
        plot_growth.main([str(finished), "--output", str(finished / "study.json" / "a.png")]) == 2
    )
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "a.png" in error


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_study_where_nothing_can_be_written(finished: Path, script: str, capsys):
    (finished / "analysis").write_text("")
    assert SCRIPTS[script].main([str(finished)]) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1 and "Errno" not in told.err and ".tmp" not in told.err
    assert re.match(rf"error: {re.escape(str(finished / 'analysis'))}/\S+: Not a dir", told.err)
    if script == "make_table":
        assert "| highest validation accuracy (%) |" in told.out
    else:
        assert told.err.endswith("; write it elsewhere with --output\n")


@pytest.mark.parametrize("text", ["page", "page.png", "-", "/", ""])
def test_a_page_is_an_html_file(finished: Path, text: str, capsys):
    with pytest.raises(SystemExit) as stopped:
        report.main([str(finished), f"--output={text}"])
    assert stopped.value.code == 2
    assert f"expected a file that ends in .html, got {text}" in capsys.readouterr().err


def test_neither_torch_nor_ray_is_imported():
    files = [p.relative_to(ROOT).with_suffix("") for p in (ROOT / "analysis").rglob("*.py")]
    modules = sorted(".".join(p.parts[1:]) for p in files if p.name != "__init__")
    imports = "; ".join(f"import secnn.analysis.{m}" for m in modules)
    code = f"import sys, json; {imports}; print(json.dumps([*sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout))
    assert {"secnn.analysis.logs", "pandas", "matplotlib"} <= loaded
    assert not loaded & {"torch", "ray"}
