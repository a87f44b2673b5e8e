"""What others have published about CIFAR-10: the paper's table, and other networks."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from secnn.analysis.stats import front
from secnn.analysis.summary import BEST, PARAMETERS_AT_BEST

PAPER = Path(__file__).with_name("paper_table.csv")
BASELINES = Path(__file__).with_name("baselines.csv")
UNVERIFIED = ("secondary", "leaderboard copy")
"""Baselines whose figures were not read at their source."""


def paper_table() -> pd.DataFrame:
    """The paper's five trials by metric, without their mean."""
    return pd.read_csv(PAPER, index_col="metric").drop(columns="mean")


def paper_networks() -> pd.DataFrame:
    """Points of the paper's table: its smallest network at 70 %, the means over its trials, and the
    best one. Multiply-adds are not published."""
    table = paper_table()
    targets = {float(name.split("%")[0].split()[-1]): name for name in table.index if "% " in name}
    sizes, accuracies = table.loc[PARAMETERS_AT_BEST], table.loc[BEST]
    low, best = min(targets), front(sizes, accuracies)[-1]
    points = [
        (f"paper, smallest at {low:g} %", table.loc[targets[low]].min(), low),
        *((f"paper, mean at {t:g} %", table.loc[name].mean(), t) for t, name in targets.items()),
        ("paper, best", sizes.iloc[best], accuracies.iloc[best]),
    ]
    rows = pd.DataFrame(points, columns=["name", "parameters", "val_accuracy"])
    source = "arXiv:2401.05686 (the paper), on its test set"
    return rows.assign(**{"multiply-adds": float("nan"), "source": source, "notes": ""})


def baselines() -> pd.DataFrame:
    """Networks of others: `name`, `parameters`, `multiply-adds` (NaN where not known),
    `val_accuracy` (on test images, per cent), `notes`, `source`, and whether that was `read`."""
    table = pd.read_csv(BASELINES)
    table = table.rename(columns={"params": "parameters", "accuracy": "val_accuracy"})
    table = table.assign(**{"multiply-adds": table["mmac"] * 1e6})
    table["read"] = ~table["confidence"].isin(UNVERIFIED)
    return table.fillna({"notes": ""}).drop(columns="mmac")
