"""Accuracy against parameters of a study: `python analysis/plot_pareto.py [OUT]`."""

from __future__ import annotations

import secnn.analysis  # noqa: F401  It chooses the backend, before Matplotlib comes.

# isort: split
import argparse
import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from secnn.analysis.figures import (
    LINES,
    Look,
    Options,
    add_options,
    frame,
    margin,
    parameter_axis,
    save,
    styled,
)
from secnn.analysis.labels import RINGS, place_labels
from secnn.analysis.logs import Setting, Study, StudyError, Trial, command
from secnn.analysis.palette import PUBLISHED, colours, ink
from secnn.analysis.published import baselines, paper_networks
from secnn.analysis.stats import band
from secnn.analysis.summary import COSTS, best_epoch, ladder, networks, pareto_front
from secnn.commands import Parser

OTHERS = "black"
"""Of the names of published networks."""
FEW = 3
"""Of `RINGS`, for published networks."""
NAMED = ["name", "x", "y", "colour", "radius", "rings"]
"""What `place_labels` is told of a point."""
ABOUT_CIFAR = "The paper and the published networks are about CIFAR-10: not drawn."


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = Parser("plot pareto", description="Accuracy against parameters of a study.")
    parser.add_argument(
        "--against",
        choices=COSTS,
        default="parameters",
        help="what networks cost (parameters); multiply-adds are of one image",
    )
    parser.add_argument(
        "--no-baselines",
        dest="baselines",
        action="store_false",
        help="the study alone, without the paper and published networks",
    )
    add_options(parser)
    return command(parser, plot_pareto, arguments)


def plot_pareto(study: Study, asked: argparse.Namespace) -> None:
    """Draw the figure, write it to OUT/analysis and print the Pareto front."""
    options = Options.of(asked)
    figure = pareto_figure(study, options)
    if options.baselines and not study.is_cifar10:
        print(ABOUT_CIFAR)
    name = "pareto" if options.against == "parameters" else f"pareto-{options.against}"
    save(figure, study, name, options)
    shown = pareto_front(networks(study.trials), options.against)
    shown = shown[[options.against, "val_accuracy", "epoch", "trial"]]
    print("Pareto front:", shown.to_string(index=False, float_format=_number), sep="\n")


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 1000 else f"{value:.0f}"


@styled
def pareto_figure(study: Study, options: Options) -> Figure:
    """The figure.

    Raises:
        StudyError: no network is finished yet, or its multiply-adds were not logged.
    """
    points, cost = networks(study.trials), options.against
    if points[cost].notna().sum() == 0:
        raise StudyError(_why_nothing(study, points, cost))
    figure = options.figure(1.2 if options.narrow else 0.75)
    axes = figure.subplots()
    ends = draw_study(axes, study, cost)
    fit_axes(axes, points[cost], points["val_accuracy"])
    axes.set_xlabel(COSTS[cost])
    axes.set_ylabel("validation accuracy (%)")
    marks = legend(study, axes)
    if options.baselines and study.is_cifar10:
        others = draw_published(axes, cost)
        marks += legend_of_published(others)
        ends = pd.concat([ends, others[NAMED]], ignore_index=True)
    frame(figure, study, f"Accuracy against {cost}", options, marks, columns=2)
    place_labels(axes, ends)
    return figure


def _why_nothing(study: Study, points: pd.DataFrame, cost: str) -> str:
    if len(points):
        return f"{study.folder}: its logs hold no {cost}; plot it --against parameters"
    return f"{study.folder}: no size is finished yet; wait for the first, or name another study"


def draw_study(axes: Axes, study: Study, cost: str) -> pd.DataFrame:
    """Every setting's ladders, and the ends to be named."""
    colour, ends = colours(study), []
    for setting, trials in reversed(study.settings.items()):
        for trial in trials:
            draw_trial(axes, trial, colour[setting], cost)
        draw_mean(axes, study, setting, colour[setting], cost)
        ends += [
            (name_of(study, setting), *end, ink(colour[setting]), 4, len(RINGS))
            for end in end_of(trials, cost)
        ]
    # The reference is named first, while there is room.
    return pd.DataFrame(reversed(ends), columns=NAMED)


def name_of(study: Study, setting: Setting) -> str:
    """What tells the setting from the others; where there are none, the study's preset."""
    return str(setting) if len(study.settings) > 1 else f"preset {study.preset}"


def end_of(trials: Sequence[Trial], cost: str) -> list[tuple[float, float]]:
    """Where the line of their mean ends; where there is none, their largest network; or nothing."""
    rows = mean_ladder(trials, cost)
    if len(rows) > 1:
        return [tuple(rows[-1, :2])]
    known = [r.dropna(subset=[cost]) for r in map(ladder, trials) if cost in r]
    every = pd.concat([r[[cost, "val_accuracy"]] for r in known] or [pd.DataFrame()])
    return [tuple(every.sort_values([cost, "val_accuracy"]).iloc[-1])] if len(every) else []


def draw_trial(axes: Axes, trial: Trial, colour: str, cost: str) -> None:
    """The trajectory, faint; a dot a finished network; a cross at the test accuracy of the best."""
    rows, path = ladder(trial), trial.epochs
    if cost not in rows:
        return
    axes.plot(path[cost], path["val_accuracy"], color=colour, lw=0.4, alpha=0.2, zorder=1)
    axes.scatter(rows[cost], rows["val_accuracy"], color=colour, s=5, alpha=0.8, lw=0, zorder=3)
    best = best_epoch(path)
    if trial.test_accuracy is not None and best is not None:
        x, y = best[cost], trial.test_accuracy
        axes.scatter(x, y, color=colour, marker="x", s=14, lw=0.8, zorder=4)


def draw_mean(axes: Axes, study: Study, setting: Setting, colour: str, cost: str) -> None:
    """The mean ladder of the setting's seeds, the reference's with the band of its 95 % interval:
    several bands cannot be told apart."""
    rows = mean_ladder(study.settings[setting], cost)
    reference = setting == study.reference
    line: Look = {"lw": 2 if reference else 1, "ls": LINES[study.family(setting)]}
    axes.plot(rows[:, 0], rows[:, 1], color=colour, zorder=5 if reference else 2, **line)
    if reference and len(rows) > 1 and not np.isnan(rows[:, 2]).all():
        x, low, high = rows[:, 0], rows[:, 2], rows[:, 3]
        axes.fill_between(x, low, high, color=colour, alpha=0.18, lw=0, zorder=2)


def mean_ladder(trials: Sequence[Trial], cost: str) -> np.ndarray:
    """`secnn.analysis.stats.band` of the ladders of those that are finished, or, if fewer than two
    are, of all that have begun."""
    done = [t for t in trials if t.finished]
    taken = [ladder(t) for t in (done if len(done) > 1 else trials)]
    known = [rows.dropna(subset=[cost]).sort_values(cost) for rows in taken if cost in rows]
    return band([(rows[cost], rows["val_accuracy"]) for rows in known if len(rows)])


def finishes(study: Study) -> bool:
    """Whether its trials finish each size before the next; else they count their best epochs."""
    return any("rung" in t.epochs and t.epochs["rung"].notna().any() for t in study.trials)


def fit_axes(axes: Axes, costs: pd.Series, accuracies: pd.Series) -> None:
    """Limits that the study's own finished networks ask for, with room for what is above them."""
    low, high = costs.min(), costs.max()
    room = margin(low, high)
    axes.set_xlim(low / room, high * max(room, 1.25))
    bottom, top = accuracies.min(), accuracies.max()
    room = max(1.0, 0.08 * (top - bottom))
    axes.set_ylim(bottom - room, min(100.5, top + 3 * room))
    left, right = axes.get_xlim()
    parameter_axis(axes.xaxis)
    axes.set_xlim(left, right)


def draw_published(axes: Axes, cost: str) -> pd.DataFrame:
    """The paper's networks and those of others that the axes have room for, hollow where the figure
    was not read at its source; what is to be named, and of which `kind` it is, the front first."""
    others, paper = (within(axes, rows, cost) for rows in (baselines(), paper_networks()))
    # A mark at the edge is whole.
    look: Look = {"s": 14, "marker": "D", "edgecolors": PUBLISHED, "lw": 0.7, "zorder": 2}
    for rows, face in ((others[others["read"]], PUBLISHED), (others[~others["read"]], "none")):
        axes.scatter(rows[cost], rows["val_accuracy"], facecolors=face, clip_on=False, **look)
    star: Look = {
        "s": 70,
        "marker": "*",
        "color": "gold",
        "edgecolors": "black",
        "lw": 0.6,
        "zorder": 6,
    }
    axes.scatter(paper[cost], paper["val_accuracy"], clip_on=False, **star)
    best = pareto_front(others, cost)
    points = pd.concat([paper.assign(radius=6.5, kind=PAPER), best, others.drop(best.index)])
    points["kind"] = points["kind"].fillna(points["read"].map({True: READ, False: UNREAD}))
    points = points.rename(columns={cost: "x", "val_accuracy": "y"}).fillna({"radius": 4})
    return points.assign(colour=OTHERS, rings=FEW)[[*NAMED, "kind"]]


def within(axes: Axes, rows: pd.DataFrame, cost: str) -> pd.DataFrame:
    """The rows on the axes' range of costs; the range of accuracies is widened to hold them."""
    left, right = axes.get_xlim()
    rows = rows[rows[cost].between(left, right)]
    bottom, top = axes.get_ylim()
    highest, lowest = rows["val_accuracy"].max(), rows["val_accuracy"].min()
    axes.set_ylim(np.nanmin([bottom, lowest - 1]), np.nanmax([top, highest + 1]))
    return rows


PAPER = "the paper (arXiv:2401.05686), on its test set"
READ = "published network, on test images"
UNREAD = "published network, not read at its source"
DIAMOND: Look = {"color": PUBLISHED, "marker": "D", "ms": 4, "ls": ""}
MARKS: dict[str, Look] = {
    PAPER: {"color": "gold", "mec": "black", "mew": 0.6, "marker": "*", "ms": 8, "ls": ""},
    READ: DIAMOND,
    UNREAD: DIAMOND | {"mfc": "none"},
}
"""Of published networks, by what they are."""


def legend(study: Study, axes: Axes) -> list[Line2D]:
    """Entries for the study's marks that are drawn; the lines are named where they end."""
    grey: Look = {"color": "grey", "ls": ""}
    banded = any(isinstance(drawn, PolyCollection) for drawn in axes.collections)
    kind = "a finished network" if finishes(study) else "the best epoch of a size"
    several = any(len(trials) > 1 for trials in study.settings.values())
    dot = kind + ", line: mean over seeds" * several + ", band: 95 %" * banded
    entries = [Line2D([], [], **grey, marker="o", ms=3, label=dot)]
    if any(t.test_accuracy is not None for t in study.trials):
        label = "test accuracy of a trial's best epoch"
        entries.append(Line2D([], [], **grey, marker="x", ms=4, label=label))
    return entries


def legend_of_published(points: pd.DataFrame) -> list[Line2D]:
    """Entries for those kinds of `points` that there are."""
    kinds = [kind for kind in MARKS if kind in set(points["kind"])]
    return [Line2D([], [], label=kind, **MARKS[kind]) for kind in kinds]


if __name__ == "__main__":
    sys.exit(main())
