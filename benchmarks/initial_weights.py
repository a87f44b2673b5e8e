"""What it costs to begin with the weights that expansions have.

`python benchmarks/initial_weights.py DATASET [--seeds 0 1 2] [--out FILE]` trains a network of
9,024 parameters and three added layers, or 36 added channels, in the pilot regime of
`growth_quality.py`, all of it from the first epoch on, so that nothing is late, and prints the
validation accuracy and loss at the end, and the difference to PyTorch's own initial weights over
seeds with its 95 % interval. Lines in the file that are there already are not computed again;
several processes may share it if their seeds differ.

default         PyTorch's initial weights
expansions      the added layers are the identity, the added channels noise of 1e-4
unit scale      the same, but the added layers' batch norms have weight 1, as those of others, where
                the identity needs the standard deviation of what they pass on
random filters  the same, but the added channels' filters are as long as others'
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from accuracy import append, interval, read
from growth_runs import REGIMES, grow_at_once

from secnn import Trial
from secnn.data.dataset import ImageData
from secnn.growth.expansion import AddChannels, AddLayer, Expansion
from secnn.kernels.memory import keep_freed_memory
from secnn.network.network import SECNN

REGIME = REGIMES["pilot"]
TEXTS = ("shape", "variant")
SHAPES: dict[str, tuple[list[Expansion], dict]] = {
    "layers": ([AddLayer(b) for b in range(3)], {"layers": (2, 2, 2)}),
    "channels": ([AddChannels(b, 12) for b in range(3)], {"channels": (28, 28, 28)}),
}


def unit_scale(network: SECNN) -> None:
    """Divide weight and bias of the added layers' batch norms by the weight."""
    with torch.no_grad():
        for block in network.blocks:
            for layer in block.layers[1:]:
                layer.norm.bias /= layer.norm.weight
                layer.norm.weight.fill_(1.0)


VARIANTS: dict[tuple[str, str], tuple[str, Callable[[SECNN], None] | None]] = {
    ("layers", "expansions"): ("noise", None),
    ("layers", "unit scale"): ("noise", unit_scale),
    ("channels", "expansions"): ("noise", None),
    ("channels", "random filters"): ("random", None),
}
"""(shape, variant) → proposal of the channels' filters, and what is changed afterwards."""


def start(shape: str, variant: str, seed: int, data: ImageData) -> Trial:
    """The trial before its first epoch."""
    expansions, grown = SHAPES[shape]
    if variant == "default":
        return Trial(REGIME.config(seed, criterion="never", **grown), data)
    trial = Trial(REGIME.config(seed, criterion="never"), data)
    proposal, change = VARIANTS[shape, variant]
    grow_at_once(trial, expansions, proposal)
    if change:
        change(trial.network)
    return trial


def measure(shape: str, variant: str, seed: int, data: ImageData) -> dict:
    """Train to the end."""
    trial = start(shape, variant, seed, data)
    while not trial.done:
        last = trial.step()
    row = {"shape": shape, "variant": variant, "seed": seed, "parameters": last.parameters}
    return row | {"val_accuracy": last.val_accuracy, "val_loss": last.val_loss}


def judge(rows: list[dict]) -> None:
    """Print the table."""
    print("| shape | variant | n | accuracy (%) | − default | loss | − default |")
    print("|---" * 7 + "|")
    found = {(r["shape"], r["variant"], r["seed"]): r for r in rows}
    for shape, variant in dict.fromkeys((r["shape"], r["variant"]) for r in rows):
        seeds = [s for sh, v, s in found if (sh, v) == (shape, variant)]
        cells = []
        for name in ("val_accuracy", "val_loss"):
            values = {s: found[shape, variant, s][name] for s in seeds}
            control = {s: found.get((shape, "default", s), {}).get(name) for s in seeds}
            cells.append(interval(list(values.values()), 3))
            cells.append(interval([values[s] - c for s, c in control.items() if c is not None], 3))
        print(f"| {shape} | {variant} | {len(seeds)} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    asked = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    data = REGIME.data(asked.dataset)
    runs = [(shape, "default") for shape in SHAPES] + list(VARIANTS)
    done = {(r["shape"], r["variant"], r["seed"]) for r in read(asked.out, TEXTS)}
    for seed in asked.seeds:
        for run in runs:
            if (*run, seed) not in done:
                append(asked.out, measure(*run, seed, data))
    judge(read(asked.out, TEXTS))


if __name__ == "__main__":
    main()
