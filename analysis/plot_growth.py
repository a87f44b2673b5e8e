"""Parameters and accuracy over the epochs of a study: `python analysis/plot_growth.py [OUT]`."""

from __future__ import annotations

import secnn.analysis  # noqa: F401  It chooses the backend, before Matplotlib comes.

# isort: split
import argparse
import sys
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from secnn.analysis.figures import (
    LINES,
    NAMES,
    Look,
    Mark,
    Options,
    add_options,
    frame,
    marks,
    parameter_axis,
    save,
    styled,
)
from secnn.analysis.labels import label_ends
from secnn.analysis.logs import Study, Trial, command
from secnn.analysis.palette import colours, ink
from secnn.commands import Parser

LEARNING_RATE = "learning_rate"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = Parser(
        "plot growth", description="Parameters and accuracy over the epochs of a study."
    )
    add_options(parser)
    return command(parser, plot_growth, arguments)


def plot_growth(study: Study, asked: argparse.Namespace) -> None:
    """Draw the figure and write it to OUT/analysis."""
    options = Options.of(asked)
    save(growth_figure(study, options), study, "growth", options)


@styled
def growth_figure(study: Study, options: Options) -> Figure:
    """The figure: parameters, accuracy and, where it was logged, the learning rate."""
    rated = any(LEARNING_RATE in t.epochs for t in study.trials)
    figure = options.figure(1.5 if options.narrow else 1.0)
    heights = [3, 3, 1][: 2 + rated]
    panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    frame(figure, study, "Growth", options, legend(study), columns=2)
    colour, mark = colours(study), marks(kinds_of(study))
    for setting, trials in reversed(study.settings.items()):
        line = {"color": colour[setting], "ls": LINES[study.family(setting)]}
        for trial in trials:
            draw_trial(panels, trial, line, mark, strong=setting == study.reference)
    parameter_axis(panels[0].yaxis)
    labels = ("parameters", "validation accuracy (%)", "learning rate")
    for axes, label in zip(panels, labels, strict=False):
        axes.set_ylabel(label)
    panels[-1].set_xlabel("epoch")
    panels[-1].xaxis.set_major_locator(MaxNLocator(6 if options.narrow else 10, integer=True))
    figure.align_ylabels(panels)
    label_ends(panels[0], ends(study, colour), wide=18 if options.narrow else 24)
    return figure


def draw_trial(
    panels: Sequence[Axes], trial: Trial, line: dict, mark: Mapping[str, Mark], strong: bool
) -> None:
    """A thin line in each panel; a marker between the epochs where the network grew."""
    epochs, alpha = trial.epochs, 0.9 if strong else 0.6
    look = line | {"lw": 1.1 if strong else 0.7, "alpha": alpha}
    look |= {"marker": "."} if len(epochs) == 1 else {}
    panels[0].step(epochs["epoch"], epochs["parameters"], where="mid", **look)
    panels[1].plot(epochs["epoch"], epochs["val_accuracy"], **look)
    if len(panels) > 2 and LEARNING_RATE in epochs:
        panels[2].plot(epochs["epoch"], epochs[LEARNING_RATE], **look)
    for kind, grown in expansions(epochs).groupby("kind"):
        panels[0].scatter(
            grown["epoch"] + 0.5,
            grown["parameters"],
            marker=mark[kind].marker,
            s=9,
            color=line["color"],
            linewidths=0,
            alpha=alpha,
            zorder=3,
        )


def expansions(epochs: pd.DataFrame) -> pd.DataFrame:
    """The rows after which the network grew, with the expansion's `kind`."""
    grown = epochs[epochs["expansion"].notna()]
    return grown.assign(kind=[text.partition("(")[0] for text in grown["expansion"]])


def kinds_of(study: Study) -> list[str]:
    """The kinds of expansions that were made."""
    begun = [trial.epochs for trial in study.trials if len(trial.epochs)]
    return sorted({kind for epochs in begun for kind in expansions(epochs)["kind"]})


def legend(study: Study) -> list[Line2D]:
    """A marker a kind of expansion."""
    found = kinds_of(study)
    look: Look = {"color": "grey", "ls": "", "ms": 3}
    mark = marks(found)
    return [
        Line2D([], [], **look, marker=mark[kind].marker, label=NAMES.get(kind, kind))
        for kind in found
    ]


def ends(study: Study, colour: dict) -> list[tuple[float, str, object]]:
    """A name a setting, at the mean size that its trials have come to."""
    found: list[tuple[float, str, object]] = []
    for setting, trials in study.settings.items():
        last = [t.epochs["parameters"].iloc[-1] for t in trials if len(t.epochs)]
        if last:
            seeds = f" ({len(last)} seeds)" if len(last) > 1 else ""
            found.append((sum(last) / len(last), f"{setting}{seeds}", ink(colour[setting])))
    return found


if __name__ == "__main__":
    sys.exit(main())
