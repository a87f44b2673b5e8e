"""What every candidate is really worth, and which score knows it.

    python benchmarks/ground_truth.py train DATASET --seeds 0 1 2
    python benchmarks/ground_truth.py score DATASET --seeds 0 1 2
    python benchmarks/ground_truth.py judge --seeds 0 1 2

`train` takes networks of several stages of training (`STAGES`), from each trains on for three
epochs at falling learning rates without an expansion, and from the same weights and optimizer state
with every candidate of every proposal, the same order of images; the realised gain is the
difference in validation loss. `score` computes every score of every candidate at those networks
(training images only), `judge` prints rank correlations between the two. Results lie in
benchmarks/ground_truth/, a file a seed; what is there already is not computed again.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Iterator
from pathlib import Path

import torch

from secnn import AddChannels, AddLayer, Trial, TrialConfig, checkpoint, load_dataset
from secnn.data import ImageData
from secnn.expansion import Expansion
from secnn.learner import Learner
from secnn.memory import keep_freed_memory
from secnn.network import count_flops
from secnn.proposal import propose_filters
from secnn.training import normalize

FOLDER = Path(__file__).with_name("ground_truth")
STATES = Path("runs/ground_truth")
GROWN = {"criterion": "schedule", "interval": 2, "cooldown": 1, "proposal": "random"}
STAGES = {
    "9k-5": (5, {"criterion": "never"}),
    "9k-15": (15, {"criterion": "never"}),
    # Layers for all blocks, then channels for two, at epochs 2, 4, … 10: 20,684 parameters.
    "21k-15": (15, GROWN | {"max_parameters": 21_000}),
}
"""Name → (epochs, settings of the trial) of the networks that are expanded."""

RATES = (1.0, 0.5, 0.1)
"""Learning rate of each epoch of training on, as a part of the network's own."""

CHANNELS, SAMPLES = 4, 2048

TESTED = ("noise", "random", "gradient")
"""Proposals at every stage; `linear` was tried at the first one."""


def candidates() -> Iterator[tuple[str, Expansion | None]]:
    """(proposal, expansion) of everything that is trained on; None for no expansion."""
    yield "none", None
    yield from (("noise", AddLayer(block)) for block in range(3))
    for proposal, block in itertools.product(TESTED, range(3)):
        yield proposal, AddChannels(block, CHANNELS)


def stage(name: str, seed: int, data: ImageData) -> Trial:
    """The trial at that stage, trained at first use and kept under `STATES`."""
    epochs, settings = STAGES[name]
    config = TrialConfig(seed=seed, epochs=epochs + 1, channel_steps=(CHANNELS,), **settings)
    trial, file = Trial(config, data), STATES / f"{name}-{seed}.pt"
    if file.exists():
        trial.restore(checkpoint.read(file))
    while trial.epoch < epochs:
        trial.step()
    if not file.exists():
        checkpoint.save(file, trial.state())
    return trial


def scoring_set(data: ImageData) -> tuple[torch.Tensor, torch.Tensor]:
    """`SAMPLES` training images, normalised, and their labels."""
    drawn = torch.randperm(len(data.train_images), generator=torch.Generator().manual_seed(0))
    drawn = drawn[:SAMPLES]
    return normalize(data.train_images[drawn], data), data.train_labels[drawn]


def train_on(trial: Trial, data: ImageData, proposal: str, expansion: Expansion | None) -> dict:
    """Expand a copy of the trial's network, train it on, and evaluate it."""
    content = trial.state()
    learner = Learner(checkpoint.rebuild(content), trial.config, torch.device("cpu"))
    learner.restore(content["training"])
    network, before = learner.network, learner.network.n_parameters
    flops = count_flops(network)
    if expansion is not None:
        images, labels = scoring_set(data)
        filters = propose_filters(proposal, network, [expansion], images, labels, 0)[expansion]
        generator = torch.Generator().manual_seed(0)
        expansion.apply(network, learner.optimizer, images, generator, filters)
    torch.manual_seed(trial.config.seed)
    start = learner.learning_rate
    for rate in RATES:
        learner.optimizer.param_groups[0]["lr"] = start * rate
        network.train().anneal_slopes(len(RATES))
        trained = learner.train(data)
    validated = learner.validate(data)
    return {
        "added_parameters": network.n_parameters - before,
        "added_flops": count_flops(network) - flops,
        "train_loss": trained.loss,
        "val_loss": validated.loss,
        "val_accuracy": validated.accuracy,
    }


def name_of(name: str, seed: int, proposal: str, expansion: Expansion | None) -> dict:
    """The columns that name a candidate."""
    kind = "none" if expansion is None else type(expansion).__name__
    block = "" if expansion is None else expansion.block
    return {"stage": name, "seed": seed, "kind": kind, "block": block, "proposal": proposal}


def train(asked: argparse.Namespace) -> None:
    """Write realised-SEED.csv."""
    data = load_dataset(asked.dataset)
    for seed, name in itertools.product(asked.seeds, STAGES):
        trial, file = stage(name, seed, data), FOLDER / f"realised-{seed}.csv"
        for proposal, expansion in candidates():
            named = name_of(name, seed, proposal, expansion)
            if not known(file, named):
                append(file, named | train_on(trial, data, proposal, expansion))


def known(file: Path, named: dict) -> bool:
    """Whether the file has that row."""
    wanted = {k: str(v) for k, v in named.items()}
    return any(wanted.items() <= row.items() for row in rows_of(file))


def rows_of(file: Path) -> list[dict]:
    """The rows, as text."""
    if not file.exists():
        return []
    with open(file, newline="") as opened:
        return list(csv.DictReader(opened))


def append(file: Path, row: dict) -> None:
    """Add a row, with a header before the first."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = not file.exists()
    with open(file, "a", newline="") as opened:
        writer = csv.DictWriter(opened, row)
        if new:
            writer.writeheader()
        writer.writerow(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["train", "score", "judge"])
    parser.add_argument("dataset", nargs="?")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    {"train": train}[asked.what](asked)


if __name__ == "__main__":
    main()
