"""What τ and λ decide: `python analysis/plot_sweep.py [OUT]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from secnn.analysis.logs import Setting, Study, StudyError, Trial, command
from secnn.analysis.plot_growth import FAMILIES, colours, parameter_axis, save, title
from secnn.analysis.summary import BEST, FINAL_PARAMETERS, Spread, measures, spread
from secnn.commands import Parser

SYMBOLS = {"tau": "τ", "lam": "λ"}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = Parser(
        "plot sweep", description="What the thresholds τ and the penalties λ of a study decide."
    )
    return command(parser, plot_sweep, arguments)


def plot_sweep(study: Study, asked: argparse.Namespace) -> None:
    """Draw a column for each swept setting and write the figure to OUT/analysis.

    Raises:
        StudyError: nothing was swept, or no sweep has logged an epoch yet.
    """
    families = {study.family(s) for s in study.settings}
    if families.isdisjoint(SYMBOLS):
        raise StudyError(
            f"{study.folder}: there is no sweep in this study "
            f"(run it with values for --tau or --lam)"
        )
    begun = {study.family(t.setting) for t in study.trials if len(t.epochs)}
    swept = [name for name in SYMBOLS if name in begun]
    if not swept:
        raise StudyError(f"{study.folder}: no sweep of τ or λ has logged an epoch yet")
    figure = Figure(figsize=(6 + 3.5 * len(swept), 7), layout="constrained")
    panels = figure.subplots(2, len(swept), sharex="col", sharey="row", squeeze=False)
    for column, name in enumerate(swept):
        draw_sweep(panels[0, column], study, name, BEST)
        draw_sweep(panels[1, column], study, name, FINAL_PARAMETERS)
        panels[1, column].set_xlabel(SYMBOLS[name])
    parameter_axis(panels[1, 0].yaxis)
    panels[0, 0].set_ylabel(BEST)
    panels[1, 0].set_ylabel(FINAL_PARAMETERS)
    shown = {h.get_label(): h for axes in panels[0] for h in axes.get_legend_handles_labels()[0]}
    figure.legend(handles=list(shown.values()), loc="outside right upper", fontsize=8)
    title(panels[0, 0], study, "Sweeps")
    save(figure, study, "sweep")


def draw_sweep(axes: Axes, study: Study, name: str, metric: str) -> None:
    """A point a trial, hollow until it is finished, and a line through the means of the finished,
    n a value, at evenly spaced values (λ may be 0)."""
    settings = [s for s in study.settings if study.family(s) in ("reference", name)]
    settings.sort(key=lambda s: getattr(s, name))
    for place, setting in enumerate(settings):
        draw_trials(axes, place, study, setting, metric)
    means = [finished(study.settings[s], metric) for s in settings]
    axes.plot([m.mean for m in means], color="black", lw=1, label="mean of the n finished")
    counted = zip(settings, means, strict=True)
    ticks = [f"{getattr(s, name):g}\nn = {m.k}" for s, m in counted]
    axes.set_xticks(range(len(settings)), ticks)
    axes.set_xlim(-0.5, len(settings) - 0.5)
    draw_controls(axes, study, metric)
    axes.grid(alpha=0.25)


def draw_trials(axes: Axes, place: int, study: Study, setting: Setting, metric: str) -> None:
    """The points of one setting above `place`."""
    reference = setting == study.reference
    colour = FAMILIES["reference"] if reference else "grey"
    label = f"{setting}, a seed" if reference else None
    for done, face, name in ((True, colour, label), (False, "none", "unfinished, not in the mean")):
        values = [measures(t, [])[metric] for t in study.settings[setting] if t.finished == done]
        there = [v for v in values if v is not None]
        if there:
            look = {"facecolors": face, "edgecolors": colour, "s": 18, "zorder": 3}
            axes.scatter([place] * len(there), there, label=name, **look)


def draw_controls(axes: Axes, study: Study, metric: str) -> None:
    """The means of the criteria without τ, as broken lines in their colours."""
    hues, styles = colours(study), cycle(("--", ":", "-."))
    for control in (s for s in study.settings if s.tau is None):
        mean, style = finished(study.settings[control], metric), next(styles)
        if mean.k:
            label = f"mean of {control} (n = {mean.k})"
            axes.axhline(mean.mean, color=hues[control], lw=1.3, ls=style, label=label)


def finished(trials: list[Trial], metric: str) -> Spread:
    """The spread of `metric` over the trials that ran to their end."""
    return spread([measures(t, [])[metric] for t in trials if t.finished])


if __name__ == "__main__":
    sys.exit(main())
