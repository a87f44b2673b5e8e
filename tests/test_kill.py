"""A study killed again and again gives exactly the rows of one left alone."""

import contextlib
import os
import random
import signal
import time
import uuid

import pyarrow.parquet as pq
from studies import command, logs, popen, processes_with

KILLS = 10
ARGUMENTS = (
    *("--preset", "quick", "--dataset", "digits", "--num-samples", "2", "--epochs", "12"),
    *("--tau", "1.1", "--lam", "1e-6", "--criterion", "schedule"),
)
FENCE = "SECNN_KILL_TEST"


def kill_everything(token: str) -> int:
    """SIGKILL the driver and all that it started, Ray's processes included; how many died."""
    killed = set()
    while left := set(processes_with(FENCE, token)) - {os.getpid()}:
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        killed |= left
        time.sleep(0.1)
    return len(killed)


def test_ten_kills_lose_and_double_nothing(tmp_path):
    undisturbed = command("study/run.py", *ARGUMENTS, "--out", tmp_path / "whole")
    assert undisturbed.returncode == 0, undisturbed.stdout + undisturbed.stderr
    whole = logs(tmp_path / "whole")
    assert len([name for name in whole if name.startswith("logs/epochs")]) == 6

    out, moments = tmp_path / "killed", random.Random(0)
    for _ in range(KILLS):
        token = uuid.uuid4().hex
        with popen("study/run.py", *ARGUMENTS, "--out", out, **{FENCE: token}) as driver:
            # The first seconds go to starting Ray and its workers.
            time.sleep(moments.uniform(5, 14))
            assert kill_everything(token) >= 1 or driver.poll() is not None
            driver.communicate()
        for path in out.glob("logs/*/[!.]*.parquet"):  # Readable at every instant.
            assert pq.read_table(path).num_rows >= 0

    finished = command("study/run.py", *ARGUMENTS, "--out", out)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert logs(out) == whole
