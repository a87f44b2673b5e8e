"""Scoring the network and six candidates: one pass, copies, and `torch.func`.

`python benchmarks/scoring.py DATASET [--rounds 7] [--samples 512]` trains the starting network for
an epoch and prints, from interleaved rounds on one core, the time of each way over that of one
plain forward and backward pass on the same samples, and over that of the epoch of training.

plain       forward and backward pass, plain PyTorch, float32, evaluation mode
one pass    `score_candidates`: what a trial does
copies      the same per-sample gradients, of the network and of six grown copies
vmap        the same copies, per-sample gradients by `torch.func.vmap` of `grad`
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from secnn import SECNN, TrialConfig, load_dataset, natural_expansion_score, score_candidates
from secnn.data.batches import normalize
from secnn.growth.candidates import propose
from secnn.kernels.memory import keep_freed_memory
from secnn.training.learner import Learner


def plain(network: SECNN, images: Tensor, labels: Tensor) -> None:
    """Forward and backward pass."""
    kernel, network.kernel = network.kernel, "reference"
    network.eval()
    F.cross_entropy(network(images), labels).backward()
    network.zero_grad()
    network.kernel = kernel


def one_pass(network: SECNN, images: Tensor, labels: Tensor) -> None:
    score_candidates(network, images, labels, propose(network, 4))


def copied(score: Callable[[SECNN, Tensor, Tensor], object]) -> Callable:
    """`score` of the network and of a grown copy for each candidate."""

    def run(network: SECNN, images: Tensor, labels: Tensor) -> None:
        score(network, images, labels)
        for expansion in propose(network, 4):
            grown = copy.deepcopy(network)
            expansion.apply(grown, images=images, generator=torch.Generator().manual_seed(0))
            score(grown, images, labels)

    return run


def by_vmap(network: SECNN, images: Tensor, labels: Tensor) -> Tensor:
    """η with the diagonal Fisher from `torch.func`, 128 samples at a time."""
    network.eval().kernel = "reference"
    parameters = {name: p.detach() for name, p in network.named_parameters()}

    def loss(values: dict, image: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(network, values, (image[None],)), label[None])

    per_sample = vmap(grad(loss), in_dims=(None, 0, 0), chunk_size=128)
    samples = [g.flatten(1) for g in per_sample(parameters, images, labels).values()]
    samples = torch.cat(samples, 1)
    return (samples.mean(0).square() / (samples.square().mean(0) + 1e-8)).sum()


WAYS = {
    "plain": plain,
    "one pass": one_pass,
    "copies": copied(natural_expansion_score),
    "vmap": copied(by_vmap),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--samples", type=int, default=512)
    asked = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    data = load_dataset(asked.dataset)
    channels, *size = data.image_shape
    start = SECNN(input_channels=channels, image_size=tuple(size), classes=data.classes)
    learner = Learner(start, TrialConfig(), torch.device("cpu"))
    learner.train(data)
    images = normalize(data.train_images[: asked.samples], data)
    labels = data.train_labels[: asked.samples]
    times: dict[str, list[float]] = {way: [] for way in ["epoch", *WAYS]}
    for _ in range(asked.rounds):
        started = time.perf_counter()
        learner.train(data)
        times["epoch"].append(time.perf_counter() - started)
        for way, run in WAYS.items():
            network = copy.deepcopy(start)
            run(network, images, labels)
            started = time.perf_counter()
            run(network, images, labels)
            times[way].append(time.perf_counter() - started)
    print("| way | s | over plain, median (range) | share of an epoch |\n|---|---|---|---|")
    for way in WAYS:
        ratios = [t / p for t, p in zip(times[way], times["plain"], strict=True)]
        share = statistics.median(t / e for t, e in zip(times[way], times["epoch"], strict=True))
        print(
            f"| {way} | {statistics.median(times[way]):.3f} | {statistics.median(ratios):.1f} "
            f"({min(ratios):.1f}–{max(ratios):.1f}) | {100 * share:.1f} % |"
        )


if __name__ == "__main__":
    main()
