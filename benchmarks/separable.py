"""The separable cell's compiled operators against PyTorch, forward and backward, on one thread.

`taskset -c 0 python benchmarks/separable.py [--isa native avx2] [--rounds 20]` takes turns between
both and prints, for pairs of a 1×1 and a depthwise convolution, for residual units and for training
steps of whole networks, the shortest times in milliseconds of the thread's CPU time (another
process on the same core does not count, though it empties the caches), the ratio of their sums, and
the quartiles of the rounds' own ratios. Both sides get channels-last tensors and keep freed memory,
as a trial does.

avx2 compiles for x86-64-v3 and holds PyTorch and oneDNN to AVX2.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from secnn import PRESETS, SECNN, NetworkSpec
from secnn.kernels import build, residual_unit, separable_convolution
from secnn.kernels.memory import keep_freed_memory
from secnn.training.learner import Learner

PAIRS = [(24, 48, 32), (48, 80, 16)]
UNITS = [(16, 32), (24, 32), (32, 32), (48, 16), (80, 8), (96, 8)]
NETWORKS = [((16, 16, 16), (2, 2, 2)), ((24, 32, 56), (2, 3, 3)), ((24, 48, 80), (3, 4, 3))]
BATCH = 256
LIMITS: dict[str, dict[str, str]] = {
    "native": {},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
}
KERNELS = ("reference", "fused")

Work = Callable[[str], tuple[float, float]]


def duration(work: Callable[[], object]) -> tuple[float, object]:
    """Milliseconds of this thread's CPU time, and what `work` returns."""
    started = time.thread_time()
    result = work()
    return 1000 * (time.thread_time() - started), result


def both_ways(compute: Callable[[str], Tensor], leaves: list[Tensor], dy: Tensor) -> Work:
    """Milliseconds of `compute(kernel)` and of its gradients for `leaves`."""

    def work(kernel: str) -> tuple[float, float]:
        forward, y = duration(lambda: compute(kernel))
        backward, _ = duration(lambda: torch.autograd.grad(y, leaves, dy))
        return forward, backward

    return work


def weights(inputs: int, outputs: int) -> list[Tensor]:
    shapes = (outputs, inputs, 1, 1), (outputs, 1, 3, 3)
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


def images(channels: int, side: int, dtype: torch.dtype) -> Tensor:
    x = torch.randn(BATCH, channels, side, side).to(dtype)
    return x.contiguous(memory_format=torch.channels_last)


def pair(inputs: int, outputs: int, side: int, dtype: torch.dtype) -> Work:
    x, given = images(inputs, side, dtype).requires_grad_(), weights(inputs, outputs)

    def compute(kernel: str) -> Tensor:
        with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
            return separable_convolution(x, *given, kernel)

    return both_ways(compute, [x, *given], images(outputs, side, dtype))


def unit(width: int, side: int, dtype: torch.dtype) -> Work:
    x, given = images(width, side, dtype).requires_grad_(), weights(width, width) * 2
    norms = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def compute(kernel: str) -> Tensor:
        with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
            return residual_unit(x, tuple(given), *norms, 0.1, kernel)

    leaves = [x, *given[:2], *(p for norm in norms for p in norm.parameters())]
    return both_ways(compute, leaves, images(width, side, dtype))


def step(channels: tuple[int, ...], layers: tuple[int, ...], dtype: torch.dtype) -> Work:
    """A whole training step; it has no two parts."""
    network = SECNN(NetworkSpec(cell="separable", channels=channels, layers=layers))
    config = replace(PRESETS["default"].reference, precision=str(dtype)[6:])
    learner = Learner(network, config, torch.device("cpu"))
    train, _ = learner._step()
    x, labels = images(3, 32, torch.float32), torch.randint(10, (BATCH,))

    def work(kernel: str) -> tuple[float, float]:
        learner.network.kernel = kernel
        return duration(lambda: train(x, labels))[0], 0.0

    return work


def measure(work: Work, rounds: int, seconds: float) -> str:
    """A row of the table, from at least three rounds, at most `rounds` or `seconds`."""
    times: dict[str, list[tuple[float, float]]] = {kernel: [] for kernel in KERNELS}
    until = time.monotonic() + seconds
    while len(times["fused"]) < 3 or (len(times["fused"]) < rounds and time.monotonic() < until):
        for kernel in KERNELS:
            times[kernel].append(work(kernel))
    ratios = [sum(a) / sum(b) for a, b in zip(times["reference"], times["fused"], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    (a, b), (c, d) = ([min(part) for part in zip(*times[k], strict=True)] for k in KERNELS)
    shown = [f"{one:.1f} + {two:.1f}" if two else f"{one:.1f}" for one, two in ((a, b), (c, d))]
    return f"{shown[0]} | {shown[1]} | {(a + b) / (c + d):.1f} | {low:.1f}–{high:.1f}"


def cases(dtype: torch.dtype) -> dict[str, Callable[[], Work]]:
    named: dict[str, Callable[[], Work]] = {}
    for inputs, outputs, side in PAIRS:
        name = f"pair, {inputs} → {outputs} | {side}×{side}"
        named[name] = lambda given=(inputs, outputs, side): pair(*given, dtype)
    for width, side in UNITS:
        named[f"unit, {width} | {side}×{side}"] = lambda given=(width, side): unit(*given, dtype)
    for channels, layers in NETWORKS:
        spec = NetworkSpec(cell="separable", channels=channels, layers=layers)
        name = f"step, {SECNN(spec).n_parameters:,} parameters | 32×32"
        named[name] = lambda given=(channels, layers): step(*given, dtype)
    return named


def run(isa: str, asked: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    if isa == "avx2":
        build.FLAGS = (*build.FLAGS, "-march=x86-64-v3")
    keep_freed_memory()
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"\n{processor()}, {isa} (PyTorch {torch.__version__}: {capability}), batch {BATCH}\n")
    print("| type | what | size | PyTorch, ms | compiled, ms | ratio | quartiles |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for dtype in asked.dtypes:
        for name, make in cases(getattr(torch, dtype)).items():
            row = measure(make(), asked.rounds, asked.seconds)
            print(f"| {dtype} | {name} | {row} |", flush=True)


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "?")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--isa", nargs="+", choices=LIMITS, default=["native"])
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=20, help="a row")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        run(asked.isa[0], asked)
        return
    for isa in asked.isa:  # PyTorch reads its limits as it starts.
        line = [sys.executable, __file__, *sys.argv[1:], "--isa", isa, "--here"]
        subprocess.run(line, env=os.environ | LIMITS[isa], check=True)


if __name__ == "__main__":
    main()
