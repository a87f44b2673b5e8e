"""A study on two machines: they get its plugins, and if one of them dies its rows are those of one
left alone."""

import contextlib
import os
import re
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import without_ray
from studies import logs, popen, secnn, two_nodes

ARGUMENTS = (
    *("--preset", "quick", "--dataset", "digits", "--epochs", "4", "--num-samples", "2"),
    *("--tau", "--lam"),
)


def trial_on(raylet: int, out: Path) -> tuple[Path, int]:
    """The folder and the process of a trial that a worker of `raylet` is in the middle of, as soon
    as there is one with an epoch behind it."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for log in out.glob("logs/epochs/[!.]*.parquet"):
            trial = out / "trials" / log.stem
            owner = re.search(r"process (\d+)", (trial / "OWNER").read_text())
            if owner and parent(int(owner[1])) == raylet and not (trial / "DONE").exists():
                return trial, int(owner[1])
        time.sleep(0.02)
    raise AssertionError("no trial ran on the second node")


def parent(process: int) -> int | None:
    """The process that started `process`, if it still runs."""
    with contextlib.suppress(OSError):
        return int(re.search(r"PPid:\s(\d+)", Path(f"/proc/{process}/status").read_text())[1])


@pytest.fixture(scope="module")
def cluster():
    with two_nodes() as nodes:
        yield nodes


PLUGIN = """
import secnn
from secnn.growth.decision import Decision


class Eager:
    scored = False

    def decide(self, growth):
        return Decision(growth.candidates[0].expansion, f"from {__file__}")


secnn.CRITERIA["eager"] = lambda settings: Eager()
"""


def test_a_plugin_reaches_machines_that_do_not_have_it(cluster, tmp_path):
    """A cluster's nodes get the file from Ray, and import that."""
    out, own = tmp_path / "out", tmp_path / "here"
    own.mkdir()
    (own / "own.py").write_text(PLUGIN)
    # Only this process looks there.
    run = secnn(
        *("run", "--import", "own", *ARGUMENTS[:-2], "--tau", "--lam", "--criterion", "eager"),
        *("--address", cluster[0], "--out", out),
        env=os.environ | {"PYTHONPATH": str(own)},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    found = list(out.glob("logs/expansions/criterion=eager*.parquet"))
    assert len(found) == 2
    rows = [row for log in found for row in pq.read_table(log).to_pylist()]
    reasons = {row["reason"] for row in rows if row["chosen"]}
    assert len(reasons) >= 1
    assert all("runtime_resources" in reason for reason in reasons)


# The last one, as the second machine is gone after it.
def test_losing_a_machine_loses_and_doubles_nothing(cluster, tmp_path):
    whole, bereft = tmp_path / "whole", tmp_path / "bereft"
    without_ray.run(ARGUMENTS, whole)
    assert len(logs(whole)) == 2 * 3  # Two trials, three kinds of logs.
    address, raylet = cluster
    with popen("study/run.py", *ARGUMENTS, "--address", address, "--out", bereft) as driver:
        trial, worker = trial_on(raylet, bereft)
        owner = (trial / "OWNER").read_text()
        for process in (raylet, worker):  # A machine takes its workers along.
            os.kill(process, signal.SIGKILL)
        shown, _ = driver.communicate(timeout=200)
    assert driver.returncode == 0, shown
    assert (trial / "OWNER").read_text() != owner  # Another worker took it over.
    assert logs(bereft) == logs(whole)
