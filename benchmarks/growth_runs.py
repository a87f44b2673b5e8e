"""The runs of growth_quality.py: which rules and proposals, how long, on how many images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import torch

from secnn import Trial, TrialConfig, load_dataset
from secnn.analysis.logs import read_log
from secnn.data.batches import normalize
from secnn.data.dataset import ImageData
from secnn.growth.expansion import Expansion, from_dict
from secnn.growth.proposal import propose_filters
from secnn.store import checkpoint
from secnn.study.fence import FenceError
from secnn.study.retrain import BUDGETS
from secnn.study.store import TrialStore

OUT = Path("runs/growth_quality")

# Twelve channels cost about what a layer does, so that all arms grow at the same pace.
PACE = {"cooldown": 1, "channel_steps": (12,), "decay": 0.25}


@dataclasses.dataclass(frozen=True)
class Regime:
    """How long, on how much, up to what size; a quarter of the images goes in batches of a quarter,
    as many steps an epoch."""

    images: int
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
}
"""`long` grows in the first 15 % of its epochs, about as preset `default` does of its 300."""

ARMS = {
    "never": {"criterion": "never"},
    "random": {"criterion": "random"},
    "random-place": {"criterion": "random-place"},
    "layers-first": {"criterion": "layers-first"},
    "schedule": {"criterion": "schedule"},
    "natural": {"criterion": "natural", "tau": 1.02},
    "natural, lambda": {"criterion": "natural", "tau": 1.02, "lam": 1e-8},
    "natural, exact": {"criterion": "natural", "tau": 1.0, "fisher": "exact"},
    "density": {"criterion": "density", "tau": 0.1},
    "density, lambda": {"criterion": "density", "tau": 0.1, "lam": 1.0, "penalty": "relative"},
    "balanced": {"criterion": "balanced", "tau": 0.5},
    "balanced, halving": {"criterion": "balanced", "tau": 0.5, "decay": 0.0, "patience": 3},
    "balanced, at a plateau": {"criterion": "balanced", "tau": 0.5, "plateau": 2},
    "density, 10 MFLOP": {"criterion": "density", "tau": 0.1, "max_flops": 10_000_000},
    "gain, exact": {"criterion": "gain", "tau": 1.0, "fisher": "exact", "proposal": "random"},
    "channels-first": {"criterion": "channels-first"},
    "schedule, random": {"criterion": "schedule", "proposal": "random"},
    "gain": {"criterion": "gain", "tau": 0.1},
    "natural, kfac": {"criterion": "natural", "tau": 1.02, "fisher": "kfac"},
    "confident": {"criterion": "confident", "tau": 0.1},
    "schedule, early": {"criterion": "schedule", "cooldown": 0},
    "schedule, linear": {"criterion": "schedule", "proposal": "linear"},
    "schedule, gradient": {"criterion": "schedule", "proposal": "gradient"},
    "paper": {"criterion": "natural", "tau": 2.0},
}
"""Name → settings of the trial."""

RETRAIN, SAME_FLOPS, AT_ONCE = PREFIXES = ("retrain-", "same-flops-", "at-once-")


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
        if not self.arm.startswith(AT_ONCE):
            log = self.source.log().sort_values("epoch")
            last = log.iloc[-1]
            settings |= {n: tuple(map(int, last[n].split("-"))) for n in ("channels", "layers")}
            _, epochs = BUDGETS["flops" if self.arm.startswith(SAME_FLOPS) else "epochs"]
            settings["epochs"] = epochs(log["flops"].tolist())
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
    prefix = next((p for p in PREFIXES if arm.startswith(p)), "")
    return arm.removeprefix(prefix)


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
