"""What of a study is worth keeping, as a folder to commit.

    python benchmarks/publish.py OUT results/NAME --machine 'AMD EPYC, one core'

Copied are study.json and the logs of the finished trials (of what is not finished nothing), and the
ladder of the trial at the reference whose highest validation accuracy is the median. The name of
the computer in the logs becomes `--machine`. Then the table, the figures as PNG and the report are
made anew, by the commands that a user has.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from secnn.analysis.logs import Study, Trial, read_study
from secnn.analysis.summary import best_epoch

KINDS = ("epochs", "expansions", "trials")


def publish(out: Path, target: Path, machine: str) -> None:
    """Write `target` from the study `out`."""
    done = [trial.key for trial in read_study(out).trials if trial.finished]
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    about = json.loads((out / "study.json").read_text())
    about["trials"] = {key: about["trials"][key] for key in done}
    (target / "study.json").write_text(json.dumps(about, indent=2) + "\n")
    for kind in KINDS:
        (target / "logs" / kind).mkdir(parents=True)
        for key in done:
            copy(out / "logs" / kind / f"{key}.parquet", target / "logs" / kind, machine)
    study = read_study(target)
    key = median(study).key
    shutil.copytree(out / "trials" / key / "ladder", target / "trials" / key / "ladder")
    analyse(target, sweeps=len(study.settings) > 1)


def copy(log: Path, folder: Path, machine: str) -> None:
    """The same rows, smaller, and computed by `machine`."""
    if not log.exists():  # A trial that considered nothing logs no expansions.
        return
    with pq.ParquetFile(log) as file:
        rows = file.read()
    if "hostname" in rows.column_names:
        at = rows.column_names.index("hostname")
        rows = rows.set_column(at, "hostname", pa.array([machine] * len(rows)))
    pq.write_table(rows, folder / log.name, compression="zstd")


def median(study: Study) -> Trial:
    """The reference's trial in the middle, of an even number the better one."""
    trials = study.settings[study.reference]
    best = {trial: best_epoch(trial.epochs) for trial in trials}
    ranked = sorted(
        (trial for trial in trials if best[trial] is not None),
        key=lambda trial: best[trial]["val_accuracy"],
    )
    return ranked[len(ranked) // 2]


def analyse(target: Path, sweeps: bool) -> None:
    """What `secnn table`, `secnn plot` and `secnn report` make of it."""
    figures = ["pareto", "growth"] + ["sweep"] * sweeps
    command = [sys.executable, "-m", "secnn"]
    subprocess.run([*command, "table", target], check=True, stdout=subprocess.DEVNULL)
    for name in figures:
        made = target / "analysis" / f"{name}.png"
        options = ["--output", made]
        subprocess.run([*command, "plot", name, target, *options], check=True)
    subprocess.run([*command, "report", target], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--machine", required=True)
    asked = parser.parse_args()
    publish(asked.out, asked.target, asked.machine)
