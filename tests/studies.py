"""Running the command lines as users do, and reading what they leave."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
TIMES = {"train_seconds", "eval_seconds", "score_seconds", "seconds", "hostname"}


def command(script: str, *arguments: object, **options) -> subprocess.CompletedProcess:
    """`python script arguments` from the project's root, output captured as text."""
    line = [sys.executable, str(ROOT / script), *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, timeout=280, **options)


def popen(script: str, *arguments: object, **environment: str) -> subprocess.Popen:
    """The same, running in a session of its own, output discarded to a pipe."""
    line = [sys.executable, str(ROOT / script), *map(str, arguments)]
    return subprocess.Popen(
        line,
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def logs(out: Path) -> dict[str, list[dict]]:
    """Every row of every Parquet file below `out`/logs, without what a clock or a name decides."""
    return {
        str(path.relative_to(out)): [
            {k: v for k, v in row.items() if k not in TIMES}
            for row in pq.read_table(path).to_pylist()
        ]
        for path in sorted(out.glob("logs/*/*.parquet"))
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
