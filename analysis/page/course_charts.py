"""Growth, sweeps, and what expansions promised and brought, as Plotly takes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from secnn.analysis import calibration
from secnn.analysis.figures import NAMES
from secnn.analysis.logs import Setting, Study, StudyError, Trial
from secnn.analysis.page.ladder_chart import LAYOUT, axis, log_ticks, rank, rounded
from secnn.analysis.palette import DASHES, colours, criterion_colour
from secnn.analysis.plot_growth import LEARNING_RATE, expansions
from secnn.analysis.plot_sweep import SYMBOLS, controls, finished, swept, values
from secnn.analysis.summary import BEST, FINAL_PARAMETERS, measures

SYMBOLS_OF = {"AddLayer": "triangle-up", "AddChannels": "square"}
OTHER_SYMBOL = "diamond"
PANELS = {"parameters": (0.62, 1.0), "val_accuracy": (0.22, 0.58), LEARNING_RATE: (0.0, 0.16)}
"""Column of the epochs → the part of the height that its panel takes."""
TITLES = {
    "parameters": "parameters",
    "val_accuracy": "validation accuracy (%)",
    LEARNING_RATE: "learning rate",
}


def growth_csv(study: Study) -> pd.DataFrame:
    """What the chart of growth shows, as a table: a row an epoch."""
    columns = ["epoch", "parameters", "val_accuracy", LEARNING_RATE, "expansion"]
    tables = [
        t.epochs.reindex(columns=columns).assign(setting=str(t.setting), trial=t.key)
        for t in study.trials
        if len(t.epochs)
    ]
    return pd.concat(tables, ignore_index=True)[["setting", "trial", *columns]]


def growth(study: Study) -> dict:
    """Parameters, accuracy and the learning rate, one above the other."""
    colour, data = colours(study), []
    for setting, trials in reversed(study.settings.items()):
        look = {"color": colour[setting], "dash": DASHES[study.family(setting)]}
        begun = [t for t in trials if len(t.epochs)]
        strong = setting == study.reference
        place = {"legendrank": rank(study, setting)}
        panels = [_panel(setting, begun, look, i, strong) | place for i in range(3)]
        data += panels if begun else []
        data += [_expansions(setting, begun, colour[setting])] if begun else []
    layout = dict(LAYOUT, xaxis=axis("epoch", anchor="y3"), height=760)
    for i, (column, span) in enumerate(PANELS.items()):
        sizes = pd.concat([t.epochs["parameters"] for t in study.trials if len(t.epochs)])
        kind = log_axis(sizes) if column == "parameters" else {}
        layout[f"yaxis{i + 1 if i else ''}"] = axis(TITLES[column], domain=span, **kind)
    return {"data": data, "layout": layout}


def log_axis(sizes: pd.Series) -> dict:
    """Logarithmic, with ticks for `sizes`."""
    return {"type": "log", **log_ticks(float(sizes.min()), float(sizes.max()))}


def _panel(setting: Setting, trials: list[Trial], look: dict, place: int, strong: bool) -> dict:
    """One column of all trials of a setting."""
    column = list(PANELS)[place]
    x, y, names = [], [], []
    for trial in trials:
        x += [*trial.epochs["epoch"].astype(int).tolist(), None]
        y += [*trial.epochs.reindex(columns=[column])[column], None]
        names += [trial.key] * (len(trial.epochs) + 1)
    unit = {"parameters": "%{y:,} parameters", "val_accuracy": "%{y:.2f} %"}.get(column, "%{y:.3g}")
    return {
        **{"type": "scatter", "mode": "lines", "x": x, "y": rounded(y), "text": names},
        **{"name": str(setting), "legendgroup": str(setting), "showlegend": place == 0},
        **{"yaxis": f"y{place + 1 if place else ''}", "opacity": 1 if strong else 0.7},
        "line": look | {"width": 1.8 if strong else 1} | ({"shape": "hv"} if not place else {}),
        "hovertemplate": f"<b>%{{text}}</b><br>epoch %{{x}}: {unit}<extra></extra>",
    }


def _expansions(setting: Setting, trials: list[Trial], colour: str) -> dict:
    """A mark where a network grew."""
    grown = pd.concat([expansions(t.epochs).assign(trial=t.key) for t in trials])
    kinds = [SYMBOLS_OF.get(kind, OTHER_SYMBOL) for kind in grown["kind"]]
    return {
        **{"type": "scatter", "mode": "markers", "x": grown["epoch"].astype(int).tolist()},
        **{"y": rounded(grown["parameters"]), "legendgroup": str(setting), "showlegend": False},
        **{"name": str(setting), "marker": {"color": colour, "size": 8, "symbol": kinds}},
        "customdata": list(zip(grown["trial"], grown["expansion"], strict=True)),
        "hovertemplate": "<b>%{customdata[0]}</b><br>after epoch %{x}: %{customdata[1]}"
        "<extra></extra>",
    }


def sweep_csv(study: Study) -> pd.DataFrame:
    """A row a trial of every setting: what it decided."""
    rows = [
        {"setting": str(t.setting), "trial": t.key, "finished": t.finished, **measures(t, [])}
        for t in study.trials
    ]
    return pd.DataFrame(rows)


def sweep(study: Study) -> dict | None:
    """Accuracy and size at each value of what was swept; None if nothing was."""
    try:
        names = swept(study)
    except StudyError:
        return None
    data, layout = [], dict(LAYOUT, height=560, shapes=[])
    for row, metric in enumerate((BEST, FINAL_PARAMETERS)):
        sizes = pd.Series([measures(t, [])[FINAL_PARAMETERS] for t in study.trials]).dropna()
        kind = log_axis(sizes) if row else {}
        span = [0.0, 0.44] if row else [0.56, 1.0]
        layout[f"yaxis{2 if row else ''}"] = axis(metric, domain=span, **kind)
        layout["shapes"] += _lines(study, metric, row)
        for column, name in enumerate(names):
            data += _swept(study, name, metric, row, column)
    for column, name in enumerate(names):
        part = 1 / len(names)
        where = [
            column * part + 0.03 * column,
            (column + 1) * part - 0.03 * (column < len(names) - 1),
        ]
        key = f"xaxis{column + 1 if column else ''}"
        layout[key] = axis(SYMBOLS[name], domain=where[column], type="category", anchor="y2")
    return {"data": data, "layout": layout}


def _swept(study: Study, name: str, metric: str, row: int, column: int) -> list[dict]:
    """The trials, hollow until they are finished, and the means of the finished."""
    colour, settings = colours(study), values(study, name)
    axes = {"xaxis": f"x{column + 1 if column else ''}", "yaxis": "y2" if row else "y"}
    once = {"showlegend": row == 0 and column == 0}
    points = [
        (f"{getattr(s, name):g}", measures(t, [])[metric], t, colour[s])
        for s in settings
        for t in study.settings[s]
    ]
    points = [p for p in points if p[1] is not None]
    open_ = ["circle" if p[2].finished else "circle-open" for p in points]
    means = [finished(study.settings[s], metric).mean for s in settings]
    return [
        {
            **{"type": "scatter", "mode": "markers", "name": "a trial", **axes, **once},
            **{"x": [p[0] for p in points], "y": rounded([p[1] for p in points])},
            "marker": {"color": [p[3] for p in points], "symbol": open_, "size": 9},
            "text": [f"{p[2].key} ({p[2].state})" for p in points],
            "hovertemplate": "<b>%{text}</b><br>%{y:,}<extra></extra>",
        },
        {
            **{"type": "scatter", "mode": "lines", "name": "mean of the finished", **axes, **once},
            **{"x": [f"{getattr(s, name):g}" for s in settings], "y": rounded(means)},
            **{"line": {"color": "#808080", "width": 2}, "hoverinfo": "skip"},
        },
    ]


def _lines(study: Study, metric: str, row: int) -> list[dict]:
    """The means of the controls, across the panels."""
    return [
        {
            **{"type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": "y2" if row else "y"},
            **{"y0": height, "y1": height, "line": {"color": colour, "width": 1.5, "dash": "dash"}},
            "label": {"text": text, "textposition": "end", "font": {"color": colour, "size": 11}},
        }
        for height, text, colour in controls(study, metric)
    ]


def calibrated(study: Study) -> tuple[dict, pd.DataFrame] | None:
    """Predicted against realised reduction of the loss, and its rows; None if too few were scored
    and followed. The axes are those of `symlog`, as reductions may be negative."""
    try:
        points = calibration.realised(study).dropna(subset=["predicted_reduction"])
    except StudyError:
        return None
    if points.empty:
        return None
    both = points[["predicted_reduction", calibration.REALISED]]
    low, high = float(both.min(axis=None)), float(both.max(axis=None))
    ends = symlog([low, high]).tolist()
    line = {"color": "#808080", "width": 1.5, "dash": "dash"}
    data = [
        {"type": "scatter", "mode": "lines", "name": "as predicted", "x": ends, "y": ends}
        | {"line": line, "hoverinfo": "skip"},
        *(_promised(rows, kind) for kind, rows in points.groupby("kind")),
    ]
    ticks = _ticks(low, high)
    titles = ("the score predicts (nats)", "the validation loss fell by (nats)")
    axes = [axis(title, tickvals=symlog(ticks).tolist(), ticktext=[f"{t:g}" for t in ticks])
            for title in titles]  # fmt: skip
    return {"data": data, "layout": dict(LAYOUT, xaxis=axes[0], yaxis=axes[1])}, points


def _promised(rows: pd.DataFrame, kind: str) -> dict:
    colour = criterion_colour({"AddLayer": "natural", "AddChannels": "balanced"}.get(kind, kind))
    about = zip(
        rows["trial"], rows["nth"], rows["predicted_reduction"], rows[calibration.REALISED],
        strict=True,
    )  # fmt: skip
    return {
        **{"type": "scatter", "mode": "markers", "name": NAMES.get(kind, kind)},
        "x": rounded(symlog(rows["predicted_reduction"])),
        "y": rounded(symlog(rows[calibration.REALISED])),
        "marker": {"color": colour, "size": 8, "symbol": SYMBOLS_OF.get(kind, OTHER_SYMBOL)},
        "customdata": [(t, int(n), float(f"{p:.3g}"), float(f"{r:.3g}")) for t, n, p, r in about],
        "hovertemplate": "<b>%{customdata[0]}</b>, expansion %{customdata[1]}<br>"
        "predicted %{customdata[2]}, realised %{customdata[3]} nats<extra></extra>",
    }


def symlog(values: Sequence[float]) -> np.ndarray:
    """sign(v) · log10(1 + |v| / `calibration.LINEAR`)."""
    v = np.asarray(values, dtype=float)
    return np.sign(v) * np.log10(1 + np.abs(v) / calibration.LINEAR)


def _ticks(low: float, high: float) -> list[float]:
    """0 and the powers of ten on both sides of it that the range holds."""
    powers = [10.0**k for k in range(-2, 7)]
    there = [s * p for s in (-1, 1) for p in powers if low <= s * p <= high]
    return sorted([*there, *([0.0] if low <= 0 <= high else [])])
