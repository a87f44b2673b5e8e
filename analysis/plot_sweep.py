"""What τ and λ decide: `python analysis/plot_sweep.py [OUT]`."""

from __future__ import annotations

import secnn.analysis  # noqa: F401  It chooses the backend, before Matplotlib comes.

# isort: split
import argparse
import sys
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from secnn.analysis.figures import (
    Look,
    Options,
    add_options,
    frame,
    parameter_axis,
    save,
    styled,
)
from secnn.analysis.labels import label_ends
from secnn.analysis.logs import Setting, Study, StudyError, Trial, command
from secnn.analysis.palette import colours, ink
from secnn.analysis.stats import Spread, spread
from secnn.analysis.summary import BEST, FINAL_PARAMETERS, measures
from secnn.commands import Parser

SYMBOLS = {"tau": "threshold τ", "lam": "size penalty λ"}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = Parser(
        "plot sweep", description="What the thresholds τ and the penalties λ of a study decide."
    )
    add_options(parser)
    return command(parser, plot_sweep, arguments)


def plot_sweep(study: Study, asked: argparse.Namespace) -> None:
    """Draw the figure and write it to OUT/analysis.

    Raises:
        StudyError: see `swept`.
    """
    options = Options.of(asked)
    save(sweep_figure(study, options), study, "sweep", options)


def swept(study: Study) -> list[str]:
    """Those of `SYMBOLS` of which a value beside the reference's has been tried.

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
    found = [name for name in SYMBOLS if name in begun]
    if not found:
        raise StudyError(f"{study.folder}: no sweep of τ or λ has logged an epoch yet")
    return found


def values(study: Study, name: str) -> list[Setting]:
    """The settings of the sweep of `name`, the reference among them, by their value."""
    settings = [s for s in study.settings if study.family(s) in ("reference", name)]
    return sorted(settings, key=lambda s: getattr(s, name))


@styled
def sweep_figure(study: Study, options: Options) -> Figure:
    """A column for each swept setting; errors as for `swept`."""
    names = swept(study)
    figure = options.figure(1.4 if options.narrow else 0.8)
    panels = figure.subplots(2, len(names), sharex="col", sharey="row", squeeze=False)
    for column, name in enumerate(names):
        draw_sweep(panels[0, column], study, name, BEST)
        draw_sweep(panels[1, column], study, name, FINAL_PARAMETERS)
        panels[1, column].set_xlabel(SYMBOLS[name])
    parameter_axis(panels[1, 0].yaxis)
    shown = {h.get_label(): h for axes in panels[0] for h in axes.get_legend_handles_labels()[0]}
    frame(figure, study, "Sweeps", options, list(shown.values()), columns=2)
    for row, metric in enumerate((BEST, FINAL_PARAMETERS)):
        panels[row, 0].set_ylabel(metric)
        named = [(height, text, ink(colour)) for height, text, colour in controls(study, metric)]
        label_ends(panels[row, -1], named, inside=True)
    return figure


def draw_sweep(axes: Axes, study: Study, name: str, metric: str) -> None:
    """A point a trial, hollow until it is finished, and a line through the means of the finished,
    n a value, at evenly spaced values (λ may be 0)."""
    settings = values(study, name)
    for place, setting in enumerate(settings):
        draw_trials(axes, place, study, setting, metric)
    means = [finished(study.settings[s], metric) for s in settings]
    axes.plot([m.mean for m in means], color="black", lw=1, label="mean of the n finished")
    counted = zip(settings, means, strict=True)
    ticks = [f"{getattr(s, name):g}\nn = {m.k}" for s, m in counted]
    axes.set_xticks(range(len(settings)), ticks)
    axes.set_xlim(-0.5, len(settings) - 0.5)
    for height, _, colour in controls(study, metric):
        axes.axhline(height, color=colour, lw=1, ls="--")


def draw_trials(axes: Axes, place: int, study: Study, setting: Setting, metric: str) -> None:
    """The points of one setting above `place`."""
    reference, colour = setting == study.reference, colours(study)[setting]
    label = f"{setting} (the reference)" if reference else None
    for done, face, name in ((True, colour, label), (False, "none", "unfinished, not in the mean")):
        found = [measures(t, [])[metric] for t in study.settings[setting] if t.finished == done]
        there = [v for v in found if v is not None]
        if there:
            look: Look = {"facecolors": face, "edgecolors": colour, "s": 12, "zorder": 3}
            axes.scatter([place] * len(there), there, label=name, **look)


def controls(study: Study, metric: str) -> list[tuple[float, str, str]]:
    """Mean, name and colour of the criteria without τ that have finished trials."""
    colour, found = colours(study), []
    for setting in (s for s in study.settings if s.tau is None):
        mean = finished(study.settings[setting], metric)
        if mean.k:
            found.append((mean.mean, f"{setting} (n = {mean.k})", colour[setting]))
    return found


def finished(trials: list[Trial], metric: str) -> Spread:
    """The spread of `metric` over the trials that ran to their end."""
    return spread([measures(t, [])[metric] for t in trials if t.finished])


if __name__ == "__main__":
    sys.exit(main())
