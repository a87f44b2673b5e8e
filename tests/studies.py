"""Running the command lines as users do, and reading what they leave."""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.interruption import logs

__all__ = ["ROOT", "command", "logs", "popen"]

ROOT = Path(__file__).resolve().parents[1]


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
