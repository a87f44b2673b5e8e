"""What expansions promised and what they brought: `python analysis/calibration.py [OUT]`."""

from __future__ import annotations

import secnn.analysis  # noqa: F401  It chooses the backend, before Matplotlib comes.

# isort: split
import argparse
import sys
import textwrap
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from secnn.analysis.figures import (
    NAMES,
    Look,
    Options,
    add_options,
    frame,
    marks,
    plain,
    save,
    styled,
)
from secnn.analysis.logs import Study, StudyError, command, read_log
from secnn.analysis.stats import bootstrap_interval, spearman
from secnn.commands import Parser

MEASURES = (
    "predicted_reduction",
    "ratio",
    "gain",
    "gain_per_parameter",
    "added_parameters",
    "epoch",
)
REALISED, BEYOND = "realised", "realised - before"
NEEDED = (*MEASURES, "kind", "chosen", "realised_reduction", "reduction_before")
CAPTION = "Spearman rank correlation ρ with what expansions brought"
NOTES = (
    "rho: among the n-th expansions of all trials, weighted mean over n; low, high: its 95 % "
    "bootstrap interval over trials.",
    "pooled: all expansions at once, confounded with training progress: early ones bring more, "
    "whatever they are. See the row epoch.",
    "Predictions in nats are off by orders of magnitude, with --fisher exact by about ten times.",
)
LINEAR = 1e-2
"""Nats around 0 within which the figure's axes are linear, if something in it is not above 0."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = Parser(
        "plot calibration", description="What expansions promised and what they brought."
    )
    add_options(parser)
    return command(parser, calibrate, arguments)


def calibrate(study: Study, asked: argparse.Namespace) -> None:
    """Print the rank correlations and write the figure, if scores were made, to OUT/analysis.

    Raises:
        StudyError: see `realised`.
    """
    points = realised(study)
    trials = points["trial"].nunique()
    print(f"{CAPTION}, {trials} trial{'s' * (trials != 1)}:")
    print(table(points).to_string(index=False), *NOTES, sep="\n")
    if points["predicted_reduction"].notna().any():
        plot_calibration(study, asked)
    else:
        print("No figure: the expansions that were made had no predictions in nats.")


def plot_calibration(study: Study, asked: argparse.Namespace) -> None:
    """Write the figure to OUT/analysis; errors as for `calibration_figure`."""
    options = Options.of(asked)
    save(calibration_figure(study, options), study, "calibration", options)


@styled
def calibration_figure(study: Study, options: Options) -> Figure:
    """The figure.

    Raises:
        StudyError: see `realised`; or no expansion was scored.
    """
    scored = realised(study).dropna(subset=["predicted_reduction"])
    if scored.empty:
        raise StudyError(f"{study.folder}: the expansions that were made had no scores")
    figure = options.figure(1.5 if options.narrow else 0.8)
    axes = figure.subplots()
    draw(axes, scored)
    marks = legend(scored)
    frame(figure, study, "What expansions promised and brought", options, marks, columns=3)
    return figure


def realised(study: Study) -> pd.DataFrame:
    """A row an expansion whose cooldown is over: `MEASURES`, kind, trial, which one of its trial
    (`nth`, from 1), and the fall of the validation loss in nats, as it is and beyond that of as
    many epochs before.

    Raises:
        StudyError: they are fewer than 3.
    """
    rows = [_made(read_log(study.folder, "expansions", t.key), t.key) for t in study.trials]
    points = pd.concat(rows, ignore_index=True)
    if len(points) < 3:
        raise StudyError(
            f"{study.folder}: {len(points)} expansions were followed by a whole cooldown; "
            f"calibration needs at least 3"
        )
    points[REALISED] = points["realised_reduction"]
    points[BEYOND] = points["realised_reduction"] - points["reduction_before"]
    return points


def _made(log: pd.DataFrame, key: str) -> pd.DataFrame:
    log = log.reindex(columns=list(NEEDED))
    made = log[log["chosen"].eq(True)].sort_values("epoch", kind="stable")
    made = made.assign(nth=range(1, len(made) + 1))
    made = made[made["realised_reduction"].notna()]
    numbers = made.drop(columns=["kind", "chosen", "nth"]).astype(float)
    return numbers.assign(kind=made["kind"].astype(str), nth=made["nth"], trial=key)


def table(points: pd.DataFrame) -> pd.DataFrame:
    """A row for each measure and each way of counting what was realised; see `NOTES`."""
    rows = []
    for measure in MEASURES:
        for outcome in (REALISED, BEYOND):
            known = points.dropna(subset=[measure, outcome])
            values = known[["nth", measure, outcome]].to_numpy(float)
            pooled = spearman(*values[:, 1:].T)
            numbers = (within(values), *interval(known, measure, outcome), pooled)
            rows.append((measure, outcome, len(known), *map(_shown, numbers)))
    head = ["measure", "against", "expansions", "rho", "low", "high", "pooled"]
    return pd.DataFrame(rows, columns=head)


def within(values: np.ndarray) -> float:
    """Mean over n of ρ(x, y) among the rows (n, x, y) of equal n, with weights of their number less
    one (the inverse of ρ's variance by chance); nan where nothing varies within any n."""
    groups = [values[values[:, 0] == n] for n in np.unique(values[:, 0])]
    found = np.array([(spearman(*g[:, 1:].T), len(g) - 1) for g in groups]).reshape(-1, 2)
    known = found[~np.isnan(found[:, 0])]
    return float(np.average(known[:, 0], weights=known[:, 1])) if len(known) else float("nan")


def interval(points: pd.DataFrame, measure: str, outcome: str) -> tuple[float, float]:
    """95 % bootstrap interval of `within` over trials, as expansions of one trial are alike."""
    groups = [g[["nth", measure, outcome]].to_numpy(float) for _, g in points.groupby("trial")]
    return bootstrap_interval(groups, lambda drawn: within(np.concatenate(drawn)))


def _shown(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:+.2f}"


def draw(axes: Axes, points: pd.DataFrame) -> None:
    """A marker an expansion, its colour which one of its trial it is, and the line on which
    predictions hold; logarithmic axes, linear around 0 if something is not above it, each as long
    as its own values ask for."""
    mark = marks(points["kind"])
    for (nth, kind), alike in points.groupby(["nth", "kind"]):
        axes.scatter(
            alike["predicted_reduction"],
            alike[REALISED],
            color=shade(nth, points["nth"].max()),
            marker=mark[kind].marker,
            s=12,
            alpha=0.8,
            linewidths=0,
        )
    both = points[["predicted_reduction", REALISED]]
    scale = (
        {"value": "log"} if both.min(axis=None) > 0 else {"value": "symlog", "linthresh": LINEAR}
    )
    axes.set_xscale(**scale)
    axes.set_yscale(**scale)
    limits = axes.get_xlim(), axes.get_ylim()
    line = bisector(both.min(axis=None), both.max(axis=None))
    axes.plot(line, line, color="grey", lw=1, ls="--")
    axes.set(xlim=limits[0], ylim=limits[1])
    plain(axes.xaxis)
    plain(axes.yaxis)
    axes.set_xlabel("predicted reduction of the loss (nats)\n" + textwrap.fill(NOTES[-1], 45))
    axes.set_ylabel("what the validation loss fell by (nats)")


def bisector(low: float, high: float) -> np.ndarray:
    """Values from `low` to `high` so close that on these axes lines between them are straight."""
    powers = LINEAR * np.logspace(-6, 8, 300)
    inner = np.concatenate([-powers[::-1], [0], powers])
    return np.concatenate([[low], inner[(inner > low) & (inner < high)], [high]])


def shade(nth: int, last: int, ends: tuple[float, float] = (0, 0.9)) -> tuple:
    """Of the `nth` of `last` expansions of a trial: from dark to light, between places of a map."""
    return mpl.colormaps["viridis"](np.interp(nth, (1, max(2, last)), ends))


def legend(points: pd.DataFrame) -> list[Line2D]:
    """A mark a kind, the colours of the first and of the last expansion of a trial, the line."""
    look: Look = {"ls": "", "ms": 4}
    last, mark = points["nth"].max(), marks(points["kind"])
    kinds = [
        Line2D([], [], color="grey", marker=mark[kind].marker, label=label, **look)
        for kind, count in points["kind"].value_counts(sort=False).sort_index().items()
        for label in [f"{NAMES.get(kind, kind)} ({count})"]
    ]
    colours = [
        Line2D([], [], color=shade(n, last), marker="o", label=f"expansion {n} of a trial", **look)
        for n in (1, last)
        if last > 1
    ]
    return [*kinds, *colours, Line2D([], [], color="grey", lw=1, ls="--", label="as predicted")]


if __name__ == "__main__":
    sys.exit(main())
