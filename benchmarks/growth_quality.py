"""Which rule, with which proposal, grows the better networks.

    python benchmarks/growth_quality.py run DATASET --images 11250 [--arms never …] [--seeds 0 1 2]
    python benchmarks/growth_quality.py judge [--seeds 0 1 2]

`run` trains every arm (`ARMS`) with every seed for the same number of epochs, from 9,024 parameters
to a budget; several can run side by side, each going on where it was stopped. `--images` of the
training images make a pilot, with batches of 128: as many steps an epoch as of all and 512. Arm
`retrain-X` is the network that arm X ended with, trained from scratch for as many epochs. `judge`
prints, over seeds with 95 % intervals (Student's t): parameters, FLOPs of an image and validation
accuracy at the end; the mean of the best accuracy so far over the logarithm of the parameters; the
accuracy after equal floating-point operations of training; the change of accuracy in the epoch
after an expansion beside that in other epochs before the learning rate falls; and the difference in
accuracy to two controls of the same seed, and of a retrained network to the grown one.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accuracy import T_QUANTILE

from analysis.logs import read_log
from secnn import Trial, TrialConfig, load_dataset
from secnn.data import ImageData
from secnn.memory import keep_freed_memory
from study.fence import FenceError
from study.store import TrialStore

OUT = Path("runs/growth_quality")
PILOT_BELOW, PILOT_BATCH = 20_000, 128
RESULTS = Path(__file__).with_suffix(".csv")
EPOCHS, BUDGET, START = 20, 30_000, 9_024
COLUMNS = (
    *("arm", "seed", "epoch", "parameters", "flops", "channels", "layers"),
    *("train_loss", "val_loss", "val_accuracy", "expansion", "logit_change"),
)

# Twelve channels cost about what a layer does, so that all arms grow at the same pace.
BASE = TrialConfig(
    epochs=EPOCHS,
    cooldown=1,
    interval=2,
    channel_steps=(12,),
    decay=0.25,
    max_parameters=BUDGET,
)
EXACT = {"fisher": "exact", "damping": 1e-2}
ARMS = {
    "never": {"criterion": "never"},
    "random": {"criterion": "random"},
    "layers-first": {"criterion": "layers-first"},
    "schedule": {"criterion": "schedule"},
    "natural": {"criterion": "natural", "tau": 1.02},
    "natural, exact": {"criterion": "natural", "tau": 1.0, **EXACT},
    "density": {"criterion": "density", "tau": 0.1},
    "balanced": {"criterion": "balanced", "tau": 0.5},
    "density, 10 MFLOP": {"criterion": "density", "tau": 0.1, "max_flops": 10_000_000},
    "gain, exact": {"criterion": "gain", "tau": 1.0, **EXACT, "proposal": "random"},
    "channels-first": {"criterion": "channels-first"},
    "schedule, random": {"criterion": "schedule", "proposal": "random"},
    "gain": {"criterion": "gain", "tau": 0.1},
    "natural, kfac": {"criterion": "natural", "tau": 1.02, "fisher": "kfac", "damping": 1e-6},
    "confident": {"criterion": "confident", "tau": 0.1},
    "schedule, early": {"criterion": "schedule", "interval": 1, "cooldown": 0},
    "schedule, gradient": {"criterion": "schedule", "proposal": "gradient"},
    "paper": {"criterion": "natural", "tau": 2.0},
}
"""Name → settings of the trial."""

RETRAIN = "retrain-"


def config_of(arm: str, seed: int) -> TrialConfig | None:
    """The arm's configuration; None for the retraining of a trial that is not done yet."""
    if not arm.startswith(RETRAIN):
        return dataclasses.replace(BASE, seed=seed, **ARMS[arm])
    source = store_of(arm.removeprefix(RETRAIN), seed)
    if not source.done:
        return None
    last = read_log(OUT, "epochs", source.key).iloc[-1]
    shape = {name: tuple(map(int, last[name].split("-"))) for name in ("channels", "layers")}
    return dataclasses.replace(BASE, seed=seed, criterion="never", **shape)


def store_of(arm: str, seed: int) -> TrialStore:
    """Where its files are."""
    return TrialStore(OUT, f"{arm},seed={seed}", {"arm": arm, "seed": seed})


def run(arm: str, seed: int, data: ImageData) -> None:
    """Train to the end, unless that is done, or another process is at it."""
    store, config = store_of(arm, seed), config_of(arm, seed)
    if store.done or config is None:
        return
    if len(data.train_images) < PILOT_BELOW:
        config = dataclasses.replace(config, batch_size=PILOT_BATCH)
    try:
        store.fence.acquire()
    except FenceError:
        return
    trial = Trial(config, data, ladder=store.ladder)
    store.resume(trial)
    while not trial.done:
        trial.step()
        store.save(trial)
    store.finish(config, trial.finish())
    store.fence.release()
    print(f"{store.key}: {trial.records[-1].parameters} parameters", flush=True)


def gather(arms: list[str], seeds: list[int]) -> pd.DataFrame:
    """The rows of all trials that are done, which then are in `RESULTS` too."""
    done = [(a, s) for a in arms for s in seeds if store_of(a, s).done]
    found = [read_log(OUT, "epochs", store_of(*which).key) for which in done]
    known = [pd.read_csv(RESULTS)] if RESULTS.exists() else []
    rows = pd.concat([*known, *(f[list(COLUMNS)] for f in found)], ignore_index=True)
    rows = rows.drop_duplicates(["arm", "seed", "epoch"], keep="last")
    rows.sort_values(["arm", "seed", "epoch"]).to_csv(RESULTS, index=False)
    return rows


def measures(trial: pd.DataFrame, operations: float) -> dict[str, float]:
    """The figures of one trial; `operations` is the common budget of equal training."""
    trial = trial.sort_values("epoch")
    accuracy, best = trial["val_accuracy"].to_numpy(), trial["val_accuracy"].cummax().to_numpy()
    within = trial["flops"].cumsum().to_numpy() <= operations
    changes, grew = np.diff(accuracy), trial["expansion"].notna().to_numpy()[:-1]
    steady = trial["epoch"].to_numpy()[:-1] < EPOCHS - BASE.decay_epochs
    return {
        "parameters": trial["parameters"].iloc[-1],
        "MFLOP": trial["flops"].iloc[-1] / 1e6,
        "accuracy": accuracy[-1],
        "loss": trial["val_loss"].iloc[-1],
        "area": area(trial["parameters"].to_numpy(), best),
        "at equal FLOPs": best[within][-1] if within.any() else math.nan,
        "after an expansion": changes[grew & steady].mean() if grew.any() else math.nan,
        "after none": changes[~grew & steady].mean(),
        "expansions": grew.sum(),
    }


def area(parameters: np.ndarray, best: np.ndarray) -> float:
    """Mean over log(p), from START to BUDGET, of the best accuracy with at most p parameters; nan
    for a network that starts with more."""
    if parameters[0] > START:
        return math.nan
    sizes = np.geomspace(START, BUDGET, 200)
    return float(np.mean([best[parameters <= size].max() for size in sizes]))


def interval(values: list[float], digits: int = 2) -> str:
    """mean ± half the width of the 95 % interval."""
    there = [v for v in values if not math.isnan(v)]
    if len(there) not in T_QUANTILE:
        return f"{statistics.mean(there):.{digits}f}" if there else "–"
    half = T_QUANTILE[len(there)] * statistics.stdev(there) / math.sqrt(len(there))
    return f"{statistics.mean(there):.{digits}f} ± {half:.{digits}f}"


def judge(arms: list[str], seeds: list[int]) -> None:
    """Print the table."""
    rows = gather(arms, seeds)
    growing = rows[rows["expansion"].groupby([rows["arm"], rows["seed"]]).transform("count") > 0]
    operations = growing.groupby(["arm", "seed"])["flops"].sum().min()
    trials = rows[rows["seed"].isin(seeds)].groupby(["arm", "seed"])
    found = {which: measures(trial, operations) for which, trial in trials}
    columns = list(next(iter(found.values())))
    controls = ["random", "layers-first", "what it retrains"]
    print("| arm | n | " + " | ".join(columns) + "".join(f" | − {c}" for c in controls) + " |")
    print("|---" * (len(columns) + 5) + "|")
    for arm in dict.fromkeys(a for a, _ in found):
        own = {s: m for (a, s), m in found.items() if a == arm}
        cells = [
            interval([float(m[c]) for m in own.values()], 0 if c == "parameters" else 2)
            for c in columns
        ]
        for control in (*controls[:2], arm.removeprefix(RETRAIN)):
            paired = [
                m["accuracy"] - found[control, s]["accuracy"]
                for s, m in own.items()
                if control != arm and (control, s) in found
            ]
            cells.append(interval(paired))
        print(f"| {arm} | {len(own)} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "judge"])
    parser.add_argument("dataset", nargs="?")
    parser.add_argument("--images", type=int, help="of the training set; all without")
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked = parser.parse_args()
    if asked.what == "judge":
        judge([*asked.arms, *(RETRAIN + a for a in asked.arms)], asked.seeds)
        return
    keep_freed_memory()
    torch.set_num_threads(1)
    data = load_dataset(asked.dataset)
    data = dataclasses.replace(
        data,
        train_images=data.train_images[: asked.images],
        train_labels=data.train_labels[: asked.images],
    )
    for seed in asked.seeds:
        for arm in asked.arms:
            run(arm, seed, data)


if __name__ == "__main__":
    main()
