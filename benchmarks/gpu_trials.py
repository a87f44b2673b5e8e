"""Trials of a study on a GPU of a machine that has neither Ray nor pyarrow.

    secnn run … --out OUT                                       here: begin the study, and stop it
    python benchmarks/gpu.py pack DATASET FILE.npz              here
    PYTHONPATH=. python benchmarks/gpu_trials.py FILE.npz OUT/study.json TO \\
        --keys KEY … --seconds 500                              there

Each trial is a process, all at once, which NVIDIA's MPS lets run side by side; it ends as it stands
with the first epoch after so many seconds. (Only to go on from what is in TO it needs pydantic.)
Move what is in TO/trials to OUT/trials: the study's command goes on from there, on whatever it runs
on, tests the networks and writes the logs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from multiprocessing import get_context
from pathlib import Path

from gpu_checks import NAME
from packed import unpack

from secnn import Trial, TrialConfig, plugins
from secnn.kernels.gpu import repeat_exactly
from secnn.store import checkpoint
from secnn.store.ladder import Folder

PAUSE = 30.0
"""Seconds between two epochs that are stored."""


def train(file: str, study: dict, key: str, to: Path, deadline: float) -> None:
    """Train the trial `key` from where it stands in the folder `to` until time is up."""
    repeat_exactly()
    plugins.load(study["imports"])
    validation = "test" if study["dataset"]["validation"] == "test" else "held-out"
    config = TrialConfig.from_dict(study["trials"][key])
    trial = Trial(config, unpack(file, validation), ladder=Folder(to / "ladder"))
    last = to / "last.pt"
    if last.exists():
        trial.restore(checkpoint.read(last))
    started = stored = time.monotonic()
    before = trial.epoch
    while not trial.done:
        trial.step()
        if time.time() > deadline:
            break
        if time.monotonic() - stored > PAUSE:
            checkpoint.save(last, trial.state())
            stored = time.monotonic()
    checkpoint.save(last, trial.state())
    tell(key, trial, before, time.monotonic() - started)


def tell(name: str, trial: Trial, before: int, took: float) -> None:
    """Print where the trial stands, and on what the seconds since epoch `before` went."""
    made, last = trial.records[before:], trial.records[-1]
    spent = {
        what: sum(getattr(record, f"{what}_seconds") for record in made) / took
        for what in ("train", "eval", "score")
    }
    shares = ", ".join(f"{what} {share:.0%}" for what, share in spent.items())
    print(
        f"{name}: epochs {before + 1}–{trial.epoch} of {trial.config.epochs} in {took:.1f} s "
        f"({shares}), {trial.learner.kernel}, {trial.learner.precision}; {last.parameters} "
        f"parameters, validation {last.val_accuracy:.2f} %",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("study", type=Path)
    parser.add_argument("to", type=Path)
    parser.add_argument("--keys", nargs="+", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    asked = parser.parse_args()
    study = json.loads(asked.study.read_text())
    unknown = set(asked.keys) - study["trials"].keys()
    if unknown:
        parser.error(f"--keys: expected some of {', '.join(study['trials'])}, got {min(unknown)}")
    print(NAME, flush=True)
    deadline, spawn = time.time() + asked.seconds, get_context("spawn")
    given = [(asked.file, study, key, asked.to / "trials" / key, deadline) for key in asked.keys]
    running = [spawn.Process(target=train, args=each) for each in given]
    for process in running:
        process.start()
    for process in running:
        process.join()
    sys.exit(1 if any(process.exitcode for process in running) else 0)


if __name__ == "__main__":
    main()
