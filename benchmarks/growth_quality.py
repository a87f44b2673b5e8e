"""Which rule, with which proposal, grows the better networks.

    python benchmarks/growth_quality.py run DATASET [--regime pilot] [--arms never …] [--seeds 0 1]
    python benchmarks/growth_quality.py judge [--regime pilot] [--seeds 0 1]

`run` trains every arm (`ARMS`) with every seed for the same number of epochs, from 9,024 parameters
to a budget, in one of the `REGIMES`; several can run side by side, each going on where it was
stopped. Arm `retrain-X` is the network that arm X ended with, trained from scratch for as many
epochs; `at-once-X` makes all of X's expansions before the first epoch, so that the network is as
large as long, but has X's initial weights. `judge` prints, over seeds with 95 % intervals
(Student's t): parameters, FLOPs of an image and validation accuracy at the end; the mean of the
best accuracy so far over the logarithm of the parameters; the best accuracy within equal
floating-point operations of training, before the learning rate falls for anyone; the change of
accuracy in the epoch after an expansion beside that in other epochs before then; and the difference
in accuracy to two controls of the same seed, and of a retrained network to the grown one.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accuracy import interval

from analysis.logs import read_log
from secnn import Trial, TrialConfig, checkpoint, load_dataset
from secnn.data import ImageData
from secnn.expansion import Expansion, from_dict
from secnn.memory import keep_freed_memory
from secnn.proposal import propose_filters
from secnn.training import normalize
from study.fence import FenceError
from study.store import TrialStore

OUT = Path("runs/growth_quality")
RESULTS = Path(__file__).with_suffix(".csv")
START = 9_024
COLUMNS = (
    *("regime", "arm", "seed", "epoch", "parameters", "flops", "channels", "layers"),
    *("train_loss", "val_loss", "val_accuracy", "expansion", "logit_change"),
)

# Twelve channels cost about what a layer does, so that all arms grow at the same pace.
PACE = {"cooldown": 1, "channel_steps": (12,), "decay": 0.25}


@dataclasses.dataclass(frozen=True)
class Regime:
    """How long, on how much, up to what size; a quarter of the images goes in batches of a quarter,
    as many steps an epoch."""

    images: int | None
    batch_size: int
    epochs: int
    budget: int

    def config(self, seed: int, **arm: object) -> TrialConfig:
        """The trial of an arm's settings."""
        own = {"epochs": self.epochs, "batch_size": self.batch_size, "max_parameters": self.budget}
        return TrialConfig(**PACE | own | arm, seed=seed)

    @property
    def steady(self) -> int:
        """The last epoch before the learning rate falls."""
        return self.epochs - self.config(0).decay_epochs

    def data(self, dataset: str) -> ImageData:
        """The first of the training images, and all others."""
        data = load_dataset(dataset)
        images, labels = (getattr(data, f"train_{n}")[: self.images] for n in ("images", "labels"))
        return dataclasses.replace(data, train_images=images, train_labels=labels)


REGIMES = {
    "pilot": Regime(11_250, 128, 20, 30_000),
    "long": Regime(11_250, 128, 60, 30_000),
    "60k": Regime(11_250, 128, 40, 60_000),
    "full": Regime(None, 512, 20, 30_000),
}
"""`long` grows in the first 15 % of its epochs, about as preset `default` does of its 300."""

ARMS = {
    "never": {"criterion": "never"},
    "random": {"criterion": "random"},
    "layers-first": {"criterion": "layers-first"},
    "schedule": {"criterion": "schedule"},
    "natural": {"criterion": "natural", "tau": 1.02},
    "natural, exact": {"criterion": "natural", "tau": 1.0, "fisher": "exact"},
    "density": {"criterion": "density", "tau": 0.1},
    "balanced": {"criterion": "balanced", "tau": 0.5},
    "balanced, plateau": {"criterion": "balanced", "tau": 0.5, "decay": 0.0, "patience": 3},
    "density, 10 MFLOP": {"criterion": "density", "tau": 0.1, "max_flops": 10_000_000},
    "gain, exact": {"criterion": "gain", "tau": 1.0, "fisher": "exact", "proposal": "random"},
    "channels-first": {"criterion": "channels-first"},
    "schedule, random": {"criterion": "schedule", "proposal": "random"},
    "gain": {"criterion": "gain", "tau": 0.1},
    "natural, kfac": {"criterion": "natural", "tau": 1.02, "fisher": "kfac"},
    "confident": {"criterion": "confident", "tau": 0.1},
    "schedule, early": {"criterion": "schedule", "cooldown": 0},
    "schedule, gradient": {"criterion": "schedule", "proposal": "gradient"},
    "paper": {"criterion": "natural", "tau": 2.0},
}
"""Name → settings of the trial."""

RETRAIN, AT_ONCE = "retrain-", "at-once-"


@dataclasses.dataclass(frozen=True)
class Run:
    """One arm with one seed."""

    regime: str
    arm: str
    seed: int

    @property
    def store(self) -> TrialStore:
        """Where its files are."""
        columns = dataclasses.asdict(self)
        return TrialStore(OUT / self.regime, f"{self.arm},seed={self.seed}", columns)

    @property
    def source(self) -> Run | None:
        """The run whose network this one trains anew."""
        arm = retrained(self.arm)
        return None if arm == self.arm else dataclasses.replace(self, arm=arm)

    def log(self) -> pd.DataFrame:
        """Its epochs."""
        return read_log(OUT / self.regime, "epochs", self.store.key)

    def config(self) -> TrialConfig:
        regime = REGIMES[self.regime]
        if self.source is None:
            return regime.config(self.seed, **ARMS[self.arm])
        settings = ARMS[self.source.arm] | {"criterion": "never"}
        if self.arm.startswith(RETRAIN):
            last = self.source.log().iloc[-1]
            settings |= {n: tuple(map(int, last[n].split("-"))) for n in ("channels", "layers")}
        return regime.config(self.seed, **settings)

    def begin(self, trial: Trial) -> None:
        """Before the first epoch."""
        if self.arm.startswith(AT_ONCE):
            grown = checkpoint.read(self.source.store.last)["expansions"]
            grow_at_once(trial, map(from_dict, grown))

    def train(self, data: ImageData) -> None:
        """To the end, unless that is done, or another process is at it, or what it needs is not."""
        store = self.store
        if store.done or (self.source and not self.source.store.done):
            return
        try:
            store.fence.acquire()
        except FenceError:
            return
        config = self.config()
        trial = Trial(config, data, ladder=store.ladder)
        store.resume(trial)
        if not trial.epoch:
            self.begin(trial)
        while not trial.done:
            trial.step()
            store.save(trial)
        store.finish(config, trial.finish())
        store.fence.release()
        print(f"{store.key}: {trial.records[-1].parameters} parameters", flush=True)


def retrained(arm: str) -> str:
    """The arm whose network `arm` trains anew, or itself."""
    return arm.removeprefix(RETRAIN).removeprefix(AT_ONCE)


def grow_at_once(trial: Trial, expansions: Iterable[Expansion], proposal: str = "noise") -> None:
    """Make `expansions` before the first epoch."""
    data, seed = trial.data, trial.config.seed
    images, labels = normalize(data.train_images[:SCORED], data), data.train_labels[:SCORED]
    generator = torch.Generator().manual_seed(seed)
    for e in expansions:
        filters = propose_filters(proposal, trial.network, [e], images, labels, seed)[e]
        e.apply(trial.network, trial.learner.optimizer, images, generator, filters)
        trial.expansions.append(e)


SCORED = 512
"""Images that new layers' statistics are set from."""


def gather(regime: str, arms: list[str], seeds: list[int]) -> pd.DataFrame:
    """The rows of all trials that are done, which then are in `RESULTS` too."""
    runs = [Run(regime, arm, seed) for arm in arms for seed in seeds]
    known = [pd.read_csv(RESULTS)] if RESULTS.exists() else []
    found = [run.log().assign(regime=regime)[list(COLUMNS)] for run in runs if run.store.done]
    rows = pd.concat([*known, *found], ignore_index=True)
    key = ["regime", "arm", "seed", "epoch"]
    rows = rows.drop_duplicates(key, keep="last").sort_values(key)
    rows.to_csv(RESULTS, index=False)
    return rows[rows["regime"] == regime]


def measures(trial: pd.DataFrame, operations: float, regime: Regime) -> dict[str, float]:
    """The figures of one trial; `operations` is the common budget of equal training, an image."""
    trial = trial.sort_values("epoch")
    steady = trial["epoch"].to_numpy() <= regime.steady
    accuracy, best = trial["val_accuracy"].to_numpy(), trial["val_accuracy"].cummax().to_numpy()
    within = steady & (trial["flops"].cumsum().to_numpy() <= operations)
    changes, grew = np.diff(accuracy), trial["expansion"].notna().to_numpy()[:-1]
    steady = steady[1:]
    return {
        "parameters": trial["parameters"].iloc[-1],
        "MFLOP": trial["flops"].iloc[-1] / 1e6,
        "accuracy": accuracy[-1],
        "loss": trial["val_loss"].iloc[-1],
        "area": area(trial["parameters"].to_numpy(), best, regime.budget),
        "at equal FLOPs": best[within][-1] if within.any() else math.nan,
        "after an expansion": changes[grew & steady].mean() if grew.any() else math.nan,
        "after none": changes[~grew & steady].mean(),
        "expansions": grew.sum(),
    }


def area(parameters: np.ndarray, best: np.ndarray, budget: int) -> float:
    """Mean over log(p), from START to `budget`, of the best accuracy with at most p parameters; nan
    for a network that starts with more."""
    if parameters[0] > START:
        return math.nan
    sizes = np.geomspace(START, budget, 200)
    return float(np.mean([best[parameters <= size].max() for size in sizes]))


def judge(regime: str, arms: list[str], seeds: list[int]) -> None:
    """Print the table."""
    rows = gather(regime, arms, seeds)
    trials = rows[rows["seed"].isin(seeds) & rows["arm"].isin(arms)].groupby(["arm", "seed"])
    steady = [t[t["epoch"] <= REGIMES[regime].steady] for _, t in trials]
    operations = min(t["flops"].sum() for t in steady if t["expansion"].notna().any())
    found = {which: measures(trial, operations, REGIMES[regime]) for which, trial in trials}
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
        for control in (*controls[:2], retrained(arm)):
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
    parser.add_argument("--regime", choices=list(REGIMES), default="pilot")
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked = parser.parse_args()
    if asked.what == "judge":
        arms = [f"{prefix}{arm}" for prefix in ("", RETRAIN, AT_ONCE) for arm in asked.arms]
        judge(asked.regime, arms, asked.seeds)
        return
    keep_freed_memory()
    torch.set_num_threads(1)
    data = REGIMES[asked.regime].data(asked.dataset)
    for seed in asked.seeds:
        for arm in asked.arms:
            Run(asked.regime, arm, seed).train(data)


if __name__ == "__main__":
    main()
