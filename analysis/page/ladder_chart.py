"""Accuracy against cost, as Plotly takes it, and the tables behind it.

A *chart* is a dict of `data` and `layout`. Colours of text, axes and grids are left to the page,
which knows whether it is light or dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd

from secnn.analysis.figures import margin, short
from secnn.analysis.logs import Setting, Study, Trial
from secnn.analysis.palette import DASHES, PUBLISHED, colours
from secnn.analysis.plot_pareto import mean_ladder
from secnn.analysis.published import baselines, paper_networks
from secnn.analysis.summary import COSTS, networks

Numbers: TypeAlias = Sequence[float | None] | np.ndarray | pd.Series

POINT = (
    "<b>%{customdata[0]}</b><br>%{customdata[1]} parameters, multiply-adds: %{customdata[2]}"
    "<br>%{y:.2f} % of {images} images<br>%{customdata[3]}<extra></extra>"
)
"""What is told of a network that is pointed at."""


def axis(title: str, **more: object) -> dict:
    """An axis with its title."""
    return {"title": {"text": title}, "automargin": True, **more}


def cost_axis(cost: str, low: float, high: float) -> dict:
    """A logarithmic axis of parameters or multiply-adds that shows `low` to `high`, and the size
    that comes next."""
    return axis(COSTS[cost], **log_axis(low, high, 1.25))


def log_axis(low: float, high: float, above: float = 1) -> dict:
    """A logarithmic scale that shows `low` to `high` and a margin, with room up to `above` times
    `high`."""
    room = margin(low, high)
    ends = low / room, high * max(room, above)
    return {"type": "log", "range": np.log10(ends).tolist(), **log_ticks(*ends)}


def log_ticks(low: float, high: float) -> dict:
    """Ticks at 1, 2 and 5 times the powers of ten, or, over a narrow range, at more."""
    steps = (1, 2, 5) if high > 5 * low else (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
    powers = 10.0 ** np.arange(0, 13)
    ticks = [float(s * p) for p in powers for s in steps if low / 2 <= s * p <= high * 2]
    return {"tickvals": ticks, "ticktext": [short(t) for t in ticks], "tickangle": 0}


def accuracy_axis(values: pd.Series) -> dict:
    """An axis that shows all of `values`, in per cent."""
    low, high = float(values.min()), float(values.max())
    room = max(1.0, 0.06 * (high - low))
    return axis("validation accuracy (%)", range=[low - room, min(100.5, high + room)])


def pareto_csv(study: Study) -> pd.DataFrame:
    """What the charts of accuracy show, as a table."""
    own = networks(study.trials)
    if not study.is_cifar10:
        return own
    others = pd.concat([paper_networks(), baselines()]).rename(columns={"name": "network"})
    columns = ["network", "parameters", "multiply-adds", "val_accuracy", "notes", "source"]
    return pd.concat([own, others[columns]], ignore_index=True)


def pareto(study: Study, cost: str) -> dict | None:
    """The study's ladders beside the paper and published networks; None if no network is finished,
    or its cost is not known."""
    points = networks(study.trials).dropna(subset=[cost])
    if points.empty:
        return None
    colour, data = colours(study), []
    for setting, trials in reversed(study.settings.items()):
        data += _setting(study, setting, trials, colour[setting], cost)
    low, high = points[cost].min(), points[cost].max()
    x, seen = cost_axis(cost, low, high), points["val_accuracy"]
    if study.is_cifar10:
        others = [_others(cost, read) for read in (True, False)] + [_paper(cost)]
        data = [*others[:2], *data, others[2]]
        inside = [rows[_inside(rows[cost], x)] for rows in (baselines(), paper_networks())]
        seen = pd.concat([seen, *(rows["val_accuracy"] for rows in inside)])
    return {"data": data, "layout": {"xaxis": x, "yaxis": accuracy_axis(seen), **LAYOUT}}


LAYOUT = {
    "hovermode": "closest",
    "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
    "margin": {"l": 10, "r": 24, "t": 10, "b": 10},
}


def _inside(costs: pd.Series, shown: dict) -> pd.Series:
    low, high = shown["range"]
    return costs.between(10**low, 10**high)


def _setting(
    study: Study, setting: Setting, trials: Sequence[Trial], colour: str, cost: str
) -> list[dict]:
    """Trajectories, band, mean and networks of a setting; its name is in the legend once."""
    reference, name = setting == study.reference, str(setting)
    group = {"legendgroup": name, "name": name, "showlegend": False}
    mean = mean_ladder(trials, cost)
    line = {
        "color": colour,
        "width": 3 if reference else 1.5,
        "dash": DASHES[study.family(setting)],
    }
    return [
        _trajectories(trials, colour, cost) | group,
        *([band_of(mean, colour) | group] if reference and is_banded(mean) else []),
        {
            **group,
            **line_of(mean[:, 0], mean[:, 1]),
            "line": line,
            "showlegend": True,
            "legendrank": rank(study, setting),
            "hoverinfo": "skip",
        },
        _networks(networks(trials), cost, colour) | group,
    ]


def rank(study: Study, setting: Setting) -> int:
    """Its place in the legend: the reference first; those of Plotly without a rank come last."""
    return 1 + list(study.settings).index(setting)


def line_of(x: Numbers, y: Numbers) -> dict:
    return {"type": "scatter", "mode": "lines", "x": rounded(x), "y": rounded(y)}


def rounded(values: Numbers) -> list:
    """With six significant digits, None for what is not known."""
    return [None if v is None or pd.isna(v) else float(f"{v:.6g}") for v in values]


def _trajectories(trials: Sequence[Trial], colour: str, cost: str) -> dict:
    """Every epoch of all trials, faint."""
    x, y = [], []
    for epochs in (t.epochs for t in trials):
        x += [*(epochs[cost] if cost in epochs else [None] * len(epochs)), None]
        y += [*epochs["val_accuracy"], None]
    return line_of(x, y) | {"line": {"color": colour, "width": 0.7}, "opacity": 0.25} | SKIPPED


SKIPPED = {"hoverinfo": "skip"}


def is_banded(mean: np.ndarray) -> bool:
    """Whether a `mean_ladder` has a band."""
    return len(mean) > 1 and not np.isnan(mean[:, 2]).all()


def band_of(mean: np.ndarray, colour: str) -> dict:
    """The mean's 95 % interval."""
    x = [*mean[:, 0], *mean[::-1, 0]]
    y = [*mean[:, 3], *mean[::-1, 2]]
    return line_of(x, y) | SKIPPED | {"fill": "toself", "line": {"width": 0}} | faded(colour)


def faded(colour: str) -> dict:
    """The fill of a band in `colour`."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return {"fillcolor": f"rgba({red}, {green}, {blue}, 0.18)"}


def _networks(rows: pd.DataFrame, cost: str, colour: str) -> dict:
    """A dot a finished network."""
    shapes = [
        f"epoch {e:g}" + (f"; channels {c}, layers {n}" if isinstance(c, str) else "")
        for e, c, n in zip(rows["epoch"], rows["channels"], rows["layers"], strict=True)
    ]
    return {
        **{"type": "scatter", "mode": "markers", "marker": {"color": colour, "size": 7}},
        **{
            "x": rounded(rows[cost]),
            "y": rounded(rows["val_accuracy"]),
            "hovertemplate": POINT.replace("{images}", "validation"),
        },
        "customdata": list(zip(rows["trial"], *counts(rows), shapes, strict=True)),
    }


def counts(rows: pd.DataFrame) -> list[list[str]]:
    """Parameters and multiply-adds as text."""
    adds = ["unknown" if pd.isna(v) else f"{v / 1e6:,.3g} M" for v in rows["multiply-adds"]]
    return [[f"{v:,.0f}" for v in rows["parameters"]], adds]


def _others(cost: str, read: bool) -> dict:
    """Published networks, hollow where their figures were not read at the source."""
    table = baselines()
    rows = table[(table["read"] == read) & table[cost].notna()]
    symbol = "diamond" if read else "diamond-open"
    label = "published networks" + ("" if read else ", not read at the source")
    return _points(rows, cost, label, {"symbol": symbol, "color": PUBLISHED, "size": 8})


def _paper(cost: str) -> dict:
    rows = paper_networks().dropna(subset=[cost])
    line = {"color": "#000000", "width": 1}
    star = {"symbol": "star", "color": "#ffd700", "size": 14, "line": line}
    return _points(rows, cost, "the paper", star)


def _points(rows: pd.DataFrame, cost: str, label: str, marker: dict) -> dict:
    told = zip(rows["name"], *counts(rows), rows["source"], rows["notes"], strict=True)
    return {
        **{"type": "scatter", "mode": "markers", "name": label, "marker": marker},
        **{"x": rounded(rows[cost]), "y": rounded(rows["val_accuracy"])},
        **{"customdata": list(told), "showlegend": len(rows) > 0, "cliponaxis": False},
        "hovertemplate": POINT.replace("{images}", "test").replace("<e", "<br>%{customdata[4]}<e"),
    }
