"""The benchmarks import what there is."""

import os
import subprocess
import sys

from studies import ROOT


def test_every_benchmark_can_be_imported():
    folder = ROOT / "benchmarks"
    names = sorted(file.stem for file in folder.glob("*.py"))
    assert len(names) > 10
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(f"import {name}" for name in names)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=280,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == ""
