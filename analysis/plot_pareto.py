"""Accuracy against parameters of a study: `python analysis/plot_pareto.py [OUT]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from secnn.analysis.logs import Setting, Study, Trial, command
from secnn.analysis.make_table import paper_table
from secnn.analysis.plot_growth import colours, parameter_axis, save, title
from secnn.analysis.summary import (
    BEST,
    PARAMETERS_AT_BEST,
    best_epoch,
    best_of_sizes,
    networks,
    pareto_front,
)
from secnn.commands import Parser

BASELINES = Path(__file__).with_name("baselines.csv")
UNVERIFIED = ("secondary", "leaderboard copy")
"""Baselines whose figures were not read at their source."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = Parser("plot pareto", description="Accuracy against parameters of a study.")
    return command(parser, plot_pareto, arguments)


def plot_pareto(study: Study, asked: argparse.Namespace) -> None:
    """Draw the figure, write it to OUT/analysis and print the Pareto front."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    axes, front = figure.subplots(), pareto_front(networks(study))
    title(axes, study, "Accuracy against parameters")
    handles = draw_study(axes, study, front)
    published = draw_published(axes) if study.is_cifar10 else None
    parameter_axis(axes.xaxis)
    axes.set_xlabel("parameters")
    others = "" if published is None else "; of published networks, on test images"
    axes.set_ylabel(f"validation accuracy (%), best epoch of each size{others}")
    axes.grid(alpha=0.25)
    if published is not None:
        handles += published_legend()
    figure.legend(handles=handles, loc="outside right upper", fontsize=8)
    if published is not None:
        place_labels(figure, axes, published)
    else:
        print("The paper and the baselines are about CIFAR-10: not drawn.")
    save(figure, study, "pareto")
    shown = front[["parameters", "val_accuracy", "epoch", "trial"]]
    print("Pareto front:", shown.to_string(index=False, float_format="{:.2f}".format), sep="\n")


def draw_study(axes: Axes, study: Study, front: pd.DataFrame) -> list[Line2D]:
    """Every trial's trajectory and the study's Pareto front; the legend's entries."""
    colour = colours(study)
    for setting, trials in reversed(study.settings.items()):
        for trial in trials:
            draw_trial(axes, trial, colour[setting])
    style = {"color": "black", "lw": 1.8, "marker": "o", "ms": 4, "mfc": "white", "zorder": 5}
    x, y = front["parameters"], front["val_accuracy"]
    axes.plot(x, y, drawstyle="steps-post", **style)
    settings = [_entry(s, colour[s]) for s in study.settings]
    grey = {"color": "grey", "ls": ""}
    return [
        *settings,
        Line2D([], [], **grey, marker="o", ms=4, label="on its trial's Pareto front"),
        Line2D([], [], **grey, marker="x", ms=6, label="test accuracy of a trial's best"),
        Line2D([], [], **style, label="Pareto front of the study"),
    ]


def draw_trial(axes: Axes, trial: Trial, colour: tuple) -> None:
    """A line through the best epoch of each size, dots on its Pareto front, a cross at the test
    accuracy."""
    sizes = best_of_sizes(trial.epochs)
    axes.plot(sizes["parameters"], sizes["val_accuracy"], color=colour, lw=0.8, alpha=0.7)
    front = pareto_front(sizes)
    axes.scatter(front["parameters"], front["val_accuracy"], color=colour, s=12, zorder=3)
    if trial.test_accuracy is not None:
        size = best_epoch(trial.epochs)["parameters"]
        axes.scatter(size, trial.test_accuracy, color=colour, marker="x", s=35, zorder=4)


def draw_published(axes: Axes) -> pd.DataFrame:
    """The baselines and the paper's networks; their `name`, `parameters`, `val_accuracy`
    and `radius` in points."""
    baselines = pd.read_csv(BASELINES).rename(
        columns={"params": "parameters", "accuracy": "val_accuracy"}
    )
    hollow = baselines["confidence"].isin(UNVERIFIED)
    for rows, face in ((baselines[~hollow], "slategrey"), (baselines[hollow], "none")):
        x, y = rows["parameters"], rows["val_accuracy"]
        axes.scatter(x, y, s=22, marker="D", facecolors=face, edgecolors="slategrey", zorder=2)
    paper = paper_networks()
    axes.scatter(
        paper["parameters"],
        paper["val_accuracy"],
        s=170,
        marker="*",
        color="gold",
        edgecolors="black",
        zorder=6,
    )
    # The networks that no other published one dominates are named first, while there is room.
    rest = baselines.drop(pareto_front(baselines).index)
    points = pd.concat([paper.assign(radius=8), pareto_front(baselines), rest])
    return points.fillna({"radius": 5})[["name", "parameters", "val_accuracy", "radius"]]


def paper_networks() -> pd.DataFrame:
    """The smallest network of the paper's table, and the best one."""
    table = paper_table()
    target = table.index[0]
    percent = float(target.split("%")[0].split()[-1])
    trials = {"parameters": table.loc[PARAMETERS_AT_BEST], "val_accuracy": table.loc[BEST]}
    best = pareto_front(pd.DataFrame(trials)).iloc[-1]
    return pd.DataFrame(
        [
            (f"paper, smallest at {percent:g} %", table.loc[target].min(), percent),
            ("paper, best", *best),
        ],
        columns=["name", "parameters", "val_accuracy"],
    )


def published_legend() -> list[Line2D]:
    """Entries for what `draw_published` draws."""
    diamond = {"color": "slategrey", "marker": "D", "ms": 5, "ls": ""}
    star = {"color": "gold", "mec": "black", "marker": "*", "ms": 12, "ls": ""}
    return [
        Line2D([], [], **star, label="paper (arXiv:2401.05686)"),
        Line2D([], [], **diamond, label="published network"),
        Line2D([], [], **diamond, mfc="none", label="same, not read at its source"),
    ]


def place_labels(figure: Figure, axes: Axes, points: pd.DataFrame) -> None:
    """Name `points` in their order, each where no other point or label is covered; those without
    room stay nameless."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    drawn = np.concatenate([dots.get_offsets() for dots in axes.collections])
    taken = [_around(xy) for xy in axes.transData.transform(drawn)]
    inside = axes.get_window_extent(renderer)
    for point in points.itertuples():
        for x, y in product((1, -1, 0), (0, 1, -1)):
            text = axes.annotate(
                point.name,
                (point.parameters, point.val_accuracy),
                xytext=(x * point.radius, y * (point.radius - (3 if x else 0))),
                textcoords="offset points",
                ha=("center", "left", "right")[x],
                va=("center", "bottom", "top")[y],
                fontsize=6.5,
                zorder=7,
                in_layout=False,
                path_effects=[withStroke(linewidth=2, foreground="white")],
            )
            box = text.get_window_extent(renderer)
            fits = inside.contains(*box.min) and inside.contains(*box.max)
            if fits and not box.count_overlaps(taken):
                taken.append(box)
                break
            text.remove()


def _around(xy: tuple[float, float], radius: float = 3) -> Bbox:
    """The square of pixels that a point covers."""
    return Bbox.from_bounds(xy[0] - radius, xy[1] - radius, 2 * radius, 2 * radius)


def _entry(setting: Setting, colour: tuple) -> Line2D:
    return Line2D([], [], color=colour, lw=1.5, label=str(setting))


if __name__ == "__main__":
    sys.exit(main())
