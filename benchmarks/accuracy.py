"""Do kernel, precision and the kind of dropout cost accuracy?

`python benchmarks/accuracy.py DATASET [--epochs 20] [--seeds 0 1 2] [--out accuracy.csv]` trains
the starting network in each way with each seed, in turn, and prints the mean difference to
`reference32` (plain PyTorch, float32) over seeds with its 95 % interval (Student's t), of training
loss, validation loss and validation accuracy, each averaged over the last five epochs. Lines in
the file that are there already are not computed again.
"""

from __future__ import annotations

import argparse
import csv
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from secnn import TrialConfig, load_dataset, run_trial
from secnn.analysis import stats
from secnn.data.dataset import ImageData
from secnn.kernels import normalize_pool_activate
from secnn.kernels.memory import keep_freed_memory
from secnn.network.conv.layer import Layer

MEASURES = ("train_loss", "val_loss", "val_accuracy")
LAST = 5


def element_wise(layer: Layer, x: Tensor, pool: bool, kernel: str) -> Tensor:
    """`Layer.forward` with `nn.Dropout` in place of `nn.Dropout2d`."""
    x = F.dropout(layer.conv(x), layer.dropout, layer.training)
    return normalize_pool_activate(x, None, layer.norm, layer.slope, pool, kernel)


VARIANTS = {
    "reference32": ("reference", "float32", nullcontext),
    "reference16": ("reference", "bfloat16", nullcontext),
    "fused32": ("fused", "float32", nullcontext),
    "fused16": ("fused", "bfloat16", nullcontext),
    "element-wise dropout": (
        "reference",
        "float32",
        lambda: patch.object(Layer, "forward", element_wise),
    ),
}


def measure(data: ImageData, variant: str, seed: int, epochs: int) -> dict:
    """The measures of one training run."""
    kernel, precision, changed = VARIANTS[variant]
    config = TrialConfig(
        criterion="never", epochs=epochs, seed=seed, kernel=kernel, precision=precision
    )
    with changed():
        records = list(run_trial(config, data))[-LAST:]
    means = {m: float(np.mean([getattr(r, m) for r in records])) for m in MEASURES}
    return {"variant": variant, "seed": seed, **means}


def read(path: Path, texts: tuple[str, ...] = ("variant",)) -> list[dict]:
    """The runs in the file; all columns but `texts` hold numbers."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return [
            {k: v if k in texts else float(v) for k, v in row.items()}
            for row in csv.DictReader(file)
        ]


def append(path: Path, row: dict) -> None:
    """Add a row, with a header before the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)


def interval(values: list[float], digits: int = 2) -> str:
    """mean ± half the width of the 95 % interval (Student's t)."""
    return shown(stats.spread(values), digits)


def shown(found: stats.Spread, digits: int) -> str:
    """The mean, its interval if there are two values or more, or a dash."""
    if not found.k:
        return "–"
    half = f" ± {found.half:.{digits}f}" if found.k > 1 else ""
    return f"{found.mean:.{digits}f}{half}"


def difference(rows: list[dict], variant: str, measure: str) -> str:
    """Mean over seeds of variant − reference32, and the half-width of its interval."""
    by_seed = [{r["seed"]: r[measure] for r in rows if r["variant"] == v}
               for v in (variant, "reference32")]  # fmt: skip
    found = stats.paired(*by_seed)
    return f"{shown(found, 4)} (n = {found.k})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", choices=VARIANTS, nargs="+", default=list(VARIANTS))
    parser.add_argument("--out", type=Path, default=Path("accuracy.csv"))
    asked = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    data = load_dataset(asked.dataset)
    for seed in asked.seeds:
        for variant in asked.variants:
            if not any((r["variant"], r["seed"]) == (variant, seed) for r in read(asked.out)):
                append(asked.out, measure(data, variant, seed, asked.epochs))
    rows = read(asked.out)
    print("| variant | " + " | ".join(MEASURES) + " |\n|---|" + "---|" * len(MEASURES))
    for variant in dict.fromkeys(r["variant"] for r in rows if r["variant"] != "reference32"):
        print(f"| {variant} | " + " | ".join(difference(rows, variant, m) for m in MEASURES) + " |")


if __name__ == "__main__":
    main()
