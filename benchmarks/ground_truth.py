"""What every candidate is really worth, and which score knows it.

    python benchmarks/ground_truth.py train DATASET --seeds 0 1 2
    python benchmarks/ground_truth.py score DATASET --seeds 0 1 2
    python benchmarks/ground_truth.py judge --seeds 0 1 2

`train` takes networks of several stages of training (`STAGES`), from each trains on for three
epochs at falling learning rates without an expansion, and from the same weights and optimizer state
with every candidate of every proposal, the same order of images; the realised gain is the
difference in validation loss. `score` computes every score of every candidate at those networks
(training images only), `judge` prints rank correlations between the two within a network. Stages of
a seed are of one training run or alike, so that means and 95 % intervals (Student's t) are over
seeds. Results lie in benchmarks/ground_truth/, a file a seed; what is there already is not computed
again.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from accuracy import append, interval

from secnn import AddChannels, AddLayer, Trial, TrialConfig, load_dataset, score_candidates
from secnn.analysis.stats import spearman, spread
from secnn.data.batches import normalize
from secnn.data.dataset import ImageData
from secnn.growth.expansion import Expansion
from secnn.growth.proposal import PROPOSALS, propose_filters
from secnn.kernels.memory import keep_freed_memory
from secnn.network.network import count_flops
from secnn.score.fisher import FISHERS
from secnn.store import checkpoint
from secnn.training.learner import Learner

FOLDER = Path(__file__).with_name("ground_truth")
STATES = Path("runs/ground_truth")
GROWN = {"criterion": "schedule", "cooldown": 1, "proposal": "random"}
STAGES = {
    "9k-5": (5, {"criterion": "never"}),
    "9k-15": (15, {"criterion": "never"}),
    "9k-40": (40, {"criterion": "never"}),
    # Layers for all blocks, then channels for two, at epochs 1, 3, … 9: 20,684 parameters.
    "21k-15": (15, GROWN | {"max_parameters": 21_000}),
}
"""Name → (epochs, settings of the trial) of the networks that are expanded."""

RATES = (1.0, 0.5, 0.1)
"""Learning rate of each epoch of training on, as a part of the network's own."""

CHANNELS, SAMPLES = 4, 2048

FIXED = {"channel_steps": (CHANNELS,), "precision": "float32"}
"""Settings of all stages: small differences are measured, on whatever processor."""

KEYS = ["stage", "seed", "kind", "block", "proposal"]

FIGURES = ("ratio", "gain", "gain_unbiased", "gain_low", "gain_per_parameter", "density")


def candidates() -> Iterator[tuple[str, Expansion | None]]:
    """(proposal, expansion) of everything that is trained on; None for no expansion."""
    yield "none", None
    yield from (("noise", AddLayer(block)) for block in range(3))
    for proposal, block in itertools.product(PROPOSALS, range(3)):
        yield proposal, AddChannels(block, CHANNELS)


def stage(name: str, seed: int, data: ImageData) -> Trial:
    """The trial at that stage, trained at first use and kept under `STATES`."""
    epochs, settings = STAGES[name]
    config = TrialConfig(**FIXED | settings, seed=seed, epochs=epochs + 1)
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
    start = learner.learning_rate
    for epoch, rate in enumerate(RATES):
        torch.manual_seed(trial.config.seed * len(RATES) + epoch)  # The same images for all.
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
    for seed, name in itertools.product(asked.seeds, asked.stages):
        trial, file = stage(name, seed, data), FOLDER / f"realised-{seed}.csv"
        for proposal, expansion in candidates():
            named = name_of(name, seed, proposal, expansion)
            if not known(file, named):
                append(file, named | train_on(trial, data, proposal, expansion))


def score(asked: argparse.Namespace) -> None:
    """Write scores-SEED.csv: for every candidate the figures of every Fisher approximation."""
    data = load_dataset(asked.dataset)
    images, labels = scoring_set(data)
    for seed, name, proposal in itertools.product(asked.seeds, asked.stages, PROPOSALS):
        if not (STATES / f"{name}-{seed}.pt").exists():
            continue
        network, file = checkpoint.load(STATES / f"{name}-{seed}.pt"), FOLDER / f"scores-{seed}.csv"
        kinds = [AddLayer(b) for b in range(3)] if proposal == "noise" else []
        expansions = [*kinds, *(AddChannels(b, CHANNELS) for b in range(3))]
        named = [name_of(name, seed, proposal, e) for e in expansions]
        if known(file, named[-1]):
            continue
        columns: list[dict] = [{} for _ in expansions]
        for fisher in FISHERS:
            found = score_candidates(
                network, images, labels, expansions, fisher=fisher, proposal=proposal
            )[1]
            for column, candidate in zip(columns, found, strict=True):
                column |= {f"{fisher}: {f}": getattr(candidate, f) for f in FIGURES}
        for row, column in zip(named, columns, strict=True):
            append(file, row | column)


def judge(asked: argparse.Namespace) -> None:
    """Print, for every score, its rank correlation with the realised gain and with the gain per
    parameter, and by how much it is above a trivial one's."""
    rows = joined(asked.seeds, asked.stages)
    names = [*TRIVIAL, *(c for c in rows.columns if ": " in c)]
    for kinds in (["AddLayer", "AddChannels"], ["AddLayer"], ["AddChannels"]):
        some = rows[rows["kind"].isin(kinds)]
        best = TRIVIAL[0] if len(kinds) > 1 else "added_flops"
        networks = some.groupby(["stage", "seed"]).ngroups
        print(f"\n{' and '.join(kinds)}: {len(some)} candidates in {networks} networks")
        print(f"| score | gain | − {best} | gain per parameter | − {best} |\n|---|---|---|---|---|")
        for name in names:
            cells = []
            for gain in ("gain", "gain per parameter"):
                own = correlations(some, name, gain)
                cells += [own, own - correlations(some, best, gain)]
            print(f"| {name} | {' | '.join(interval(cell.tolist()) for cell in cells)} |")
    print(means(rows))


TRIVIAL = ("is a layer", "added_parameters", "added_flops", "block")


def joined(seeds: list[int], stages: list[str]) -> pd.DataFrame:
    """A row a candidate: its scores, and what it brought."""
    realised, scores = (
        pd.concat(pd.read_csv(FOLDER / f"{what}-{seed}.csv") for seed in seeds)
        for what in ("realised", "scores")
    )
    realised = realised[realised["stage"].isin(stages)]
    base = realised[realised["kind"] == "none"].set_index(["stage", "seed"])["val_loss"]
    rows = realised[realised["kind"] != "none"].merge(scores, on=KEYS)
    rows["gain"] = base.loc[list(zip(rows["stage"], rows["seed"], strict=True))].to_numpy()
    rows["gain"] -= rows["val_loss"]
    rows["gain per parameter"] = rows["gain"] / rows["added_parameters"]
    rows["is a layer"] = (rows["kind"] == "AddLayer").astype(float)
    rows["block"] = rows["block"].astype(float)
    return rows


def correlations(rows: pd.DataFrame, score_name: str, gain: str) -> pd.Series:
    """Seed → Spearman's correlation within a network, mean over the stages; nan where all
    candidates have one score."""
    networks = rows.groupby(["stage", "seed"])[[score_name, gain]]
    return networks.apply(lambda n: spearman(n[score_name], n[gain])).groupby("seed").mean()


def means(rows: pd.DataFrame) -> str:
    """The realised gain of every candidate, mean and standard deviation over seeds."""
    groups = rows.groupby(["stage", "kind", "block", "proposal"])
    lines = [
        "",
        "| stage | candidate | Δp | gain in validation loss | n |",
        "|---|---|---|---|---|",
    ]
    for (name, kind, block, proposal), group in groups:
        gains, sizes = spread(group["gain"]), group["added_parameters"]
        lines.append(
            f"| {name} | {kind} {block:.0f}, {proposal} | {sizes.iloc[0]:,} | "
            f"{gains.mean:.4f} ± {gains.sd:.4f} | {gains.k} |"
        )
    return "\n".join(lines)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["train", "score", "judge"])
    parser.add_argument("dataset", nargs="?")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    asked = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    {"train": train, "score": score, "judge": judge}[asked.what](asked)


if __name__ == "__main__":
    main()
