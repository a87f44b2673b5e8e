"""A study on two machines, one of which dies, gives exactly the rows of one left alone."""

import contextlib
import os
import re
import signal
import time
from pathlib import Path

from studies import command, logs, popen, two_nodes

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


def test_losing_a_machine_loses_and_doubles_nothing(tmp_path):
    whole, bereft = tmp_path / "whole", tmp_path / "bereft"
    with two_nodes() as (address, raylet):
        arguments = (*ARGUMENTS, "--address", address)
        undisturbed = command("study/run.py", *arguments, "--out", whole)
        assert undisturbed.returncode == 0, undisturbed.stdout + undisturbed.stderr
        assert len(logs(whole)) == 2 * 3  # Two trials, three kinds of logs.

        with popen("study/run.py", *arguments, "--out", bereft) as driver:
            trial, worker = trial_on(raylet, bereft)
            owner = (trial / "OWNER").read_text()
            for process in (raylet, worker):  # A machine takes its workers along.
                os.kill(process, signal.SIGKILL)
            shown, _ = driver.communicate(timeout=200)
    assert driver.returncode == 0, shown
    assert (trial / "OWNER").read_text() != owner  # Another worker took it over.
    assert logs(bereft) == logs(whole)
