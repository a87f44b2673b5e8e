"""A study killed again and again gives exactly the rows of one left alone."""

import contextlib
import os
import re
import signal
import time
from collections.abc import Collection
from pathlib import Path

import without_ray
from studies import popen

from benchmarks.interruption import differences, killed_study, logs, stored

OPTIONS = [
    *("--preset", "quick", "--dataset", "digits", "--num-samples", "2", "--epochs", "4"),
    *("--tau", "1.1", "--lam", "1e-6", "--criterion", "schedule", "--max-failures", "50"),
]
WORKERS, EVERYTHING = 4, 2


def test_six_kills_lose_and_double_nothing(tmp_path):
    """Four of workers, which Ray starts again, and two of all that there is."""
    without_ray.run(OPTIONS, tmp_path / "whole")
    whole, out = logs(tmp_path / "whole"), tmp_path / "killed"
    assert len([name for name in whole if name.startswith("logs/epochs")]) == 6
    total = sum(map(len, whole.values()))

    with popen("study/run.py", *OPTIONS, "--out", out) as driver:
        killed: list[int] = []
        for _ in range(WORKERS):
            killed.append(kill_a_worker(out, killed))
        driver.send_signal(signal.SIGINT)
        driver.communicate(timeout=120)
    assert 0 < stored(out) < total

    # Counted from the first new row, as starting Ray and its workers takes longer than an epoch.
    happened = killed_study(OPTIONS, out, EVERYTHING, between=(0, 1.5), progress=True)
    assert happened["processes killed"] > EVERYTHING
    rows = happened["rows at each kill"]
    assert 0 < rows[0] < rows[1] <= total
    assert logs(out) == whole, differences(whole, logs(out))


def kill_a_worker(out: Path, dead: Collection[int]) -> int:
    """Kill a process that trains, once there is another row than now; its number. Of the `dead` a
    file may still tell: the kernel kills them again without a word until they are reaped."""
    rows, deadline = stored(out), time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.02)
        if stored(out) == rows:
            continue
        for owner in out.glob("trials/*/OWNER"):
            process = re.search(r"process (\d+)", owner.read_text())
            if not process or int(process[1]) in dead:
                continue
            if not owner.with_name("DONE").exists():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(process[1]), signal.SIGKILL)
                    return int(process[1])
    raise AssertionError("no worker came that could be killed")


def test_differences_are_counted():
    whole = {"a": [{"epoch": 1}, {"epoch": 2}], "b": [{"epoch": 1}]}
    other = {"a": [{"epoch": 1}, {"epoch": 1}], "b": [{"epoch": 1}]}
    found = {"rows": 3, "lost or changed": 1, "doubled or changed": 1}
    assert differences(whole, other) == found
