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
import subprocess
import sys
import time
from pathlib import Path

import torch
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


def tell(key: str, trial: Trial, before: int, took: float) -> None:
    """Print where the trial stands, and what took how long."""
    made = trial.records[before:]
    parts = ("train_seconds", "eval_seconds", "score_seconds")
    seconds = ", ".join(f"{sum(getattr(r, p) for r in made):.0f} {p[:-8]}" for p in parts)
    of = f"{before + 1}–{trial.epoch} of {trial.config.epochs}"
    last = trial.records[-1]
    print(
        f"{key}: epochs {of} in {took:.0f} s ({seconds}), {trial.learner.kernel}, "
        f"{trial.learner.precision}; {last.parameters} parameters, {last.val_accuracy:.2f} %",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("study", type=Path)
    parser.add_argument("to", type=Path)
    parser.add_argument("--keys", nargs="+", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    study = json.loads(asked.study.read_text())
    unknown = set(asked.keys) - study["trials"].keys()
    if unknown:
        parser.error(f"--keys: expected some of {', '.join(study['trials'])}, got {min(unknown)}")
    if asked.until:
        (key,) = asked.keys
        return train(asked.file, study, key, asked.to / "trials" / key, asked.until)
    print(torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU (no GPU here)")
    until = ["--seconds", "0", "--until", str(time.time() + asked.seconds)]
    same = [sys.executable, __file__, asked.file, str(asked.study), str(asked.to)]
    running = [subprocess.Popen([*same, *until, "--keys", key]) for key in asked.keys]
    failed = [process.wait() for process in running]
    sys.exit(1 if any(failed) else 0)


if __name__ == "__main__":
    main()
