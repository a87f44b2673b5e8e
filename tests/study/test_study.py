"""Studies as users run them: real Ray, real files, real subprocesses."""

import json
import os
import re
import shlex
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import without_ray
from studies import ROOT, command, logs, popen, secnn

from secnn import ladder, load_within, replay
from secnn.store import checkpoint
from secnn.study.fence import Fence
from secnn.study.ladder import main as show_ladder
from secnn.study.run import main
from secnn.study.store import TrialStore

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
ONE_EPOCH = ("--preset", "quick", "--dataset", "digits", "--epochs", "1")
QUICK = (*ONE_EPOCH[:-1], "4")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("studies") / "quick"
    arguments = (*QUICK, "--num-samples", "2", "--criterion", "never", "--out", out)
    run = command("study/run.py", *arguments)
    assert run.returncode == 0, run.stdout + run.stderr
    return out, arguments, run.stdout


def keys(out):
    return list(json.loads((out / "study.json").read_text())["trials"])


def test_the_terminal_tells_what_runs_and_what_came_of_it(study):
    out, _, shown = study
    assert len(keys(out)) == 6
    for key in keys(out):
        assert sum(line.startswith(key) and "epoch" in line for line in shown.splitlines()) == 4
    assert "-> AddLayer" in shown
    assert "6 of 6 trials are done" in shown
    assert "6 trials to run" in shown
    told = rf"About \d+ minutes? left at the sizes to be expected, {CORES} at"
    assert len(re.findall(told, shown)) == 2  # Before any epoch, and after the first ones.


def test_the_results_folder_is_complete(study):
    out, _, _ = study
    for key in keys(out):
        store = TrialStore(out, key, {})
        assert store.done
        assert not store.error.exists()
        assert checkpoint.load(store.last).n_parameters >= 8736
        epochs = pq.read_table(out / "logs" / "epochs" / f"{key}.parquet").to_pylist()
        assert [row["epoch"] for row in epochs] == [1, 2, 3, 4]
        assert {row["trial"] for row in epochs} == {key}
        (trial,) = pq.read_table(out / "logs" / "trials" / f"{key}.parquet").to_pylist()
        assert trial["best_val_accuracy"] == max(row["val_accuracy"] for row in epochs)
        assert trial["test_accuracy"] == store.ladder["best"]["metrics"]["test_accuracy"]
        assert trial["expansions"] == sum(row["expansion"] is not None for row in epochs)
    rows = [row for rows in logs(out).values() for row in rows]
    grown = [row for row in rows if row.get("expansion") and row.get("chosen", True)]
    assert grown
    assert all(row["logit_change"] < 0.01 for row in grown)


def test_all_logs_of_a_kind_have_one_schema(study):
    out, _, _ = study
    for kind in ("epochs", "expansions"):
        paths = list((out / "logs" / kind).glob("*.parquet"))
        assert len({pq.read_schema(path).remove_metadata() for path in paths}) == 1


def test_the_ladder_of_a_study_can_be_climbed(study):
    out, _, _ = study
    rows = ladder(out)
    assert {row["trial"] for row in rows} == set(keys(out))
    assert all(row["test_accuracy"] is not None for row in rows)
    assert load_within(out, max_parameters=9000).n_parameters == 8736


def test_the_audit_log_and_the_checkpoint_replay_into_the_trained_network(study):
    out, _, _ = study
    grown = 0
    for key in keys(out):
        trained = checkpoint.load(out / "trials" / key / "last.pt").spec
        assert replay(out / "logs" / "expansions" / f"{key}.parquet").spec == trained
        assert replay(out / "trials" / key).spec == trained
        grown += trained.layers != (1, 1, 1)
    assert grown


def test_the_same_command_again_starts_nothing(study):
    out, arguments, _ = study
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    run = command("study/run.py", *arguments)
    assert run.returncode == 0
    assert "epoch 1/" not in run.stdout
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")} == before


def test_status_reads_the_files_alone(study, capsys):
    out, _, _ = study
    assert main(["--status", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "6 of 6 trials are done" in shown
    assert all(any(line.startswith(key) for line in shown.splitlines()) for key in keys(out))
    assert secnn("status", out).stdout == shown


def test_the_ladder_is_shown_as_a_table(study, capsys):
    out, _, _ = study
    head, *lines, next_ = secnn("ladder", out, "--max-parameters", 9000).stdout.splitlines()
    assert head.split()[:3] == ["trial", "name", "parameters"]
    rows = [row for row in ladder(out) if row["parameters"] <= 9000]
    found = [line.split() for line in lines]
    assert all(cells[-5] == "8,736" for cells in found)
    networks = {(row["trial"], row["epoch"]) for row in rows}
    assert len(found) == len(networks) < len(rows)
    assert {(cells[0], int(cells[-1])) for cells in found} == networks
    names = Counter(name for cells in found for name in names_of(cells[1:-5]))
    assert names == Counter(row["name"] for row in rows)
    words = shlex.split(next_)
    assert words[:5] == ["Next:", "python", "-m", "secnn", "export"]
    assert Path(words[5]).is_file()
    assert show_ladder([str(out), "--max-parameters", "10"]) == 2
    refused = capsys.readouterr().err
    assert refused.count("\n") == 1
    assert "--max-parameters 10; the smallest has 8,736" in refused


def names_of(cells: list[str]) -> list[str]:
    """The names of the files that hold one network, as `secnn ladder` shows them."""
    targets = [cell.removeprefix("target-") for cell in cells if cell.startswith("target-")]
    others = [cell for cell in cells if not cell.startswith("target-")]
    return others + [f"target-{name}" for some in targets for name in some.split(",")]


@pytest.mark.parametrize("budget", [{}, {"max_parameters": 9000}, {"min_accuracy": 0.0}])
def test_the_line_that_exports_names_what_load_within_loads(study, capsys, budget):
    out, _, _ = study
    options = [f"--{name.replace('_', '-')}={value}" for name, value in budget.items()]
    assert show_ladder([str(out), *options]) == 0
    file = shlex.split(capsys.readouterr().out.splitlines()[-1])[-2]
    budget = budget or {"max_parameters": None}
    pairs = zip(
        checkpoint.load(file).named_parameters(),
        load_within(out, **budget).named_parameters(),
        strict=True,
    )
    assert all(name == same and torch.equal(a, b) for (name, a), (same, b) in pairs)


@pytest.mark.parametrize("linked", [False, True])
def test_a_second_study_in_the_same_folder_waits_for_the_first(study, linked, tmp_path, capsys):
    out, arguments, _ = study
    (tmp_path / "link").symlink_to(out)
    name = tmp_path / "link" if linked else out
    with Fence(out.with_name(f".{out.name}.lock")):
        assert main([*map(str, arguments[:-1]), str(name)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "is held by" in error


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_interrupting_loses_nothing_and_tells_how_to_go_on(name, tmp_path):
    out = tmp_path / "out"
    arguments = ("--preset", "quick", "--dataset", "digits", "--epochs", "30", "--num-samples", "1")
    arguments = (*arguments, "--tau", "--lam", "--out", out)
    with popen("study/run.py", *arguments) as process:
        log = next(_epochs(out))
        process.send_signal(getattr(signal, name))
        shown, _ = process.communicate(timeout=120)
    assert process.returncode == 130, shown
    again = shlex.join(["python", str(ROOT / "study/run.py"), *map(str, arguments)])
    assert f"repeat the command to go on: {again}" in shown
    assert "Traceback" not in shown
    rows = pq.read_table(log).num_rows
    assert 1 <= rows < 30
    assert (
        len(checkpoint.read(out / "trials" / log.stem / "last.pt")["training"]["records"]) >= rows
    )


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_study_that_is_interrupted_before_it_begins_leaves_nothing(name, tmp_path):
    """Within the imports, when the command has told what will run, and while Ray starts."""
    waits = (lambda p: _imports(p, "torch"), lambda p: p.stdout.readline(), _starts_ray)
    script = "secnn" if name == "SIGTERM" else "study/run.py"
    for wait in waits:
        with popen(script, *QUICK, "--out", tmp_path / "my out") as process:
            wait(process)
            process.send_signal(getattr(signal, name))
            shown, _ = process.communicate(timeout=120)
        assert process.returncode == 130, shown
        assert shown.endswith(f"{shlex.quote(str(tmp_path / 'my out'))}\n")
        assert "\ninterrupted: repeat the command to go on: python " in f"\n{shown}"
        assert shown.count("interrupted") == 1
        assert "Traceback" not in shown
        assert list(tmp_path.iterdir()) == []


def _imports(process, package):
    """Wait until `process` has loaded a library of `package`."""
    _until(lambda: f"/{package}/" in Path(f"/proc/{process.pid}/maps").read_text())


def _starts_ray(process):
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    _until(lambda: any("gcs_server" in _line(child) for child in children.read_text().split()))


def _line(process):
    with suppress(OSError):  # It may be gone.
        return Path(f"/proc/{process}/cmdline").read_text()
    return ""


def _until(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _epochs(out):
    """Every epochs log, once it is there."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        yield from sorted(out.glob("logs/epochs/[!.]*.parquet"))
        time.sleep(0.1)
    raise AssertionError("no epoch was logged")


def test_a_study_goes_on_with_more_trials_and_fresh_moves_the_old_ones_aside(tmp_path):
    out = tmp_path / "out"
    arguments = (*ONE_EPOCH, "--num-samples", "1", "--lam", "--tau")
    without_ray.run(arguments, out)
    old = logs(out)
    run = command("study/run.py", *arguments, "--out", out, "--criterion", "never")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 trial to run." in run.stdout
    assert "2 of 2 trials are done" in run.stdout
    more = logs(out)
    assert old.items() < more.items()

    (tmp_path / "link").symlink_to(out)
    run = command("study/run.py", *arguments, "--out", tmp_path / "link", "--fresh")
    assert run.returncode == 0
    assert (tmp_path / "link").is_symlink()
    (aside,) = tmp_path.glob("out.before-*")
    assert logs(aside) == more
    assert logs(out) == old
