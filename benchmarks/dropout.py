"""Channel dropout against element-wise dropout of the same probability: validation accuracy.

`python benchmarks/dropout.py DATASET [--epochs 30] [--seeds 3]` trains the starting network both
ways, in turn, and prints the best validation accuracy of each seed and the paired difference.
"""

from __future__ import annotations

import argparse
import statistics
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F

from secnn import TrialConfig, load_dataset, run_trial
from secnn.kernels import normalize_pool_activate
from secnn.network import Layer


def element_wise(layer: Layer, x: Tensor, pool: bool, kernel: str) -> Tensor:
    """`Layer.forward` with `nn.Dropout` in place of `nn.Dropout2d`."""
    x = F.dropout(layer.conv(x), layer.dropout, layer.training)
    return normalize_pool_activate(x, None, layer.norm, layer.slope, pool, kernel)


def best(data, epochs: int, seed: int) -> tuple[float, float]:
    """Best validation accuracy in per cent, and seconds of training an epoch."""
    config = TrialConfig(criterion="never", epochs=epochs, seed=seed)
    records = list(run_trial(config, data))
    seconds = statistics.median(r.train_seconds for r in records)
    return max(r.val_accuracy for r in records), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data = load_dataset(asked.dataset)
    differences = []
    print("| seed | channel | element-wise | difference | time ratio |\n|---|---|---|---|---|")
    for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
        channel, fast = best(data, asked.epochs, seed)
        with patch.object(Layer, "forward", element_wise):
            element, slow = best(data, asked.epochs, seed)
        differences.append(channel - element)
        print(
            f"| {seed} | {channel:.2f} | {element:.2f} | {channel - element:+.2f} | "
            f"{slow / fast:.2f} |",
            flush=True,
        )
    print(f"mean difference {statistics.mean(differences):+.2f} points")


if __name__ == "__main__":
    main()
