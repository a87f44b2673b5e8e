"""What τ and λ decide: `python analysis/plot_sweep.py [OUT]`."""

from __future__ import annotations

import argparse
import sys
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.logs import Study, StudyError, command
from analysis.plot_growth import FAMILIES, colours, parameter_axis, save, title
from analysis.summary import BEST, FINAL_PARAMETERS, measures, spread

SYMBOLS = {"tau": "τ", "lam": "λ"}


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="analysis/plot_sweep.py", description=__doc__)
    return command(parser, plot_sweep, arguments)


def plot_sweep(study: Study, asked: argparse.Namespace) -> None:
    """Draw a column for each swept setting and write the figure to OUT/analysis.

    Raises:
        StudyError: nothing was swept.
    """
    families = {study.family(s) for s, trials in study.settings.items() if _measured(trials)}
    swept = [name for name in SYMBOLS if name in families]
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
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8)
    title(panels[0, 0], study, "Sweeps")
    save(figure, study, "sweep")


def draw_sweep(axes: Axes, study: Study, name: str, metric: str) -> None:
    """A point a trial and a line through the means, at evenly spaced values (λ may be 0); the
    means of the criteria without τ as broken lines in their colours."""
    settings = [s for s in study.settings if study.family(s) in ("reference", name)]
    settings.sort(key=lambda s: getattr(s, name))
    columns = [[measures(t, [])[metric] for t in study.settings[s]] for s in settings]
    for place, (setting, values) in enumerate(zip(settings, columns, strict=True)):
        reference = setting == study.reference
        colour = FAMILIES["reference"] if reference else "grey"
        label = f"{setting}, a seed" if reference else None
        there = [v for v in values if v is not None]
        axes.scatter([place] * len(there), there, color=colour, s=18, zorder=3, label=label)
    axes.plot([spread(v).mean for v in columns], color="black", lw=1, label="mean over seeds")
    hues = colours(study)
    controls = (s for s in study.settings if s.tau is None and _measured(study.settings[s]))
    for control, style in zip(controls, cycle(("--", ":", "-."))):
        mean = spread([measures(t, [])[metric] for t in study.settings[control]]).mean
        axes.axhline(mean, color=hues[control], lw=1.3, ls=style, label=f"mean of {control}")
    axes.set_xticks(range(len(settings)), [f"{getattr(s, name):g}" for s in settings])
    axes.grid(alpha=0.25)


def _measured(trials: list) -> bool:
    return any(len(t.epochs) for t in trials)


if __name__ == "__main__":
    sys.exit(main())
