"""What of a study is worth keeping, as a folder to commit.

    python benchmarks/publish.py OUT results/NAME --machine 'AMD EPYC, one core' [--preset NOW]

Copied are study.json and the logs of the finished trials (of what is not finished nothing), and the
ladder of the trial at the reference whose highest validation accuracy is the median. The name of
the computer in the logs becomes `--machine`, and that of the preset `--preset`, if it has another
one now. Then the table, the figures as PNG and the report are made anew, by the commands that a
user has.
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
from secnn.store.record import LOGS


def publish(out: Path, target: Path, machine: str, preset: str | None) -> None:
    """Write `target` from the study `out`."""
    names = {"hostname": machine} | ({"preset": preset} if preset else {})
    study = read_study(out)
    done = [trial.key for trial in study.trials if trial.finished]
    ladder = Path("trials") / median(study).key / "ladder"
    if not (out / ladder).is_dir():
        sys.exit(f"out: {out / ladder} is missing, which is what is to be published")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    about = json.loads((out / "study.json").read_text())
    if preset:
        about["command"] = about["command"].replace(about["preset"], preset)
        about["preset"] = preset
    about["trials"] = {key: about["trials"][key] for key in done}
    (target / "study.json").write_text(json.dumps(about, indent=2) + "\n")
    for kind in LOGS:
        (target / "logs" / kind).mkdir(parents=True)
        for key in done:
            copy(out / "logs" / kind / f"{key}.parquet", target / "logs" / kind, names)
    shutil.copytree(out / ladder, target / ladder)
    analyse(target, sweeps=len(read_study(target).settings) > 1)


def copy(log: Path, folder: Path, names: dict[str, str]) -> None:
    """The same rows, smaller, with other `names` in the columns that have them."""
    if not log.exists():  # A trial that considered nothing logs no expansions.
        return
    with pq.ParquetFile(log) as file:
        rows = file.read()
    for column in names.keys() & set(rows.column_names):
        at = rows.column_names.index(column)
        rows = rows.set_column(at, column, pa.array([names[column]] * len(rows)))
    pq.write_table(rows, folder / log.name, compression="zstd")


def median(study: Study) -> Trial:
    """The finished trial of the reference in the middle, of an even number the worse one."""

    def highest(trial: Trial) -> float:
        return best_epoch(trial.epochs)["val_accuracy"]

    trials = sorted((t for t in study.settings[study.reference] if t.finished), key=highest)
    return trials[(len(trials) - 1) // 2]


def analyse(target: Path, sweeps: bool) -> None:
    """What `secnn table`, `secnn plot` and `secnn report` make of it."""
    command = [sys.executable, "-m", "secnn"]
    subprocess.run([*command, "table", target], check=True, stdout=subprocess.DEVNULL)
    for name in ["pareto", "growth"] + ["sweep"] * sweeps:
        made = target / "analysis" / f"{name}.png"
        subprocess.run([*command, "plot", name, target, "--output", made], check=True)
    subprocess.run([*command, "report", target], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--machine", required=True)
    parser.add_argument("--preset")
    asked = parser.parse_args()
    publish(asked.out, asked.target, asked.machine, asked.preset)
