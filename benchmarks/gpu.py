"""Training on a GPU: eager steps against recorded ones, and several trials on one device.

`python benchmarks/gpu.py DATASET [--rounds 5] [--trials 1 2 4]` prints the seconds of an epoch for
each kernel and precision, in turn within each round, and the images a second that so many trials
reach side by side. Without a GPU the same runs on the CPU, where "graph" is a twin that records
nothing: it shows that the path works, and no more.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import torch

from secnn import SECNN, NetworkSpec, TrialConfig, load_dataset
from secnn.data.dataset import ImageData
from secnn.training.learner import Learner

NETWORKS = {
    "9k": NetworkSpec(),
    "wide": NetworkSpec(channels=(32, 32, 32), layers=(2, 2, 2)),
}
VARIANTS = [(k, p) for p in ("float32", "bfloat16") for k in ("reference", "graph")]


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronize() -> None:
    if device().type == "cuda":
        torch.cuda.synchronize()


def seconds(learner: Learner, data: ImageData) -> float:
    """Of one epoch."""
    synchronize()
    started = time.perf_counter()
    learner.train(data)
    synchronize()
    return time.perf_counter() - started


def learner(data: ImageData, network: str, kernel: str, precision: str) -> Learner:
    """A new network for the images of `data`."""
    channels, *size = data.image_shape
    start = SECNN(NETWORKS[network], input_channels=channels, image_size=size, classes=data.classes)
    return Learner(start, TrialConfig(kernel=kernel, precision=precision), device())


def compare(data: ImageData, network: str, rounds: int) -> None:
    """A row for each kernel and precision: the median epoch, and the speed-up over eager steps of
    the same precision."""
    learners = {variant: learner(data, network, *variant) for variant in VARIANTS}
    for each in learners.values():
        each.train(data)
    times = [{v: seconds(each, data) for v, each in learners.items()} for _ in range(rounds)]
    for kernel, precision in VARIANTS:
        median = statistics.median(t[kernel, precision] for t in times)
        ratios = [t["reference", precision] / t[kernel, precision] for t in times]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
        print(f"| {network} | {kernel} | {precision} | {median:.3f} | {spread} |", flush=True)


def side_by_side(dataset: str, count: int) -> float:
    """Images a second of `count` processes that train at once."""
    line = [sys.executable, __file__, dataset, "--rounds", "3", "--one"]
    running = [subprocess.Popen(line, stdout=subprocess.PIPE) for _ in range(count)]
    return sum(float(process.communicate()[0]) for process in running)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    data = load_dataset(asked.dataset).to(device())
    if asked.one:
        one = learner(data, "9k", "graph", "auto")
        one.train(data)
        median = statistics.median(seconds(one, data) for _ in range(asked.rounds))
        print(len(data.train_images) / median)
        return
    name = torch.cuda.get_device_name() if device().type == "cuda" else "CPU (no GPU here)"
    print(
        f"{name}\n\n| network | kernel | precision | s an epoch | speed-up |\n|---|---|---|---|---|"
    )
    for network in NETWORKS:
        compare(data, network, asked.rounds)
    for count in asked.trials:
        print(f"{count} trials at once: {side_by_side(asked.dataset, count):,.0f} images/s")


if __name__ == "__main__":
    main()
