"""The authors' program, with one of its steps at a time turned back to the paper's text.

    python benchmarks/authors_switches.py run DATASET [--arms …] [--seeds 0 1 2]
    python benchmarks/authors_switches.py judge [--seeds 0 1 2]

As in the paper, validation is on the test images. `judge` prints the table of docs/paper.md;
authors_switches.csv beside this file keeps its rows.
"""

from __future__ import annotations

import sys
from pathlib import Path

from arms import Group, command

sys.path.insert(0, str(Path(__file__).parents[1]))
from examples.authors_program import AUTHORS

GROUPS = {
    "switches": Group(
        AUTHORS.to_dict() | {"epochs": 40},
        {
            "the program": {},
            "same flips in both passes": {"scorer": "same-flips"},
            "per-sample Fisher": {"fisher": "diagonal"},
            "true identity": {"expansions": ("DiracLayer", "ResetChannels")},
            "layer keeps the function": {"expansions": ("AddLayer", "ResetChannels")},
            "widening keeps the function": {"expansions": ("BoxLayer", "AddChannels")},
        },
    )
}

if __name__ == "__main__":
    command(__doc__, GROUPS, Path(__file__).with_suffix(".csv"), validation="test")
