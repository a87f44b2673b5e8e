"""The compiled depthwise convolution against PyTorch's, forward and backward, on one thread.

`taskset -c 0 python benchmarks/depthwise.py [--isa native avx2] [--rounds 40]` takes turns between
both and prints for each shape the shortest times in milliseconds of the thread's CPU time (another
process on the same core does not count, though it empties the caches), the ratio of their sums, and
the quartiles of the rounds' own ratios. Both sides get channels-last tensors and, as a trial does,
keep freed memory (`--malloc default`: they do not). `copy` is a copy of x: what touching memory
once, in and out, takes.

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
from pathlib import Path

import torch
from torch import Tensor

from secnn.kernels import build, depthwise_convolution
from secnn.kernels.memory import keep_freed_memory

SHAPES = [(16, 32), (24, 32), (32, 32), (64, 32), (96, 32), (32, 16), (48, 16), (96, 16), (96, 8)]
BATCH = 256
LIMITS: dict[str, dict[str, str]] = {
    "native": {},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
}


def duration(work: Callable[[], object]) -> tuple[float, object]:
    """Milliseconds of this thread's CPU time, and what `work` returns."""
    started = time.thread_time()
    result = work()
    return 1000 * (time.thread_time() - started), result


def one_round(x: Tensor, weight: Tensor, dy: Tensor, kernel: str) -> tuple[float, float]:
    """Milliseconds forward and backward."""
    forward, y = duration(lambda: depthwise_convolution(x, weight, kernel))
    backward, _ = duration(lambda: torch.autograd.grad(y, (x, weight), dy))
    return forward, backward


def measure(channels: int, side: int, dtype: torch.dtype, rounds: int, seconds: float) -> str:
    """A row of the table, from at least three rounds, at most `rounds` or `seconds`."""
    shape = (BATCH, channels, side, side)
    x, dy = (
        torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last) for _ in "ab"
    )
    weight = torch.randn(channels, 1, 3, 3, requires_grad=True)
    x.requires_grad_()
    times: dict[str, list[tuple[float, float]]] = {"reference": [], "fused": []}
    copies, until = [], time.monotonic() + seconds
    while len(copies) < 3 or (len(copies) < rounds and time.monotonic() < until):
        for kernel in times:
            times[kernel].append(one_round(x, weight, dy, kernel))
        copies.append(duration(lambda: x.detach().clone())[0])
    (a, b), (c, d) = ([min(column) for column in zip(*t, strict=True)] for t in times.values())
    both = zip(times["reference"], times["fused"], strict=True)
    low, _, high = statistics.quantiles([sum(one) / sum(other) for one, other in both], n=4)
    return (
        f"| {str(dtype)[6:]} | {channels} | {side}×{side} | {a:.2f} + {b:.2f} | {c:.2f} + {d:.2f} "
        f"| {min(copies):.2f} | {(a + b) / (c + d):.1f} | {low:.1f}–{high:.1f} |"
    )


def run(isa: str, asked: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    if isa == "avx2":
        build.FLAGS = (*build.FLAGS, "-march=x86-64-v3")
    if asked.malloc == "keep":
        keep_freed_memory()
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"\n{processor()}, {isa} (PyTorch {torch.__version__}: {capability}), batch {BATCH}\n")
    print("| type | channels | size | PyTorch, ms | compiled, ms | copy, ms | ratio | quartiles |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for dtype in asked.dtypes:
        for channels, side in SHAPES:
            row = measure(channels, side, getattr(torch, dtype), asked.rounds, asked.seconds)
            print(row, flush=True)


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "?")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--isa", nargs="+", choices=LIMITS, default=["native"])
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=20, help="a shape")
    parser.add_argument("--malloc", choices=["keep", "default"], default="keep")
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
