"""What pays in training small networks: one change at a time to a reference recipe.

    python benchmarks/recipe.py run DATASET [--group fixed] [--arms …] [--seeds 0 1]
    python benchmarks/recipe.py judge [--group fixed] [--seeds 0 1]

`run` trains every arm of a group (`GROUPS`) with every seed; several can run side by side, each
going on where it was stopped. `judge` prints the table; recipe.csv beside this file keeps its rows.
"""

from __future__ import annotations

from pathlib import Path

from arms import RECIPE, Group, command

FIXED = {
    **{"criterion": "never", "epochs": 10},
    **{"channels": (28, 16, 28), "layers": (2, 2, 2)},
}
GROWN = {
    **{"criterion": "schedule", "epochs": 40, "rungs": 6, "last": 0.4, "channel_steps": (12,)},
    **{"max_parameters": 30_000},
}

GROUPS = {
    "fixed": Group(
        RECIPE | FIXED,
        {
            "reference": {},
            "no weight decay": {"weight_decay": 0.0},
            "weight decay 0.05": {"weight_decay": 0.05},
            "rate 4e-3": {"learning_rate": 4e-3},
            "rate 16e-3": {"learning_rate": 16e-3},
            "batches of 128": {"batch_size": 128},
            "batches of 512": {"batch_size": 512},
            "label smoothing 0.1": {"label_smoothing": 0.1},
            "no shift": {"shift": 0},
            "shift 2": {"shift": 2},
            "fall 0.3": {"fall": 0.3},
            "fall 0.9": {"fall": 0.9},
            "dropout 0.1": {"dropout": 0.1, "head_dropout": 0.05},
            "L1 1e-5": {"l1": 1e-5},
            "the paper's": {
                **{"schedule": "plateau", "optimizer": "adam", "weight_decay": 0.0, "l1": 1e-5},
                **{"learning_rate": 2e-3, "batch_size": 512, "shift": 0},
                **{"dropout": 0.1, "head_dropout": 0.05},
            },
        },
    ),
    "grown": Group(
        RECIPE | GROWN,
        {
            "reference": {},
            "fall 0.9": {"fall": 0.9},
            "fall 0.3": {"fall": 0.3},
            "warm-up 0.2": {"warmup": 0.2},
            "last 0.6": {"last": 0.6},
            "rate 4e-3": {"learning_rate": 4e-3},
            "random filters": {"proposal": "random"},
        },
    ),
}

GROUPS["ladders"] = Group(
    RECIPE | {"epochs": 40},
    {
        "conv": {
            **{"criterion": "schedule", "rungs": 9, "last": 0.4, "channel_steps": (12,)},
            **{"max_parameters": 60_000},
        },
        "separable": {
            **{"cell": "separable", "criterion": "pyramid", "layers": (2,), "rungs": 9},
            **{"last": 0.4, "channel_steps": (16,), "max_parameters": 45_000},
        },
    },
)

GROUPS["large"] = Group(
    RECIPE
    | {"criterion": "never", "cell": "separable", "channels": (16, 32, 64), "layers": (4, 5, 5)}
    | {"epochs": 40},
    {
        "reference": {},
        "weight decay 0.1": {"weight_decay": 0.1},
        "cutout 8": {"cutout": 8},
        "both": {"weight_decay": 0.1, "cutout": 8},
        "cutout 12": {"cutout": 12},
        "label smoothing 0.1": {"label_smoothing": 0.1},
    },
)
"""What 56,730 parameters need that know their training images by heart."""

# On finished sizes: does it matter what the criterion reads, and what does growing cost?
GROUPS["controls"] = Group(
    RECIPE | GROWN,
    {
        "balanced": {"criterion": "balanced", "tau": 0.5},
        "natural": {"criterion": "natural", "tau": 1.1},
        "density": {"criterion": "density", "tau": 0.5},
        "schedule": {},
        "random-place": {"criterion": "random-place"},
        "random": {"criterion": "random"},
        "never": {"criterion": "never"},
        "alone, as many operations": FIXED | {"epochs": 29},
        "alone, as many epochs": FIXED | {"epochs": 40},
    },
)
"""Alone is the network that `balanced` and `schedule` end with."""

if __name__ == "__main__":
    command(__doc__, GROUPS, Path(__file__).with_suffix(".csv"))
