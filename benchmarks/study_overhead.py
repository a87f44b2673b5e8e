"""What a study costs beside training: storing, reporting, scheduling.

`python benchmarks/study_overhead.py DATASET [--epochs 4] [--rounds 3]` prints

1. where the wall time of one trial of preset `paper` goes, run alone by `study/run.py`;
2. the time of five trials, two at a time, under `study/run.py` over that of two bare loops over the
   same trials, one to a core, in turn; from the first trial's start to the last one's end.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import torch

from secnn import Trial, load_dataset
from secnn.kernels.memory import keep_freed_memory
from secnn.training.presets import PRESETS

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("train_seconds", "eval_seconds", "score_seconds")


def study(dataset: str, out: Path, *options: object) -> None:
    """Run the reference trials of preset `paper`, without sweeps."""
    line = [sys.executable, ROOT / "study" / "run.py", "--dataset", dataset, "--out", out]
    line += ["--preset", "paper", "--tau", "--lam", *options]
    subprocess.run(list(map(str, line)), check=True, capture_output=True)


def spans(out: Path) -> list[tuple[float, float]]:
    """When each trial's worker began (it writes OWNER) and ended (DONE)."""
    return [
        ((trial / "OWNER").stat().st_mtime, (trial / "DONE").stat().st_mtime)
        for trial in out.glob("trials/*")
    ]


def shares(dataset: str, epochs: int, folder: Path) -> dict[str, float]:
    """Part → share, in per cent, of one trial's wall time."""
    study(dataset, folder / "one", "--num-samples", 1, "--epochs", epochs)
    ((began, ended),) = spans(folder / "one")
    (log,) = (folder / "one").glob("logs/epochs/*.parquet")
    epoch_rows = pq.read_table(log).to_pylist()
    found = {p: 100 * sum(row[p] for row in epoch_rows) / (ended - began) for p in PARTS}
    return found | {"all else": 100 - sum(found.values())}


def bare(dataset: str, seeds: list[int], epochs: int) -> float:
    """Seconds that trials take one after another in this process."""
    keep_freed_memory()
    torch.set_num_threads(1)
    data = load_dataset(dataset)
    started = time.perf_counter()
    reference = PRESETS["paper"].for_data(data).reference
    for seed in seeds:
        trial = Trial(dataclasses.replace(reference, seed=seed, epochs=epochs), data)
        while not trial.done:
            trial.step()
        trial.finish()
    return time.perf_counter() - started


def two_bare_loops(dataset: str, epochs: int) -> float:
    """Seconds of the longer of two processes side by side."""
    line = [sys.executable, __file__, dataset, "--epochs", str(epochs), "--bare"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([*line, *seeds], env=environment, stdout=subprocess.PIPE)
        for seeds in (["0", "2", "4"], ["1", "3"])
    ]
    return max(float(process.communicate()[0]) for process in running)


def five_trials(dataset: str, epochs: int, out: Path) -> float:
    """Seconds from the first trial's start to the last one's end."""
    study(dataset, out, "--num-samples", 5, "--epochs", epochs)
    began, ended = zip(*spans(out), strict=True)
    return max(ended) - min(began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--epochs", type=int, default=4, help="of each of the five trials")
    parser.add_argument("--alone", type=int, default=20, help="epochs of the trial run alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bare", type=int, nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.bare:
        print(bare(asked.dataset, asked.bare, asked.epochs))
        return
    with tempfile.TemporaryDirectory() as folder:
        for part, share in shares(asked.dataset, asked.alone, Path(folder)).items():
            print(f"{part:<14} {share:5.1f} % of the trial's wall time", flush=True)
        ratios = []
        for i in range(asked.rounds):
            loops = two_bare_loops(asked.dataset, asked.epochs)
            ratios.append(five_trials(asked.dataset, asked.epochs, Path(folder) / str(i)) / loops)
            print(f"round {i}: bare {loops:.1f} s, study/bare {ratios[-1]:.3f}", flush=True)
    print(f"study/bare: median {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
