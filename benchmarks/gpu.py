"""Training on a GPU: is it right, and how fast is it?

    python benchmarks/gpu.py pack DATASET FILE.npz       here: 32 × 32 colour images as JPEG, small
    python benchmarks/gpu.py run FILE.npz [--parts …]    there: needs neither ray nor pyarrow

`run` prints, part by part (`--parts` chooses):

check      a short trial, every expansion and every score against the CPU's; a trial that was
           interrupted against one that was not
epochs     seconds of an epoch by network, precision and kernel, in turn in each round
processes  images a second of 1, 4 and 8 processes that train at once
trial      a whole trial of a preset, and how much of its time is in the training steps

Without a GPU all of it runs on the CPU, where "graph" is a twin that records nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable

import torch
from gpu_checks import DEVICE, NAME, check
from gpu_trials import tell
from packed import pack, unpack
from torch import nn

from secnn import PRESETS, SECNN, NetworkSpec, Trial
from secnn.data.dataset import ImageData
from secnn.kernels.gpu import repeat_exactly
from secnn.training.epoch import Step, train_epoch
from secnn.training.graph import CudaGraph, EagerGraph, ReplayedStep
from secnn.training.learner import Learner

NETWORKS = {
    "conv, 9,024": NetworkSpec(),
    "conv, 41,024": NetworkSpec(channels=(16, 28, 24), layers=(1, 1, 6)),
    "separable, 57,378": NetworkSpec(cell="separable", channels=(24, 48, 80), layers=(3, 4, 3)),
}
COUNTS = (1, 4, 8)
SECONDS = 8.0
"""How long processes are counted."""


# --- time ---------------------------------------------------------------------------------


def synchronize() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def seconds(function: Callable[[], object]) -> float:
    synchronize()
    started = time.perf_counter()
    function()
    synchronize()
    return time.perf_counter() - started


def made(data: ImageData, network: str, **fields: object) -> Learner:
    """A new network for the images of `data`, and what trains it."""
    config = dataclasses.replace(PRESETS["conv"].reference, **fields)
    channels, *size = data.image_shape
    given = {"input_channels": channels, "image_size": tuple(size), "classes": data.classes}
    return Learner(SECNN(NETWORKS[network], **given), config, DEVICE)


def constant(through: float) -> float:
    """A learning rate."""
    return 1e-3


def compiled(learner: Learner) -> Callable[[ImageData], object]:
    """Epochs of a compiled network whose steps are recorded."""
    network: nn.Module = torch.compile(learner.network)
    config = learner.config
    step = Step(network, learner.optimizer, config.l1, learner.precision)
    run = ReplayedStep(step, CudaGraph if DEVICE.type == "cuda" else EagerGraph)
    return lambda data: train_epoch(step, data, config.batch_size, shift=config.shift, run=run)


def epochs(
    data: ImageData, rounds: int, kernels: Collection[str], networks: Collection[str]
) -> None:
    print("\n| network | precision | kernel | s an epoch | against eager |\n|---|---|---|---|---|")
    for network in networks:
        for precision in ("float32", "bfloat16"):
            compare(data, network, precision, rounds, kernels)


def compare(
    data: ImageData, network: str, precision: str, rounds: int, kernels: Collection[str]
) -> None:
    """A row for each kernel: the median epoch, and the speed-up over eager steps in each round."""
    eager, graph, third = (
        made(data, network, precision=precision, kernel=kernel)
        for kernel in ("reference", "graph", "graph")
    )
    run = {
        "eager": lambda d: eager.train(d, constant),
        "graph": lambda d: graph.train(d, constant),
        "compiled graph": compiled(third),
    }
    run = {name: run[name] for name in kernels}
    for name in list(run):
        try:
            run[name](data)
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {str(error)[:300]}")
            del run[name]
    times = [{n: seconds(lambda n=n: run[n](data)) for n in run} for _ in range(rounds)]
    for name in run:
        ratios = [t["eager"] / t[name] for t in times]
        median = statistics.median(t[name] for t in times)
        spread = f"{statistics.median(ratios):.1f} ({min(ratios):.1f}–{max(ratios):.1f})"
        print(f"| {network} | {precision} | {name} | {median:.3f} | {spread} |", flush=True)


# --- several processes --------------------------------------------------------------------


def processes(file: str, counts: Iterable[int]) -> None:
    """Images a second of so many processes; none counts before all are ready."""
    for network in ("conv, 9,024", "separable, 57,378"):
        for count in counts:
            line = [sys.executable, __file__, "one", file, "--network", network]
            running = [
                subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                for _ in range(count)
            ]
            for process in running:
                process.stdout.readline()
            for process in running:
                process.stdin.write("go\n")
                process.stdin.flush()
            rates = [float(process.communicate()[0]) for process in running]
            print(f"{network}: {count} at once, {sum(rates):,.0f} images/s in all", flush=True)


def one(file: str, network: str) -> None:
    """Say that all is ready, wait for a line, and print the images a second."""
    data = torch.load(file, weights_only=False).to(DEVICE)
    learner = made(data, network)
    learner.train(data, constant)
    print("ready", flush=True)
    sys.stdin.readline()
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        learner.train(data, constant)
        done += len(data.train_images)
    print(done / (time.perf_counter() - started))


def trial(data: ImageData, preset: str) -> None:
    """A whole one."""
    run = Trial(PRESETS[preset].reference, data, DEVICE)
    started = time.perf_counter()
    while not run.done:
        run.step()
    tell(preset, run, 0, time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("pack", "run", "one"))
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--preset", default="default", choices=PRESETS)
    parts = ("check", "epochs", "processes", "trial")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    kernels = ("eager", "graph", "compiled graph")
    parser.add_argument("--kernels", nargs="+", choices=kernels, default=kernels)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--network", choices=NETWORKS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    repeat_exactly()
    if asked.what == "pack":
        return pack(*asked.files)
    if asked.what == "one":
        return one(*asked.files, asked.network)
    print(f"{NAME}, PyTorch {torch.__version__}")
    data = unpack(*asked.files)
    there = data.to(DEVICE)
    with tempfile.TemporaryDirectory() as folder:
        torch.save(data, f"{folder}/data.pt")
        run = {
            "check": lambda: check(data),
            "epochs": lambda: epochs(there, asked.rounds, asked.kernels, asked.networks),
            "processes": lambda: processes(f"{folder}/data.pt", asked.processes),
            "trial": lambda: trial(there, asked.preset),
        }
        for part in (p for p in parts if p in asked.parts):
            started = time.perf_counter()
            run[part]()
            print(f"[{part}: {time.perf_counter() - started:.0f} s]\n", flush=True)


if __name__ == "__main__":
    main()
