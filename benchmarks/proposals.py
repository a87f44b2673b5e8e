"""Do filters that raise the gradient on some images raise it on others?

`python benchmarks/proposals.py DATASET [--samples 512 2048]` trains the starting network for two
epochs and prints, for each block and proposal, ‖∂L/∂Ω‖² of the weights that would read four new
channels (mean over channels and three draws, divided by that of `random`), on the images that the
filters were made from and on 2,000 others.
"""

from __future__ import annotations

import argparse
import statistics

import torch

from secnn import SECNN, AddChannels, TrialConfig, load_dataset
from secnn.data.batches import normalize
from secnn.data.dataset import ImageData
from secnn.growth.proposal import PROPOSALS, Site, sites
from secnn.kernels.memory import keep_freed_memory
from secnn.score.gradients import Recording, record
from secnn.training.learner import Learner

DRAWS, OTHERS = 3, 2000


def seen(network: SECNN, data: ImageData, first: int, count: int) -> Recording:
    """Of `count` training images from the `first` on."""
    rows = slice(first, first + count)
    return record(network, normalize(data.train_images[rows], data), data.train_labels[rows])


def strength(site: Site, filters: torch.Tensor) -> float:
    """Mean over the filters of ‖∂L/∂Ω‖², L the mean loss."""
    active = site.activations(filters)
    squares = sum(r.gradients(r.pool(active)).square().sum((0, 2, 3)) for r in site.readers)
    return squares.mean().item() / len(site.x) ** 2


def strengths(network: SECNN, block: int, name: str, own: Recording, others: Recording) -> list:
    """On the proposal's own images and on others, a pair a draw."""
    pairs = []
    for draw in range(DRAWS):
        generator = torch.Generator().manual_seed(draw)
        (filters,) = PROPOSALS[name](network, AddChannels(block, 4), own, generator)
        places = [next(sites(network, block, recording)) for recording in (own, others)]
        pairs.append([strength(site, filters) for site in places])
    return [statistics.mean(column) for column in zip(*pairs, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--samples", type=int, nargs="+", default=[512, 2048])
    asked = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = load_dataset(asked.dataset)
    learner = Learner(SECNN(), TrialConfig(), torch.device("cpu"))
    for _ in range(2):
        learner.train(data)
    network = learner.network.eval()
    others = seen(network, data, max(asked.samples), OTHERS)
    print("| N | block | proposal | own images | others |\n|---|---|---|---|---|")
    for count in asked.samples:
        own = seen(network, data, 0, count)
        for block in range(3):
            base = strengths(network, block, "random", own, others)
            for name in ("linear", "gradient"):
                found = strengths(network, block, name, own, others)
                cells = [f"{f / b:.1f}" for f, b in zip(found, base, strict=True)]
                print(f"| {count} | {block} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
