"""Statistics of trials: pure functions from a study's rows to numbers and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from secnn.analysis.logs import Study, Trial

BEST = "highest validation accuracy (%)"
PARAMETERS_AT_BEST = "parameters at highest accuracy"
TEST = "test accuracy of that network (%)"
EXPANSIONS = "expansions"
FINAL_PARAMETERS = "final parameters"


def parameters_at(target: float) -> str:
    """The name of the metric, as in the paper's table."""
    return f"parameters at {target:g}% validation accuracy"


def parameters_reaching(epochs: pd.DataFrame, target: float) -> int | None:
    """Parameters of the network of the first epoch with at least `target` per cent validation
    accuracy; None if there is none."""
    row = _reaching(epochs, target)
    return None if row is None else int(row["parameters"])


def best_epoch(epochs: pd.DataFrame) -> pd.Series | None:
    """The row with the highest validation accuracy, of equals the first."""
    measured = epochs.dropna(subset="val_accuracy")
    return measured.loc[measured["val_accuracy"].idxmax()] if len(measured) else None


def best_of_sizes(epochs: pd.DataFrame) -> pd.DataFrame:
    """For each parameter count, ascending, the row of its highest validation accuracy."""
    measured = epochs.dropna(subset="val_accuracy")
    return measured.loc[measured.groupby("parameters")["val_accuracy"].idxmax()]


def pareto_front(points: pd.DataFrame) -> pd.DataFrame:
    """The rows that no other row dominates, by ascending `parameters`.

    A row dominates another if it has at most its parameters and at least its `val_accuracy`, and
    differs in one of them. Of equal rows the first stays.
    """
    order = points.sort_values(
        ["parameters", "val_accuracy"], ascending=[True, False], kind="stable"
    )
    before = order["val_accuracy"].cummax().shift(fill_value=float("-inf"))
    return order[order["val_accuracy"] > before]


def networks(study: Study) -> pd.DataFrame:
    """The best network of every size of every trial, with its `trial` and `setting`."""
    tables = [
        best_of_sizes(t.epochs)[["parameters", "val_accuracy", "epoch"]].assign(
            trial=t.key, setting=str(t.setting)
        )
        for t in study.trials
        if len(t.epochs)
    ]
    return pd.concat(tables, ignore_index=True)


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (NaN of fewer than two) of the `k` values that are there,
    of `n`."""

    mean: float
    sd: float
    k: int
    n: int


def spread(values: Sequence[float | None]) -> Spread:
    """The `Spread` of `values`, where None and NaN are not there."""
    there = pd.Series(values, dtype=float).dropna()
    return Spread(there.mean(), there.std(), len(there), len(values))


def measures(trial: Trial, targets: Sequence[float]) -> dict[str, float | None]:
    """Metric → value, None where there is none (yet)."""
    best = best_epoch(trial.epochs)
    return {
        **{parameters_at(t): parameters_reaching(trial.epochs, t) for t in targets},
        BEST: None if best is None else float(best["val_accuracy"]),
        PARAMETERS_AT_BEST: None if best is None else int(best["parameters"]),
        TEST: trial.test_accuracy,
        EXPANSIONS: int(trial.epochs["expansion"].notna().sum()) if len(trial.epochs) else None,
        FINAL_PARAMETERS: int(trial.epochs["parameters"].iloc[-1]) if len(trial.epochs) else None,
    }


def mean_curve(trials: Sequence[Trial], column: str) -> pd.Series:
    """Mean of `column` over the trials that have started, by epoch, as far as all of them are."""
    curves = [t.epochs.set_index("epoch")[column] for t in trials if len(t.epochs)]
    return pd.concat(curves, axis=1, join="inner").mean(axis=1)


def _reaching(epochs: pd.DataFrame, target: float) -> pd.Series | None:
    reached = epochs[epochs["val_accuracy"] >= target]
    return reached.loc[reached["epoch"].idxmin()] if len(reached) else None
