"""What pays in a cell of separable units: one change at a time.

    python benchmarks/cells.py run DATASET [--arms …] [--seeds 0 1]
    python benchmarks/cells.py judge [--seeds 0 1]

Fixed networks of about 20,000 parameters in 6 epochs; otherwise as recipe.py.
"""

from __future__ import annotations

from pathlib import Path

from arms import RECIPE, Group, command
from cell_variants import VARIANTS

from secnn import CELLS

for name, variant in VARIANTS.items():
    CELLS[name] = variant

SHAPE = {
    **{"criterion": "never", "epochs": 6, "cell": "separable"},
    **{"channels": (16, 32, 64), "layers": (2, 3, 2)},
}
GROUPS = {
    "variants": Group(
        RECIPE | SHAPE,
        {
            "separable": {},
            **{name: {"cell": name} for name in VARIANTS},
            "24-32-56": {"channels": (24, 32, 56)},
            "16-32-48, more units": {"channels": (16, 32, 48), "layers": (3, 4, 3)},
            "conv": {
                **{"cell": "conv", "channels": (28, 16, 24), "layers": (1, 2, 2)},
            },
        },
    ),
    "recipe": Group(
        RECIPE | SHAPE,
        {
            "reference": {},
            "weight decay 0.1": {"weight_decay": 0.1},
            "rate 16e-3": {"learning_rate": 16e-3},
            "rate 4e-3": {"learning_rate": 4e-3},
            "batches of 128": {"batch_size": 128},
            "fall 0.9": {"fall": 0.9},
        },
    ),
}

if __name__ == "__main__":
    command(__doc__, GROUPS, Path(__file__).with_suffix(".csv"))
