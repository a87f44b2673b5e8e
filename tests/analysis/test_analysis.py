"""Analysis: the statistics agree with brute force, running studies can be read, outputs say what
they must."""

import json
import os
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from secnn.analysis import make_table, plot_growth, plot_pareto, plot_sweep, report
from secnn.analysis.logs import Setting, StudyError, newest_study, read_study
from secnn.analysis.summary import (
    best_epoch,
    best_of_sizes,
    mean_curve,
    measures,
    networks,
    parameters_reaching,
    pareto_front,
    spread,
)

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = {
    "make_table": make_table,
    "plot_pareto": plot_pareto,
    "plot_growth": plot_growth,
    "plot_sweep": plot_sweep,
    "report": report,
}
WRITTEN = {
    "make_table": {"table.md", "table.csv", "settings.csv", "table.tex"},
    "plot_pareto": {"pareto.png", "pareto.svg"},
    "plot_growth": {"growth.png", "growth.svg"},
    "plot_sweep": {"sweep.png", "sweep.svg"},
}
DRAWN = {f"{name}.{kind}" for name in ("pareto", "growth", "sweep") for kind in ("png", "svg")}
WRITTEN["report"] = {"report.html", *DRAWN}
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog"]
CIFAR10 += ["horse", "ship", "truck"]
PLANNED = 15


def config(criterion="natural", tau=1.5, lam=0.0, seed=0) -> dict:
    return {"criterion": criterion, "tau": tau, "lam": lam, "seed": seed, "epochs": PLANNED}


def trial_key(config: dict) -> str:
    read = ("criterion", "tau", "lam", "seed")
    if config["criterion"] != "natural":
        read = ("criterion", "seed")
    return ",".join(
        f"{k}={v if isinstance(v, str) else format(v, 'g')}" for k, v in config.items() if k in read
    )


def write_study(out: Path, configs: list[dict], *, reference=None, **dataset) -> list[str]:
    dataset = {
        "name": "cifar10",
        "source": "synthetic",
        "notice": None,
        "validation": "held-out",
        "classes": 10,
        **dataset,
    }
    trials = {trial_key(c): c for c in configs}
    study = {"format": 1, "preset": "quick", "dataset": dataset, "trials": trials}
    if reference:
        study["reference"] = {k: reference[k] for k in ("criterion", "tau", "lam")}
    out.mkdir(parents=True, exist_ok=True)
    (out / "study.json").write_text(json.dumps(study))
    return list(trials)


def write_log(out: Path, kind: str, key: str, rows: pd.DataFrame) -> Path:
    path = out / "logs" / kind / f"{key}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.x.tmp")
    rows.to_parquet(temporary)
    os.replace(temporary, path)
    return path


def draw_epochs(count: int, seed: int) -> pd.DataFrame:
    """A trial that grows now and then; as a trial logs it, the parameters follow a row later."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(3, count, p=(0.6, 0.2, 0.2))
    named = (None, "AddLayer(block=1)", "AddChannels(block=0, channels=4)")
    added = np.array((0, 2336, 1500))[kinds]
    return pd.DataFrame(
        {
            "epoch": np.arange(1, count + 1),
            "parameters": 9024 + np.cumsum(added) - added,
            "val_accuracy": np.round(85 - 50 * np.exp(-np.arange(count) / 4), 1)
            + rng.integers(-30, 30, count) / 10,
            "expansion": [named[k] for k in kinds],
            "more": 1.0,
        }
    )


def write_trial(out: Path, key: str, epochs: pd.DataFrame, test_accuracy=None) -> None:
    """The epochs, and the row of the end if there is a `test_accuracy`."""
    write_log(out, "epochs", key, epochs)
    if test_accuracy is not None:
        write_log(out, "trials", key, pd.DataFrame({"test_accuracy": [test_accuracy]}))


SWEEP = [
    *(config(seed=s) for s in range(3)),
    config(tau=4.0),
    config(lam=1e-6),
    config(criterion="never"),
]


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A study of three seeds, a sweep and a control, all done."""
    out = tmp_path / "runs" / "finished"
    for i, key in enumerate(write_study(out, SWEEP, reference=config())):
        write_trial(out, key, draw_epochs(PLANNED, i), 70.0 + i)
    return out


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


def pipe_rows(text: str, caption: str) -> dict[str, list[str]]:
    """The rows of the Markdown table under `caption`, by their first cell."""
    lines = text.split(caption)[1].split("**\n")[1].strip().split("\n\n")[0].splitlines()
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells}


def dominates(a: tuple, b: tuple) -> bool:
    return a[0] <= b[0] and a[1] >= b[1] and a != b


# Statistics


@pytest.mark.parametrize("seed", range(20))
def test_pareto_front_is_what_nothing_dominates(seed: int):
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 60)
    # Few different values: ties in both, and equal points.
    points = pd.DataFrame(
        {"parameters": rng.integers(1, 12, size), "val_accuracy": rng.integers(0, 12, size) / 2}
    )
    front = pareto_front(points)
    everything = list(points.itertuples(index=False, name=None))
    on_front = list(front.itertuples(index=False, name=None))
    assert not any(dominates(a, b) for a in everything for b in on_front)
    assert set(on_front) == {b for b in everything if not any(dominates(a, b) for a in everything)}
    assert len(on_front) == len(set(on_front))
    assert front["parameters"].is_monotonic_increasing
    assert set(front.index) <= set(points.index)


@pytest.mark.parametrize("seed", range(10))
def test_targets_equal_brute_force(seed: int):
    epochs = draw_epochs(20, seed)
    rows = list(epochs[["epoch", "parameters", "val_accuracy"]].itertuples(index=False, name=None))
    # The accuracies themselves are targets too: reaching is not exceeding.
    for target in [0.1, 50, 70, 80, 100, *epochs["val_accuracy"]]:
        first = next((row for row in rows if row[2] >= target), None)
        shuffled = epochs.sample(frac=1, random_state=seed)
        assert parameters_reaching(shuffled, target) == (first and first[1])


@pytest.mark.parametrize("seed", range(10))
def test_best_epoch_is_the_first_of_the_highest(seed: int):
    epochs = draw_epochs(20, seed).round({"val_accuracy": -1})
    best = best_epoch(epochs)
    accuracies = epochs["val_accuracy"].tolist()
    assert best["epoch"] == 1 + accuracies.index(max(accuracies))
    by_size = best_of_sizes(epochs)
    assert by_size["parameters"].tolist() == sorted(set(epochs["parameters"]))
    for row in by_size.itertuples():
        same = epochs[epochs["parameters"] == row.parameters]
        assert row.val_accuracy == same["val_accuracy"].max()
        assert row.epoch == same.loc[same["val_accuracy"] == row.val_accuracy, "epoch"].min()


def test_spread_counts_what_is_there():
    values = spread([3.0, None, 5.0, float("nan"), 10.0])
    assert (values.k, values.n) == (3, 5)
    assert values.mean == pytest.approx(np.mean([3, 5, 10]), abs=1e-12)
    assert values.sd == pytest.approx(np.std([3, 5, 10], ddof=1), abs=1e-12)
    assert np.isnan(spread([7.0]).sd)
    assert (spread([None, None]).k, spread([]).n) == (0, 0)


def test_mean_curve_goes_as_far_as_every_started_trial(tmp_path: Path):
    keys = write_study(tmp_path, [config(seed=s) for s in range(3)])
    curves = [draw_epochs(9, 0), draw_epochs(5, 1)]
    for key, epochs in zip(keys, curves, strict=False):
        write_trial(tmp_path, key, epochs)
    mean = mean_curve(read_study(tmp_path).trials, "val_accuracy")
    assert mean.index.tolist() == [1, 2, 3, 4, 5]
    expected = np.mean([c["val_accuracy"][:5] for c in curves], axis=0)
    np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-12)


# Reading


def test_read_study_gives_what_was_written(finished: Path):
    study = read_study(finished)
    assert [t.key for t in study.trials] == [trial_key(c) for c in SWEEP]
    assert all(t.finished and t.state == "finished" for t in study.trials)
    assert [t.test_accuracy for t in study.trials] == [70.0 + i for i in range(len(SWEEP))]
    for i, trial in enumerate(study.trials):
        expected = draw_epochs(PLANNED, i)
        pd.testing.assert_frame_equal(trial.epochs, expected, check_dtype=False)
    assert study.reference == Setting("natural", 1.5, 0.0)
    families = {s.criterion if s.tau is None else str(s): study.family(s) for s in study.settings}
    assert families == {
        "natural, τ = 1.5, λ = 0": "reference",
        "natural, τ = 4, λ = 0": "tau",
        "natural, τ = 1.5, λ = 1e-06": "lam",
        "never": "other",
    }


def test_the_reference_is_the_named_setting_else_that_of_most_seeds(tmp_path: Path):
    configs = [config(tau=4.0, seed=0), config(tau=2.0, seed=0), config(tau=2.0, seed=1)]
    for named, expected in ((None, 2.0), (configs[0], 4.0), (config(tau=9.0), 2.0)):
        key = write_study(tmp_path, configs, reference=named)[0]
        write_trial(tmp_path, key, draw_epochs(2, 0))
        assert read_study(tmp_path).reference.tau == expected


def test_epochs_are_ordered_and_partition_like_paths_change_nothing(tmp_path: Path):
    out = tmp_path / "epoch=7" / "expansion=x"
    (key,) = write_study(out, [config()])
    epochs = draw_epochs(6, 0)
    write_trial(out, key, epochs.iloc[::-1])
    read = read_study(out).trials[0].epochs
    assert read["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert read["val_accuracy"].tolist() == epochs["val_accuracy"].tolist()


def test_a_running_study_is_read_as_far_as_it_is(tmp_path: Path):
    keys = write_study(tmp_path, [config(seed=s) for s in range(4)])
    write_trial(tmp_path, keys[0], draw_epochs(PLANNED, 0), 71.0)
    write_trial(tmp_path, keys[1], draw_epochs(7, 1))
    write_trial(tmp_path, keys[2], draw_epochs(0, 2))
    hidden = tmp_path / "logs" / "epochs" / f".{keys[3]}.parquet.1a2b.tmp"
    hidden.write_bytes(b"half a file")
    study = read_study(tmp_path)
    states = [t.state for t in study.trials]
    assert states == ["finished", f"epoch 7/{PLANNED}", "not started", "not started"]
    assert set(measures(study.trials[3], [70]).values()) == {None}
    assert set(networks(study)["trial"]) == set(keys[:2])


def test_planned_epochs_do_not_read_as_progress(tmp_path: Path):
    for planned, expected in (((3, 3), "; 3 epochs;"), ((9, 2, 5), "; 2 to 9 epochs;")):
        configs = [config(seed=s) | {"epochs": n} for s, n in enumerate(planned)]
        key = write_study(tmp_path, configs)[0]
        write_trial(tmp_path, key, draw_epochs(2, 0))
        assert expected in read_study(tmp_path).description


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


def test_reading_while_files_come_change_and_go(tmp_path: Path):
    keys = write_study(tmp_path, [config(seed=s) for s in range(3)])
    write_trial(tmp_path, keys[0], draw_epochs(PLANNED, 0), 71.0)
    stop = threading.Event()

    def work() -> None:
        count = 0
        while not stop.is_set():
            count = count % PLANNED + 1
            write_log(tmp_path, "epochs", keys[1], draw_epochs(count, 1))
            write_log(tmp_path, "epochs", keys[2], draw_epochs(count, 2)).unlink()

    writer = threading.Thread(target=work)
    writer.start()
    try:
        for _ in range(60):
            for trial in read_study(tmp_path).trials:
                assert trial.epochs["epoch"].tolist() == list(range(1, len(trial.epochs) + 1))
                assert 0 <= len(trial.epochs) <= PLANNED
    finally:
        stop.set()
        writer.join()


def test_the_newest_study_is_the_one_written_last(tmp_path: Path):
    runs = tmp_path / "runs"
    for i, name in enumerate(("a", "b", "c", ".hidden")):
        (key,) = write_study(runs / name, [config()])
        log = write_log(runs / name, "epochs", key, draw_epochs(2, 0))
        for path in (runs / name / "study.json", log):
            os.utime(path, (1000 + i, 1000 + i))
    (runs / "no study").mkdir()
    assert newest_study(runs).name == "c"
    os.utime(runs / "a" / "logs" / "epochs" / f"{key}.parquet", (2000, 2000))
    assert newest_study(runs).name == "a"
    os.utime(runs / "b" / "study.json", (3000, 3000))
    assert newest_study(runs).name == "b"


def test_what_is_not_a_study_is_named(tmp_path: Path):
    with pytest.raises(StudyError, match="is not a folder"):
        read_study(tmp_path / "missing")
    with pytest.raises(StudyError, match=r"holds no study\.json"):
        read_study(tmp_path)
    with pytest.raises(StudyError, match="no study under"):
        newest_study(tmp_path)
    (key,) = write_study(tmp_path, [config()])
    with pytest.raises(StudyError, match="no epoch is logged yet"):
        read_study(tmp_path)
    log = write_log(tmp_path, "epochs", key, draw_epochs(3, 0).drop(columns="parameters"))
    with pytest.raises(StudyError, match="no column parameters"):
        read_study(tmp_path)
    log.write_bytes(b"PAR1 but not really")
    with pytest.raises(StudyError, match=f"{key}.parquet cannot be read"):
        read_study(tmp_path)
    for text in ("{", "[]", '{"format": 2, "trials": {"a": {}}}', '{"format": 1, "trials": [1]}'):
        (tmp_path / "study.json").write_text(text)
        with pytest.raises(StudyError, match=r"study\.json"):
            read_study(tmp_path)


# Command lines


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


def test_neither_torch_nor_ray_is_imported():
    modules = sorted(p.stem for p in (ROOT / "analysis").glob("*.py"))
    imports = "; ".join(f"import secnn.analysis.{m}" for m in modules)
    code = f"import sys, json; {imports}; print(json.dumps([*sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout))
    assert {"secnn.analysis.logs", "pandas", "matplotlib"} <= loaded
    assert not loaded & {"torch", "ray"}


# The table


def test_table_shows_the_measures_and_their_spread(finished: Path, capsys):
    assert make_table.main([str(finished), "--targets", "60", "75.5"]) == 0
    text = capsys.readouterr().out
    assert (finished / "analysis" / "table.md").read_text(encoding="utf-8") in text
    rows = pipe_rows(text, "Reference: natural, τ = 1.5, λ = 0")
    assert rows[""] == ["seed 0", "seed 1", "seed 2", "mean ± sd", "paper"]
    assert list(rows)[2:] == [
        "parameters at 60% validation accuracy",
        "parameters at 75.5% validation accuracy",
        "highest validation accuracy (%)",
        "parameters at highest accuracy",
        "test accuracy of that network (%)",
    ]
    columns = [draw_epochs(PLANNED, i) for i in range(3)]
    reached = [parameters_reaching(c, 60) for c in columns]
    cells = rows["parameters at 60% validation accuracy"]
    assert cells[:3] == [f"{p:,}" for p in reached]
    assert cells[3] == f"{np.mean(reached):,.0f} ± {np.std(reached, ddof=1):,.0f}"
    assert cells[4] == "not published"
    assert rows["test accuracy of that network (%)"][:4] == [
        *("70.00", "71.00", "72.00"),
        "71.00 ± 1.00",
    ]
    assert rows["highest validation accuracy (%)"][4] == "84.06 (83.20–84.60)"


def test_the_papers_column_is_its_five_trials(finished: Path, capsys):
    make_table.main([str(finished)])
    rows = pipe_rows(capsys.readouterr().out, "Reference:")
    assert rows["parameters at 70% validation accuracy"][-1] == "11,360 (9,024–13,696)"
    assert rows["parameters at 80% validation accuracy"][-1] == "33,655 (22,636–51,880)"
    assert rows["parameters at highest accuracy"][-1] == "62,698 (40,960–74,564)"


def test_what_is_not_reached_or_not_finished_says_so(tmp_path: Path, capsys):
    keys = write_study(tmp_path, [config(seed=s) for s in range(4)])
    flat = pd.DataFrame({"epoch": [1, 2], "parameters": 9024, "expansion": None})
    write_trial(tmp_path, keys[0], flat.assign(val_accuracy=[60.0, 72.0]), 70.0)
    write_trial(tmp_path, keys[1], flat.assign(val_accuracy=[50.0, 65.0]), 64.0)
    write_trial(tmp_path, keys[2], flat.assign(val_accuracy=[40.0, 41.0]))
    assert make_table.main([str(tmp_path)]) == 0
    text = capsys.readouterr().out
    rows = pipe_rows(text, "Reference:")
    heads = ["seed 0", "seed 1", f"seed 2 (epoch 2/{PLANNED})", "seed 3 (not started)"]
    assert rows[""][:4] == heads
    at_70 = ["9,024", "not reached", "not yet", "not yet", "9,024 (1 of 4)"]
    assert rows["parameters at 70% validation accuracy"][:5] == at_70
    assert rows["parameters at 80% validation accuracy"][4] == "not reached (0 of 4)"
    assert rows["highest validation accuracy (%)"][4].endswith("(3 of 4)")
    assert rows["test accuracy of that network (%)"][2:5] == [
        *("not yet", "not yet"),
        "67.00 ± 4.24 (2 of 4)",
    ]
    assert "2 of 4 trials finished" in text
    (setting,) = (v for k, v in pipe_rows(text, "All settings").items() if k.startswith("natural"))
    assert setting[0] == "4 (2 unfinished)"
    table = pd.read_csv(tmp_path / "analysis" / "table.csv").set_index("metric")
    reached = table.loc["parameters at 70% validation accuracy"]
    assert reached[heads].tolist() == ["9024", "not reached", "not yet", "not yet"]
    assert (reached["mean"], reached["k"], reached["n"]) == (9024, 1, 4)


def test_every_setting_has_a_row(finished: Path, capsys):
    make_table.main([str(finished)])
    rows = pipe_rows(capsys.readouterr().out, "All settings")
    assert list(rows)[2:] == [
        "natural, τ = 1.5, λ = 0",
        "natural, τ = 4, λ = 0",
        "natural, τ = 1.5, λ = 1e-06",
        "never",
    ]
    grown = [draw_epochs(PLANNED, i)["expansion"].notna().sum() for i in range(3)]
    mean = f"{np.mean(grown):.1f} ± {np.std(grown, ddof=1):.1f}"
    assert rows["natural, τ = 1.5, λ = 0"][:2] == ["3", mean]
    settings = pd.read_csv(finished / "analysis" / "settings.csv")
    final = settings[settings["metric"] == "final parameters"]
    assert final["n"].tolist() == [3, 1, 1, 1]
    expected = np.mean([draw_epochs(PLANNED, i)["parameters"].iloc[-1] for i in range(3)])
    assert final["mean"].iloc[0] == pytest.approx(expected, abs=1e-9)


def test_latex_has_a_cell_for_every_column_and_no_bare_special_character(tmp_path: Path):
    out = tmp_path / "50%_of $&#"
    keys = write_study(out, SWEEP, name="a_b$", notice="100 % of {x} & #1 ~ ^ \\")
    for i, key in enumerate(keys):
        write_trial(out, key, draw_epochs(5, i))
    assert make_table.main([str(out)]) == 0
    text = (out / "analysis" / "table.tex").read_text(encoding="utf-8")
    for body in text.split(r"\begin{tabular}")[1:]:
        columns = body.split("{")[1].split("}")[0]
        lines = [line for line in body.split(r"\end{tabular}")[0].splitlines() if "&" in line]
        cells = {line.replace(r"\&", "").count("&") + 1 for line in lines}
        assert cells == {len(columns)}
    assert r"100 \% of \{x\} \& \#1 \textasciitilde{} \textasciicircum{} \textbackslash{}" in text
    bare = text.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    assert not any(symbol in text for symbol in "τλ±")


@pytest.mark.parametrize("script", SCRIPTS)
def test_notice_and_protocol_stand_in_every_output(tmp_path: Path, script: str, monkeypatch):
    notice = "Not CIFAR-10 but\ndigits, for $5^^6$."
    dataset = {"name": "digits", "notice": notice, "validation": "test"}
    for i, key in enumerate(write_study(tmp_path, SWEEP, **dataset)):
        write_trial(tmp_path, key, draw_epochs(4, i))
    titles, set_title = [], Axes.set_title
    monkeypatch.setattr(
        Axes,
        "set_title",
        lambda axes, text, **how: titles.append(text) or set_title(axes, text, **how),
    )
    assert SCRIPTS[script].main([str(tmp_path)]) == 0
    texts = titles or [p.read_text() for p in (tmp_path / "analysis").iterdir()]
    assert texts
    for text in texts:
        assert "Not CIFAR-10 but digits, for" in text
        assert "validation = test set (the paper's protocol)" in text
        assert "quick" in text and "digits" in text


def test_the_papers_column_tells_when_it_is_about_other_images(tmp_path: Path, capsys):
    for name, class_names, head in (
        ("digits", list("0123456789"), "paper (CIFAR-10, not digits)"),
        ("images", CIFAR10, "paper"),
        ("cifar10", None, "paper"),
        ("cifar100", [str(i) for i in range(100)], "paper (CIFAR-10, not cifar100)"),
    ):
        out = tmp_path / name
        (key,) = write_study(out, [config()], name=name, class_names=class_names)
        write_trial(out, key, draw_epochs(4, 0))
        make_table.main([str(out)])
        assert pipe_rows(capsys.readouterr().out, "Reference:")[""][-1] == head


# The figures


def test_baselines_are_drawn_for_cifar10_alone(tmp_path: Path, capsys):
    for name, drawn in (("cifar10", True), ("digits", False)):
        out = tmp_path / name
        (key,) = write_study(out, [config()], name=name)
        write_trial(out, key, draw_epochs(4, 0))
        assert plot_pareto.main([str(out)]) == 0
        assert ("not drawn" not in capsys.readouterr().out) == drawn


def test_unverified_baselines_are_hollow():
    axes = Figure().subplots()
    points = plot_pareto.draw_published(axes)
    filled, hollow, paper = axes.collections
    table = pd.read_csv(ROOT / "analysis" / "baselines.csv")
    unverified = table["confidence"].isin(["secondary", "leaderboard copy"])
    assert len(hollow.get_offsets()) == unverified.sum() and len(hollow.get_facecolors()) == 0
    assert len(filled.get_offsets()) == (~unverified).sum() and len(filled.get_facecolors()) == 1
    assert paper.get_offsets().tolist() == [[9024, 70], [57808, 84.6]]
    assert len(points) == len(table) + 2


def test_labels_cover_neither_each_other_nor_points():
    figure = Figure(figsize=(11, 7), dpi=100, layout="constrained")
    axes = figure.subplots()
    points = plot_pareto.draw_published(axes)
    plot_growth.parameter_axis(axes.xaxis)
    plot_pareto.place_labels(figure, axes, points)
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) > 25
    assert {"paper, best", "paper, smallest at 70 %"} <= {t.get_text() for t in axes.texts}
    for i, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[:i])
    dots = axes.transData.transform(points[["parameters", "val_accuracy"]])
    assert not any(box.contains(*dot) for box in boxes for dot in dots)


def test_the_printed_front_is_that_of_all_trials(finished: Path, capsys):
    plot_pareto.main([str(finished)])
    printed = capsys.readouterr().out.split("Pareto front:\n")[1].splitlines()[1:]
    rows = [
        (int(p), float(a))
        for i in range(len(SWEEP))
        for p, a in draw_epochs(PLANNED, i)[["parameters", "val_accuracy"]].to_numpy()
    ]
    front = {b for b in rows if not any(dominates(a, b) for a in rows)}
    shown = [(int(line.split()[0]), float(line.split()[1])) for line in printed]
    assert shown == sorted((p, round(a, 2)) for p, a in front)


def test_expansions_are_marked_by_kind_where_the_network_grew():
    epochs = draw_epochs(PLANNED, 3)
    grown = plot_growth.expansions(epochs)
    after = epochs["parameters"].shift(-1).sub(epochs["parameters"]).iloc[:-1]
    assert set(after[after > 0].index) == set(grown.index) - {len(epochs) - 1}
    assert set(grown["kind"]) == {"AddLayer", "AddChannels"}
    assert len({plot_growth.MARKERS[kind] for kind in grown["kind"]}) == 2


def test_every_setting_has_a_colour_of_its_own(finished: Path):
    colours = plot_growth.colours(study := read_study(finished))
    assert list(colours) == list(study.settings)
    assert len(set(colours.values())) == len(colours)


@pytest.mark.parametrize(("low", "high"), [(9024, 9024), (9024, 16000), (9024, 1.7e6)])
def test_parameter_axis_has_labels_for_every_range(low: float, high: float):
    figure = Figure()
    axes = figure.subplots()
    axes.plot([low, high], [70, 80])
    plot_growth.parameter_axis(axes.xaxis)
    figure.draw_without_rendering()
    left, right = axes.get_xlim()
    labels = [
        tick.get_text()
        for tick in axes.get_xticklabels()
        if left <= tick.get_position()[0] <= right and tick.get_text()
    ]
    assert 3 <= len(labels) <= 12 and len(labels) == len(set(labels))
    assert left <= low and high <= right and axes.get_xscale() == "log"


def sweep_axes(out: Path) -> Axes:
    axes = Figure().subplots()
    plot_sweep.draw_sweep(axes, read_study(out), "tau", "final parameters")
    return axes


def test_unfinished_trials_are_hollow_and_in_no_mean(tmp_path: Path):
    taus = (1.5, 1.5, 1.5, 2.0, 4.0, 4.0)
    configs = [config(tau=t, seed=s) for s, t in enumerate(taus)]
    configs.append(config(criterion="never"))
    flat = pd.DataFrame({"epoch": [1], "val_accuracy": 50.0, "expansion": None})
    sizes = [10_000 + 1000 * i for i in range(len(configs))]
    done = (0, 1, 5)  # Two of three, none of one, one of two, none of the control.
    for i, key in enumerate(write_study(tmp_path, configs, reference=config())):
        write_trial(tmp_path, key, flat.assign(parameters=sizes[i]), 70.0 if i in done else None)
    axes = sweep_axes(tmp_path)
    drawn = {True: [], False: []}
    for points in axes.collections:
        drawn[len(points.get_facecolors()) > 0] += [y for _, y in points.get_offsets()]
    assert drawn == {True: [10_000, 11_000, 15_000], False: [12_000, 13_000, 14_000]}
    (mean,) = axes.lines
    np.testing.assert_array_equal(mean.get_ydata(), [10_500, np.nan, 15_000])
    labels = [tick.get_text() for tick in axes.get_xticklabels()]
    assert labels == ["1.5\nn = 2", "2\nn = 0", "4\nn = 1"]
    assert "unfinished, not in the mean" in axes.get_legend_handles_labels()[1]


def test_a_finished_sweep_has_no_hollow_points_and_its_controls(finished: Path):
    axes = sweep_axes(finished)
    assert all(len(points.get_facecolors()) for points in axes.collections)
    labels = axes.get_legend_handles_labels()[1]
    assert "mean of never (n = 1)" in labels and "unfinished, not in the mean" not in labels
    assert axes.lines[1].get_ydata()[0] == draw_epochs(PLANNED, 5)["parameters"].iloc[-1]


def test_figures_are_the_same_twice(finished: Path):
    written = []
    for _ in range(2):
        plot_growth.main([str(finished)])
        written.append((finished / "analysis" / "growth.svg").read_bytes())
    assert written[0] == written[1]


# The report


class Page(HTMLParser):
    """What a page shows and what it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.shown, self.tags, self.references = [], set(), []
        self.feed(text)
        self.text = " ".join("".join(self.shown).split())

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.add(tag)
        self.references += [v for k, v in attributes if k in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.shown.append(data)


def candidates(reason: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "epoch": [3, 3, 7],
            "kind": ["AddLayer", "AddChannels", "AddChannels"],
            "block": [1, 2, 0],
            "channels": [np.nan, 4, 8],
            "added_parameters": [2336, 628, 1472],
            "ratio": [1.25, 1.1, np.nan],
            "chosen": [True, False, True],
            "reason": reason,
        }
    )


def test_the_report_needs_nothing_else_and_tells_why_networks_grew(tmp_path: Path):
    out = tmp_path / "<b>&"
    dataset = {"name": "digits", "notice": "Not <CIFAR-10>, but digits.", "validation": "test"}
    keys = write_study(out, SWEEP, **dataset)
    for i, key in enumerate(keys):
        write_trial(out, key, draw_epochs(4, i))
    write_log(out, "expansions", keys[1], candidates("density 1.2 > 0.5 & rising"))
    assert report.main([str(out)]) == 0
    page = Page((out / "analysis" / "report.html").read_text(encoding="utf-8"))
    assert len(page.references) == 3
    assert all(uri.startswith("data:image/png;base64,") for uri in page.references)
    assert not page.tags & {"script", "link", "iframe", "b"}
    assert "url(" not in page.text
    for text in ("<b>&: a study", "Not <CIFAR-10>, but digits.", "validation = test set"):
        assert text in page.text
    assert all(str(setting) in page.text for setting in read_study(out).settings)
    assert f"{keys[1]}: 2 expansions, epoch 4/{PLANNED}" in page.text
    assert "a layer in block 1 2,336 1.25 density 1.2 > 0.5 & rising" in spaced(page)
    assert "8 channels in block 0 1,472" in spaced(page)
    assert "4 channels" not in page.text
    assert f"{keys[0]}: 0 expansions" in page.text


def spaced(page: Page) -> str:
    return " ".join(" ".join(page.shown).split())


def test_a_report_of_a_study_without_a_sweep_has_two_figures(tmp_path: Path):
    (key,) = write_study(tmp_path, [config()])
    write_trial(tmp_path, key, draw_epochs(4, 0))
    assert report.main([str(tmp_path)]) == 0
    page = Page((tmp_path / "analysis" / "report.html").read_text(encoding="utf-8"))
    assert len(page.references) == 2


@pytest.mark.parametrize("scored", [True, False])
def test_the_report_has_the_calibration_of_what_was_followed(tmp_path: Path, scored: bool):
    keys = write_study(tmp_path, [config(seed=s) for s in range(3)])
    for i, key in enumerate(keys):
        write_trial(tmp_path, key, draw_epochs(9, i))
        realised = {"realised_reduction": [0.1 + i, np.nan, np.nan], "reduction_before": np.nan}
        score = {"predicted_reduction": 3.0 + i if scored else np.nan}
        write_log(tmp_path, "expansions", key, candidates("why").assign(**realised, **score))
    assert report.main([str(tmp_path)]) == 0
    page = Page((tmp_path / "analysis" / "report.html").read_text(encoding="utf-8"))
    assert len(page.references) == 2 + scored
    assert ("What expansions promised" in page.text) == scored
    rho = "+1.00 +1.00 +1.00 +1.00" if scored else "- - - -"
    assert f"predicted_reduction realised {3 * scored} {rho}" in spaced(page)
    assert "confounded with training progress" in page.text


def test_a_setting_without_values_says_whether_they_can_still_come(tmp_path: Path, capsys):
    keys = write_study(tmp_path, [config(), config(criterion="never")], reference=config())
    write_trial(tmp_path, keys[0], draw_epochs(PLANNED, 0), 71.0)
    assert make_table.main([str(tmp_path), "--targets", "99.9"]) == 0
    text = capsys.readouterr().out
    assert (
        "not reached (0 of 1)"
        in pipe_rows(text, "Reference:")["parameters at 99.9% validation accuracy"]
    )
    assert set(pipe_rows(text, "All settings")["never"][1:]) == {"not yet (0 of 1)"}
