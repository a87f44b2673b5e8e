"""How long until a network is right on 70 and 80 % of the held-out images, from the command on.

    taskset -c 0 python benchmarks/time_to_accuracy.py DATASET [--sides …] [--targets 70 80]

One side after the other, each a process of its own on one thread:

growing         this project: the separable cell, a ladder of short rungs (`GROWING`)
fixed           this project: a fixed network of the paper's cell, 29,676 parameters, preset
                conv's recipe
fixed, paper's  the same network with the paper's recipe
usual, …        the fixed sides as a user starts them: PIL, torchvision, DataLoader, plain PyTorch.
                An epoch is timed on `BATCHES` batches; how many it takes is what the fixed side
                took, which does the same steps

Times are the wall's, and in parentheses the process's on the CPU, for a machine that others use.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace

import torch
from training_step import usual

from secnn import PRESETS, NetworkSpec, Trial, TrialConfig, load_dataset
from secnn.kernels.memory import keep_freed_memory

BATCHES = 12
SPEC = NetworkSpec(channels=(28, 16, 28), layers=(2, 2, 2))
FIXED = {"criterion": "never", "channels": SPEC.channels, "layers": SPEC.layers}
GROWING = replace(PRESETS["default"].reference, epochs=24, rungs=8, last=0.4, channel_steps=(16,))
"""Chosen among four by the time to 80 %, one seed each."""

OURS: dict[str, TrialConfig] = {
    "growing": GROWING,
    "fixed": replace(PRESETS["conv"].reference, **FIXED, epochs=60),
    "fixed, paper's": replace(PRESETS["paper"].reference, **FIXED, epochs=60),
}
USUAL = {"usual": "fixed", "usual, paper's": "fixed, paper's"}


def train(config: TrialConfig, dataset: str, target: float) -> None:
    """Print a line an epoch, until the target is reached or the trial ends."""
    keep_freed_memory()
    torch.set_num_threads(1)
    trial = Trial(config, load_dataset(dataset))
    while not trial.done:
        record = trial.step()
        row = {"epoch": record.epoch, "accuracy": record.val_accuracy, "cpu": time.process_time()}
        print(json.dumps(row | {"parameters": record.parameters}), flush=True)
        if record.val_accuracy >= target:
            return


def an_epoch(config: TrialConfig, dataset: str) -> None:
    """Print what an epoch takes in the usual way, from a few batches."""
    torch.set_num_threads(1)
    data = load_dataset(dataset)
    count, whole = BATCHES * config.batch_size, len(data.train_images)
    some = replace(
        data, train_images=data.train_images[:count], train_labels=data.train_labels[:count]
    )
    epoch = usual(some, SPEC, config.batch_size, config.shift)
    epoch()
    started, cpu = time.monotonic(), time.process_time()
    epoch()
    each = whole / count
    row = {"wall": (time.monotonic() - started) * each, "cpu": (time.process_time() - cpu) * each}
    print(json.dumps(row), flush=True)


def lines(dataset: str, side: str, target: float) -> list[dict]:
    """What a side prints, each line with the seconds since its command."""
    started, found = time.monotonic(), []
    command = [sys.executable, __file__, dataset, "--one", side, "--targets", str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            found.append({"wall": time.monotonic() - started} | json.loads(line))
    return found


def first(rows: list[dict], target: float) -> dict | None:
    return next((row for row in rows if row["accuracy"] >= target), None)


def told(wall: float, cpu: float) -> str:
    return f"{wall / 60:.1f} ({cpu / 60:.1f}) min"


def report(side: str, rows: list[dict], targets: list[float]) -> None:
    best = max(rows, key=lambda row: row["accuracy"])
    for target in targets:
        row = first(rows, target)
        reached = f"never, {best['accuracy']:.1f} % at best in {len(rows)} epochs"
        if row:
            took = told(row["wall"], row["cpu"])
            reached = f"{took}, epoch {row['epoch']}, {row['parameters']:,} parameters"
        print(f"| {side} | {target:g} % | {reached} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--sides", nargs="+", choices=[*OURS, *USUAL], default=[*OURS, *USUAL])
    parser.add_argument("--targets", nargs="+", type=float, default=[70, 80])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one in OURS:
        train(OURS[asked.one], asked.dataset, max(asked.targets))
        return
    if asked.one:
        an_epoch(OURS[USUAL[asked.one]], asked.dataset)
        return
    found: dict[str, list[dict]] = {}
    print("| side | accuracy | time |\n|---|---|---|", flush=True)
    for side in asked.sides:
        if side in OURS:
            found[side] = lines(asked.dataset, side, max(asked.targets))
            report(side, found[side], asked.targets)
            continue
        (epoch,) = lines(asked.dataset, side, 0)
        same = found.get(USUAL[side], [])
        rows = [row | {k: epoch[k] * row["epoch"] for k in ("wall", "cpu")} for row in same]
        print(f"| {side} | an epoch | {told(epoch['wall'], epoch['cpu'])} |")
        if rows:
            report(side, rows, asked.targets)


if __name__ == "__main__":
    main()
