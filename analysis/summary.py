"""What trials and ladders come to: from a study's rows to numbers by name."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from secnn.analysis.logs import Trial
from secnn.analysis.stats import Reached, front, reached

BEST = "highest validation accuracy (%)"
PARAMETERS_AT_BEST = "parameters at highest accuracy"
TEST = "test accuracy of the best epoch (%)"
EXPANSIONS = "expansions"
FINAL_PARAMETERS = "final parameters"

COSTS = {"parameters": "parameters", "multiply-adds": "multiply-adds of one image"}
"""Column of `kept` → what it is, on an axis."""


NETWORK = ["parameters", "multiply-adds", "val_accuracy", "epoch", "channels", "layers"]
"""Columns that tell of a network on a ladder."""


def parameters_at(target: float) -> str:
    """The name of the metric, as in the paper's table."""
    return f"parameters at {target:g}% validation accuracy"


def kept(epochs: pd.DataFrame) -> pd.DataFrame:
    """The ladder that a trial leaves: for each parameter count, ascending, the row of `epochs` with
    its highest validation accuracy, of equals the first. With `schedule` rungs that is nearly
    always one of the last of its rung, where the learning rate has fallen; the rung that a trial is
    in does not count until it is over, see `ladder`."""
    measured = epochs.dropna(subset="val_accuracy").sort_values("epoch")
    return measured.loc[measured.groupby("parameters")["val_accuracy"].idxmax()]


def ladder(trial: Trial) -> pd.DataFrame:
    """`kept` of the trial as far as it has come: without the rung that it has not finished."""
    epochs = trial.epochs
    if len(epochs) and not _over(trial) and "rung" in epochs and epochs["rung"].notna().any():
        epochs = epochs[epochs["rung"] != epochs["rung"].iloc[-1]]
    return kept(epochs)


def _over(trial: Trial) -> bool:
    """Whether the trial's last epoch ended a rung."""
    grown = pd.notna(trial.epochs["expansion"].iloc[-1])
    return trial.finished or bool(grown) or len(trial.epochs) >= trial.planned


def best_epoch(epochs: pd.DataFrame) -> pd.Series | None:
    """The row with the highest validation accuracy, of equals the first."""
    measured = epochs.dropna(subset="val_accuracy")
    return measured.loc[measured["val_accuracy"].idxmax()] if len(measured) else None


def parameters_reaching(networks: pd.DataFrame, target: float) -> int | None:
    """Parameters of the smallest of `networks` with at least `target` per cent validation accuracy;
    None if there is none."""
    found = networks.loc[networks["val_accuracy"] >= target, "parameters"]
    return int(found.min()) if len(found) else None


def reaching(trials: Sequence[Trial], target: float) -> Reached:
    """The parameters at which `trials` reach `target` per cent: those that have not (yet) are
    censored at their largest network."""
    ladders = [ladder(t) for t in trials]
    limits = [int(rows["parameters"].max()) if len(rows) else None for rows in ladders]
    return reached([parameters_reaching(rows, target) for rows in ladders], limits)


def pareto_front(points: pd.DataFrame, cost: str = "parameters") -> pd.DataFrame:
    """The rows that no other row dominates, by ascending `cost`: see `secnn.analysis.stats.front`;
    rows without a cost are left out."""
    known = points.dropna(subset=[cost])
    return known.iloc[front(known[cost], known["val_accuracy"])]


def networks(trials: Sequence[Trial]) -> pd.DataFrame:
    """The ladder of each of `trials`: `setting`, `trial` and `NETWORK`, a row a network."""
    tables = [
        ladder(t).reindex(columns=NETWORK).assign(trial=t.key, setting=str(t.setting))
        for t in trials
        if len(t.epochs)
    ]
    columns = ["setting", "trial", *NETWORK]
    return pd.concat(tables or [pd.DataFrame(columns=columns)], ignore_index=True)[columns]


def measures(trial: Trial, targets: Sequence[float]) -> dict[str, float | None]:
    """Metric → value, None where there is none (yet)."""
    rungs = ladder(trial)
    best = best_epoch(rungs)
    return {
        **{parameters_at(t): parameters_reaching(rungs, t) for t in targets},
        BEST: None if best is None else float(best["val_accuracy"]),
        PARAMETERS_AT_BEST: None if best is None else int(best["parameters"]),
        TEST: trial.test_accuracy,
        EXPANSIONS: int(trial.epochs["expansion"].notna().sum()) if len(trial.epochs) else None,
        FINAL_PARAMETERS: int(trial.epochs["parameters"].iloc[-1]) if len(trial.epochs) else None,
    }
