"""What expansions promised and what they brought: `python analysis/calibration.py [OUT]`."""

from __future__ import annotations

import argparse
import sys

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.logs import Study, StudyError, command, read_log
from analysis.plot_growth import MARKERS, OTHER_MARKER, save, title

MEASURES = ("predicted_reduction", "ratio", "gain", "gain_per_parameter", "added_parameters")
REALISED, BEYOND = "realised", "realised - before"
NEEDED = (*MEASURES, "kind", "chosen", "realised_reduction", "reduction_before")
COLOURS = {"AddLayer": "tab:blue", "AddChannels": "tab:orange"}
RESAMPLES = 1000


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="analysis/calibration.py", description=__doc__)
    return command(parser, calibrate, arguments)


def calibrate(study: Study, asked: argparse.Namespace) -> None:
    """Print the rank correlations and write the figure to OUT/analysis.

    Raises:
        StudyError: fewer than 3 expansions have been followed by a whole cooldown.
    """
    points = realised(study)
    if len(points) < 3:
        raise StudyError(
            f"{study.folder}: {len(points)} expansions were followed by a whole cooldown; "
            f"calibration needs at least 3"
        )
    count = points["trial"].nunique()
    print(f"Spearman rank correlation, 95 % bootstrap interval over {count} trials:")
    print(table(points).to_string(index=False))
    figure = Figure(figsize=(8, 6.5), layout="constrained")
    axes = figure.subplots()
    title(axes, study, "Calibration")
    draw(axes, points)
    save(figure, study, "calibration")


def realised(study: Study) -> pd.DataFrame:
    """A row an expansion whose cooldown is over: `MEASURES`, kind, trial, and the fall of the
    validation loss in nats, as it is and beyond that of as many epochs before."""
    rows = [_made(read_log(study.folder, "expansions", t.key), t.key) for t in study.trials]
    points = pd.concat(rows, ignore_index=True)
    points[REALISED] = points["realised_reduction"]
    points[BEYOND] = points["realised_reduction"] - points["reduction_before"]
    return points


def _made(log: pd.DataFrame, key: str) -> pd.DataFrame:
    log = log.reindex(columns=list(NEEDED))
    made = log[log["chosen"].eq(True) & log["realised_reduction"].notna()]
    numbers = made.drop(columns=["kind", "chosen"]).astype(float)
    return numbers.assign(kind=made["kind"].astype(str), trial=key)


def table(points: pd.DataFrame) -> pd.DataFrame:
    """A row for each measure and each way of counting what was realised."""
    rows = []
    for measure in MEASURES:
        for outcome in (REALISED, BEYOND):
            known = points.dropna(subset=[measure, outcome])
            low, high = interval(known, measure, outcome)
            rho = spearman(known[measure].to_numpy(), known[outcome].to_numpy())
            row = (measure, outcome, len(known), *(_shown(v) for v in (rho, low, high)))
            rows.append(row)
    return pd.DataFrame(rows, columns=["measure", "against", "n", "rho", "low", "high"])


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """ρ, Pearson's correlation of the ranks, equal values sharing their mean rank; nan where either
    does not vary."""
    a, b = (_ranks(v) - (len(v) + 1) / 2 for v in (x, y))
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else float("nan")


def _ranks(values: np.ndarray) -> np.ndarray:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def interval(points: pd.DataFrame, measure: str, outcome: str) -> tuple[float, float]:
    """95 % percentile interval of ρ over resampled trials, as expansions of one trial are alike;
    nan from fewer than 2 trials."""
    groups = [g[[measure, outcome]].to_numpy() for _, g in points.groupby("trial")]
    if len(groups) < 2:
        return float("nan"), float("nan")
    draws = np.random.default_rng(0).integers(len(groups), size=(RESAMPLES, len(groups)))
    values = [spearman(*np.concatenate([groups[i] for i in draw]).T) for draw in draws]
    known = [v for v in values if not np.isnan(v)]
    return tuple(np.percentile(known, [2.5, 97.5])) if known else (float("nan"),) * 2


def _shown(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:+.2f}"


def draw(axes: Axes, points: pd.DataFrame) -> None:
    """A marker an expansion, and the line on which predictions hold."""
    scored = points.dropna(subset=["predicted_reduction"])
    for kind, of_kind in scored.groupby("kind"):
        axes.scatter(
            of_kind["predicted_reduction"],
            of_kind[REALISED],
            color=COLOURS.get(kind, "tab:green"),
            marker=MARKERS.get(kind, OTHER_MARKER),
            s=24,
            alpha=0.8,
            linewidths=0,
            label=kind,
        )
    axes.axline((0, 0), slope=1, color="grey", lw=1, ls="--", label="as predicted")
    axes.axhline(0, color="black", lw=0.5)
    axes.set_xlabel("predicted reduction of the loss (nats)")
    axes.set_ylabel("reduction of the validation loss over the cooldown (nats)")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)


if __name__ == "__main__":
    sys.exit(main())
