"""Parameters and accuracy over the epochs of a study: `python analysis/plot_growth.py [OUT]`."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from secnn.analysis.logs import Setting, Study, Trial, command
from secnn.analysis.summary import mean_curve
from secnn.commands import Parser
from secnn.files import replacing

MARKERS = {"AddLayer": "^", "AddChannels": "s"}
OTHER_MARKER = "D"
FAMILIES = {"reference": "crimson", "tau": "Blues", "lam": "Greens", "other": "Dark2"}
"""The colour of the reference, and the colour maps of what is compared with it."""
HUES = (1, 2, 5, 6, 7, 0, 4)
"""The colours of Dark2, those last that look like a sweep's; without the pink, like the reference.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = Parser(
        "plot growth", description="Parameters and accuracy over the epochs of a study."
    )
    return command(parser, plot_growth, arguments)


def plot_growth(study: Study, asked: argparse.Namespace) -> None:
    """Draw the figure and write it to OUT/analysis."""
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    sizes, accuracies = figure.subplots(2, 1, sharex=True)
    title(sizes, study, "Growth")
    colour = colours(study)
    for setting, trials in reversed(study.settings.items()):
        for trial in trials:
            draw_trial(sizes, accuracies, trial, colour[setting])
    draw_mean(sizes, accuracies, study.settings[study.reference], colour[study.reference])
    parameter_axis(sizes.yaxis)
    sizes.set_ylabel("parameters")
    accuracies.set_ylabel("validation accuracy (%)")
    accuracies.set_xlabel("epoch")
    accuracies.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (sizes, accuracies):
        axes.grid(alpha=0.25)
    figure.legend(handles=legend(study, colour), loc="outside right upper", fontsize=8)
    save(figure, study, "growth")


def draw_trial(sizes: Axes, accuracies: Axes, trial: Trial, colour: tuple) -> None:
    """A thin line in both panels; a marker between the epochs where the network grew."""
    epochs = trial.epochs
    sizes.step(epochs["epoch"], epochs["parameters"], where="mid", color=colour, lw=0.7, alpha=0.7)
    accuracies.plot(epochs["epoch"], epochs["val_accuracy"], color=colour, lw=0.6, alpha=0.6)
    for kind, grown in expansions(epochs).groupby("kind"):
        marker = MARKERS.get(kind, OTHER_MARKER)
        for axes, column, size in ((sizes, "parameters", 16), (accuracies, "val_accuracy", 7)):
            axes.scatter(
                grown["epoch"] + 0.5 * (axes is sizes),
                grown[column],
                marker=marker,
                s=size,
                color=colour,
                linewidths=0,
                alpha=0.9,
                zorder=3,
            )


def draw_mean(sizes: Axes, accuracies: Axes, trials: list[Trial], colour: tuple) -> None:
    """A thick line: the mean over the seeds."""
    if not any(len(t.epochs) for t in trials):
        return
    mean = mean_curve(trials, "parameters")
    sizes.step(mean.index, mean, where="mid", color=colour, lw=2.5, zorder=4)
    mean = mean_curve(trials, "val_accuracy")
    accuracies.plot(mean.index, mean, color=colour, lw=2.5, zorder=4)


def expansions(epochs: pd.DataFrame) -> pd.DataFrame:
    """The rows after which the network grew, with the expansion's `kind`."""
    grown = epochs[epochs["expansion"].notna()]
    return grown.assign(kind=[text.partition("(")[0] for text in grown["expansion"]])


def colours(study: Study) -> dict[Setting, tuple]:
    """A colour a setting: the reference stands out, a sweep's values go from light to dark, other
    criteria have hues of their own."""
    result = {}
    for family, name in FAMILIES.items():
        settings = [s for s in study.settings if study.family(s) == family]
        for i, setting in enumerate(settings):
            shade = (
                HUES[i % len(HUES)]
                if family == "other"
                else 0.45 + 0.5 * i / max(1, len(settings) - 1)
            )
            known = name in mpl.colormaps
            result[setting] = mpl.colormaps[name](shade) if known else mpl.colors.to_rgba(name)
    return {s: result[s] for s in study.settings}


def legend(study: Study, colour: dict[Setting, tuple]) -> list[Line2D]:
    """A line a setting, and a marker a kind of expansion."""
    lines = []
    for setting, trials in study.settings.items():
        reference = setting == study.reference
        seeds = f" (thick: mean of {len(trials)})" if reference and len(trials) > 1 else ""
        width = 2.5 if reference else 1
        lines.append(Line2D([], [], color=colour[setting], lw=width, label=f"{setting}{seeds}"))
    kinds = {kind for trial in study.trials for kind in expansions(trial.epochs)["kind"]}
    for kind in sorted(kinds):
        marker = MARKERS.get(kind, OTHER_MARKER)
        lines.append(Line2D([], [], color="grey", marker=marker, ls="", ms=5, label=kind))
    return lines


def title(axes: Axes, study: Study, subject: str) -> None:
    """What is shown, of which study, and what no output may leave out."""
    lines = [f"{subject}: {study.description}", *(f"NOTE: {mark}" for mark in study.marks)]
    wrapped = "\n".join(textwrap.fill(line, 105) for line in lines)
    colour = "darkred" if study.marks else "black"
    # A folder's name may hold a dollar sign, which would start a formula.
    axes.set_title(wrapped, loc="left", fontsize=9, color=colour, parse_math=False)


def parameter_axis(axis: mpl.axis.Axis) -> None:
    """Make it logarithmic, with ticks such as 10k, 50k, 1M that fit the range drawn."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    # Before the limits are chosen: for a single value a LogLocator would have them a decade apart.
    axis.set_major_locator(MaxNLocator(7))
    axis.axes.autoscale_view()
    low, high = axis.get_view_interval()
    if high > 8 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.set_minor_locator(NullLocator())


def short(parameters: float) -> str:
    """9,024 → 9.02k, 50,000 → 50k, 1,700,000 → 1.7M."""
    unit, divisor = ("M", 1e6) if parameters >= 1e6 else ("k", 1e3)
    return f"{parameters / divisor:.3g}{unit}"


def save(figure: Figure, study: Study, name: str) -> None:
    """Write the figure as PNG and SVG to OUT/analysis, and say so."""
    paths: list[Path] = [study.folder / "analysis" / f"{name}.{kind}" for kind in ("png", "svg")]
    # Nothing random and no date: the same study gives the same files.
    with mpl.rc_context({"svg.hashsalt": "secnn"}):
        for path in paths:
            date = {"Date": None} if path.suffix == ".svg" else {}
            with replacing(path) as temporary:
                figure.savefig(temporary, format=path.suffix[1:], dpi=150, metadata=date)
    print("Written:", *paths)


if __name__ == "__main__":
    sys.exit(main())
