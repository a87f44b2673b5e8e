"""A study killed again and again against one left alone.

`python benchmarks/interruption.py --kills 3 --between 20 60 -- --dataset DATASET …` runs
`study/run.py` with the options after `--` twice: once undisturbed, and once with SIGKILL to the
driver and to all that it started, Ray's processes included, at random moments so many seconds after
each start; then it prints how the logs differ. `tests/study/test_kill.py` does the same.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
TIMES = {"train_seconds", "eval_seconds", "score_seconds", "seconds", "hostname"}
MARK = "SECNN_INTERRUPTION"


def logs(out: Path) -> dict[str, list[dict]]:
    """Every row of every Parquet file below `out`/logs, without what a clock or a name decides."""
    return {
        str(path.relative_to(out)): [
            {k: v for k, v in row.items() if k not in TIMES} for row in read(path)
        ]
        for path in sorted(out.glob("logs/*/[!.]*.parquet"))
    }


def read(path: Path) -> list[dict]:
    """The rows of a log that may be replaced meanwhile: it is opened once, and `pq.read_table` does
    so twice."""
    with pq.ParquetFile(path) as file:
        return file.read().to_pylist()


def stored(out: Path) -> int:
    """Rows in all logs."""
    return sum(map(len, logs(out).values()))


def differences(whole: dict[str, list[dict]], other: dict[str, list[dict]]) -> dict[str, int]:
    """Rows of `whole`, and how many of them `other` lacks, has more of, or has in other files."""
    counts = [
        Counter((name, repr(row)) for name, rows in found.items() for row in rows)
        for found in (whole, other)
    ]
    return {
        "rows": counts[0].total(),
        "lost or changed": (counts[0] - counts[1]).total(),
        "doubled or changed": (counts[1] - counts[0]).total(),
    }


def processes_with(variable: str, value: str) -> list[int]:
    """Processes whose environment holds `variable=value`, so all descendants of one started so."""
    wanted, found = f"{variable}={value}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def kill_everything(token: str) -> int:
    """SIGKILL all processes marked with `token`; how many died."""
    killed = set()
    while left := set(processes_with(MARK, token)) - {os.getpid()}:
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        killed |= left
        time.sleep(0.1)
    return len(killed)


def start(options: list[str], out: Path, token: str = "") -> subprocess.Popen:
    """`study/run.py` in a session of its own; its output goes to a file beside `out`."""
    line = [sys.executable, str(ROOT / "study" / "run.py"), *options, "--out", str(out)]
    with open(out.with_name(f"{out.name}.txt"), "a") as shown:
        return subprocess.Popen(
            line,
            cwd=ROOT,
            env=os.environ | {MARK: token},
            stdout=shown,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def killed_study(
    options: list[str],
    out: Path,
    kills: int,
    between: tuple[float, float],
    progress: bool = False,
    seed: int = 0,
) -> dict:
    """Run a study to its end through `kills` kills, reading every log after each; what happened.

    `between` are seconds after each start, or, if `progress`, after the first row that follows it.
    """
    moments, killed, rows = random.Random(seed), 0, []
    for _ in range(kills):
        token, before = uuid.uuid4().hex, stored(out)
        with start(options, out, token) as driver:
            while progress and driver.poll() is None and stored(out) == before:
                time.sleep(0.2)
            with contextlib.suppress(subprocess.TimeoutExpired):
                driver.wait(moments.uniform(*between))
            killed += kill_everything(token)
        rows.append(stored(out))
    with start(options, out) as driver:
        assert driver.wait() == 0, out.with_name(f"{out.name}.txt").read_text()
    return {"kills": kills, "processes killed": killed, "rows at each kill": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--between", type=float, nargs=2, default=(20.0, 60.0), metavar="SECONDS")
    parser.add_argument(
        "--progress", action="store_true", help="count them from the first row after each start"
    )
    parser.add_argument("options", nargs="+", help="of study/run.py, after --")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        alone, killed = Path(folder) / "alone", Path(folder) / "killed"
        with start(asked.options, alone) as driver:
            assert driver.wait() == 0, (Path(folder) / "alone.txt").read_text()
        between = tuple(asked.between)
        print(killed_study(asked.options, killed, asked.kills, between, asked.progress))
        print(differences(logs(alone), logs(killed)))


if __name__ == "__main__":
    main()
