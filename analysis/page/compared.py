"""Several studies side by side: the chart of their ladders, its picture, and a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from secnn.analysis.figures import Look, Options, parameter_axis, style
from secnn.analysis.logs import Study, StudyError, Trial
from secnn.analysis.make_table import median_cell
from secnn.analysis.page import origin, words
from secnn.analysis.page.ladder_chart import (
    LAYOUT,
    accuracy_axis,
    band_of,
    cost_axis,
    is_banded,
    line_of,
)
from secnn.analysis.palette import criterion_colour, shaded
from secnn.analysis.plot_pareto import mean_ladder
from secnn.analysis.stats import hypervolume, log_area, spread
from secnn.analysis.summary import BEST, COSTS, TEST, ladder, measures, parameters_at, reaching
from secnn.analysis.tables import Table

LOOKS = ((1, "solid"), (0.65, "dash"), (1.35, "dot"), (0.45, "dashdot"))
"""Lightness and line of studies that share a criterion."""
LINES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
"""Plotly's names of lines → Matplotlib's."""


def comparison(studies: Sequence[Study], names: Sequence[str], cost: str) -> dict | None:
    """The references' mean ladders of several studies; None if none has one."""
    data, ends = [], []
    for study, name, look in zip(studies, names, looks(studies), strict=True):
        mean = mean_ladder(study.settings[study.reference], cost)
        if not len(mean):
            continue
        group = {"legendgroup": name, "name": f"{name}: {study.reference}", "showlegend": False}
        if is_banded(mean):
            data.append(band_of(mean, look["color"]) | group)
        hover = "<b>%{fullData.name}</b><br>%{x:,} " + cost + "<br>%{y:.2f} %<extra></extra>"
        line = {"mode": "lines+markers", "line": look | {"width": 3}, "hovertemplate": hover}
        data.append({**group, **line_of(mean[:, 0], mean[:, 1]), **line, "showlegend": True})
        ends.append(mean)
    if not ends:
        return None
    rows = np.concatenate(ends)
    x = cost_axis(cost, rows[:, 0].min(), rows[:, 0].max())
    y = accuracy_axis(pd.Series(rows[:, 1]))
    return {"data": data, "layout": {"xaxis": x, "yaxis": y, **LAYOUT}}


def looks(studies: Sequence[Study]) -> list[dict[str, str]]:
    """Colour and line of each study: its criterion's colour, lighter or darker where others before
    it have that."""
    criteria = [s.reference.criterion for s in studies]
    found = []
    for i, criterion in enumerate(criteria):
        factor, dash = LOOKS[criteria[:i].count(criterion) % len(LOOKS)]
        found.append({"color": shaded(criterion_colour(criterion), factor), "dash": dash})
    return found


@style()
def comparison_figure(studies: Sequence[Study], names: Sequence[str]) -> Figure:
    """The same as a picture, against parameters.

    Raises:
        StudyError: none has a ladder.
    """
    figure = Options().figure(0.6)
    axes, found = figure.subplots(), 0
    for study, name, look in zip(studies, names, looks(studies), strict=True):
        rows = mean_ladder(study.settings[study.reference], "parameters")
        found += len(rows)
        line: Look = {"color": look["color"], "ls": LINES[look["dash"]], "marker": "o", "ms": 3}
        axes.plot(rows[:, 0], rows[:, 1], label=f"{name}: {study.reference}", **line)
        axes.fill_between(rows[:, 0], rows[:, 2], rows[:, 3], color=look["color"], alpha=0.18, lw=0)
    if not found:
        raise StudyError("no size of these studies is finished yet")
    parameter_axis(axes.xaxis)
    axes.set(xlabel=COSTS["parameters"], ylabel="validation accuracy (%)")
    figure.legend(loc="outside upper left", ncols=2)
    return figure


def comparison_table(studies: Sequence[Study], names: Sequence[str]) -> Table:
    """A column a study: its reference's seeds, mean ± half of the 95 % interval. The area is the
    mean accuracy over log-parameters in the range that all ladders cover, see `log_area`."""
    ladders = [rows for s in studies for rows in ladders_of(s)]
    low = max((rows["parameters"].min() for rows in ladders), default=0)
    high = min((rows["parameters"].max() for rows in ladders), default=0)
    columns = [column(study, low, high) for study in studies]
    lines = [[metric, *(c[metric] for c in columns)] for metric in columns[0]]
    return Table("", ["", *names], lines)


def ladders_of(study: Study) -> list[pd.DataFrame]:
    """The ladders of the reference's seeds, as far as they have one."""
    return [rows for rows in map(ladder, study.settings[study.reference]) if len(rows)]


def column(study: Study, low: float, high: float) -> dict[str, str]:
    """Metric → its cell; `low` to `high` are the parameters that all ladders cover, if there are
    such."""
    trials = study.settings[study.reference]
    known = [(rows["parameters"], rows["val_accuracy"]) for rows in ladders_of(study)]
    areas = [log_area(*of, low, high) if low < high else None for of in known]
    volumes = [hypervolume(*of, high, 0.0) if low < high else None for of in known]
    between = f" from {low:,.0f} to {high:,.0f} parameters" if low < high else ""
    found = [measures(t, []) for t in trials]
    return {
        "data": study.dataset["name"],
        "reference": str(study.reference),
        "seeds": str(len(trials)),
        **{parameters_at(t): target_cell(trials, t) for t in words.TARGETS},
        **{k: words.mean(spread([m[k] for m in found]), digits=2) for k in (BEST, TEST)},
        f"area{between} (%)": words.mean(spread(areas), digits=2),
        "hypervolume (% × decades)": words.mean(spread(volumes), digits=1),
        "time": origin.duration(sum(map(origin.seconds_of, study.trials))),
    }


def target_cell(trials: Sequence[Trial], target: float) -> str:
    """With how many parameters they reach `target` per cent; if some do not, the median that counts
    them as needing more."""
    found = reaching(trials, target)
    if 0 < found.cost.k < found.cost.n:
        return median_cell(found)
    return words.mean(found.cost) if found.cost.k else "not reached"
