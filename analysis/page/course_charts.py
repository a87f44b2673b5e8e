"""Growth, sweeps, and what expansions promised and brought, as Plotly takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from secnn.analysis import calibration
from secnn.analysis.figures import NAMES, Mark, marks
from secnn.analysis.logs import Setting, Study, StudyError, Trial
from secnn.analysis.page.ladder_chart import LAYOUT, axis, log_axis, rank, rounded
from secnn.analysis.palette import DASHES, colours
from secnn.analysis.plot_growth import LEARNING_RATE, expansions, kinds_of
from secnn.analysis.plot_sweep import SYMBOLS, controls, finished, swept, values
from secnn.analysis.summary import BEST, FINAL_PARAMETERS, measures

PANELS = {"parameters": (0.62, 1.0), "val_accuracy": (0.22, 0.58), LEARNING_RATE: (0.0, 0.16)}
UNRATED = {"parameters": (0.54, 1.0), "val_accuracy": (0.0, 0.46)}
"""Column of the epochs → the part of the height that its panel takes, with and without rates."""
UNITS = {
    "parameters": "%{y:,} parameters",
    "val_accuracy": "%{y:.2f} %",
    LEARNING_RATE: "learning rate %{y:.3g}",
}
"""How a value is told to whoever points at it."""
SHADES = (0.3, 0.75)
"""Of the first and the last expansion of a trial: both stand out from white and from black."""
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
    rows = pd.concat(tables, ignore_index=True)[["setting", "trial", *columns]]
    return rows.round({"val_accuracy": 4, LEARNING_RATE: 8})


def growth(study: Study) -> dict:
    """Parameters, accuracy and the learning rate, one above the other."""
    colour, mark, data = colours(study), marks(kinds_of(study)), []
    for setting, trials in reversed(study.settings.items()):
        look = {"color": colour[setting], "dash": DASHES[study.family(setting)]}
        begun = [t for t in trials if len(t.epochs)]
        strong = setting == study.reference
        place = {"legendrank": rank(study, setting)}
        columns = enumerate(panels(study) if begun else ())
        data += [_panel(setting, begun, look, i, column, strong) | place for i, column in columns]
        data += [_expansions(setting, begun, colour[setting], mark)] if begun else []
    epochs = pd.concat([t.epochs for t in study.trials if len(t.epochs)])
    last = int(epochs["epoch"].max())
    lowest = f"y{len(panels(study))}"
    layout = dict(LAYOUT, xaxis=axis("epoch", anchor=lowest, range=[0, last + 1]), height=760)
    for i, (column, span) in enumerate(panels(study).items()):
        kind = panel_axis(column, epochs)
        layout[f"yaxis{i + 1 if i else ''}"] = axis(TITLES[column], domain=span, **kind)
    return {"data": data, "layout": layout}


def panels(study: Study) -> dict[str, tuple[float, float]]:
    """`PANELS` of what was logged."""
    return PANELS if any(LEARNING_RATE in t.epochs for t in study.trials) else UNRATED


def panel_axis(column: str, epochs: pd.DataFrame) -> dict:
    """An axis of one column that fits its values, be they all the same."""
    if column == "parameters":
        return log_axis(float(epochs[column].min()), float(epochs[column].max()))
    highest = float(epochs[column].max()) if column in epochs else 0.0
    rates = column == LEARNING_RATE and highest > 0
    return {"range": [0, 1.08 * highest]} if rates else {}


def kinds(study: Study) -> list[tuple[str, str]]:
    """Signs of the marks that the chart of growth has, and what they stand for."""
    made = kinds_of(study)
    mark = marks(made)
    return [(mark[kind].sign, NAMES.get(kind, kind)) for kind in made]


def _panel(
    setting: Setting, trials: list[Trial], look: dict, place: int, column: str, strong: bool
) -> dict:
    """One column of all trials of a setting."""
    x, y, names = [], [], []
    for trial in trials:
        x += [*trial.epochs["epoch"].astype(int).tolist(), None]
        y += [*trial.epochs.reindex(columns=[column])[column], None]
        names += [trial.key] * (len(trial.epochs) + 1)
    unit = UNITS[column]
    mode = "lines" if any(len(t.epochs) > 1 for t in trials) else "markers"
    return {
        **{"type": "scatter", "mode": mode, "x": x, "y": rounded(y), "text": names},
        "marker": {"color": look["color"]},
        **{"name": str(setting), "legendgroup": str(setting), "showlegend": place == 0},
        **{"yaxis": f"y{place + 1 if place else ''}", "opacity": 1 if strong else 0.7},
        "line": look | {"width": 1.8 if strong else 1} | ({"shape": "hvh"} if not place else {}),
        "hovertemplate": f"<b>%{{text}}</b><br>epoch %{{x}}: {unit}<extra></extra>",
    }


def _expansions(
    setting: Setting, trials: list[Trial], colour: str, mark: Mapping[str, Mark]
) -> dict:
    """A mark where a network grew, between two epochs."""
    grown = pd.concat([expansions(t.epochs).assign(trial=t.key) for t in trials])
    kinds = [mark[kind].symbol for kind in grown["kind"]]
    about = zip(grown["trial"], grown["epoch"].astype(int), grown["expansion"], strict=True)
    return {
        **{"type": "scatter", "mode": "markers", "x": (grown["epoch"] + 0.5).tolist()},
        **{"y": rounded(grown["parameters"]), "legendgroup": str(setting), "showlegend": False},
        **{"name": str(setting), "marker": {"color": colour, "size": 8, "symbol": kinds}},
        "customdata": list(about),
        "hovertemplate": "<b>%{customdata[0]}</b><br>after epoch %{customdata[1]}: "
        "%{customdata[2]}<extra></extra>",
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
    data, layout = [], dict(LAYOUT, height=560)
    sizes = pd.Series([measures(t, [])[FINAL_PARAMETERS] for t in study.trials]).dropna()
    for row, metric in enumerate((BEST, FINAL_PARAMETERS)):
        kind = log_axis(float(sizes.min()), float(sizes.max())) if row else {}
        span = [0.0, 0.44] if row else [0.56, 1.0]
        title = "final parameters" if row else "highest validation<br>accuracy (%)"
        layout[f"yaxis{2 if row else ''}"] = axis(title, domain=span, **kind)
        for column, name in enumerate(names):
            data += _swept(study, name, metric, row, column)
    part = 1 / len(names)
    for column, name in enumerate(names):
        where = [column * (part + 0.03), (column + 1) * part - 0.03 * (column < len(names) - 1)]
        key = f"xaxis{column + 1 if column else ''}"
        layout[key] = axis(SYMBOLS[name], domain=where, type="category", anchor="y2")
    return {"data": data, "layout": layout}


def _swept(study: Study, name: str, metric: str, row: int, column: int) -> list[dict]:
    """The trials, hollow until they are finished, and the means of the finished."""
    colour, settings = colours(study), values(study, name)
    axes = {"xaxis": f"x{column + 1 if column else ''}", "yaxis": "y2" if row else "y"}
    place = axes | {"showlegend": row == 0 and column == 0}
    unit = UNITS["parameters" if row else "val_accuracy"]
    points = [
        (f"{getattr(s, name):g}", measures(t, [])[metric], t, colour[s])
        for s in settings
        for t in study.settings[s]
    ]
    points = [p for p in points if p[1] is not None]
    open_ = ["circle" if p[2].finished else "circle-open" for p in points]
    means = [finished(study.settings[s], metric).mean for s in settings]
    x = [f"{getattr(s, name):g}" for s in settings]
    return [
        *(_control(x, *control, place, unit) for control in controls(study, metric)),
        {
            **{"type": "scatter", "mode": "markers", "name": "a trial", **place},
            **{"x": [p[0] for p in points], "y": rounded([p[1] for p in points])},
            "marker": {"color": [p[3] for p in points], "symbol": open_, "size": 9},
            "text": [f"{p[2].key} ({p[2].state})" for p in points],
            "hovertemplate": f"<b>%{{text}}</b><br>{unit}<extra></extra>",
        },
        {
            **{"type": "scatter", "mode": "lines", "name": "mean of the finished", **place},
            **{"x": x, "y": rounded(means)},
            **{"line": {"color": "#808080", "width": 2}, "hoverinfo": "skip"},
        },
    ]


def _control(x: list[str], height: float, name: str, colour: str, place: dict, unit: str) -> dict:
    """The mean of a criterion that reads neither."""
    return {
        **{"type": "scatter", "mode": "lines", "name": name, "legendgroup": name, **place},
        **{"x": x, "y": rounded([height] * len(x))},
        "line": {"color": colour, "width": 1.5, "dash": "dash"},
        "hovertemplate": f"<b>%{{fullData.name}}</b><br>{unit}<extra></extra>",
    }


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
    ends = symlog([both.min(axis=None), both.max(axis=None)]).tolist()
    line = {"color": "#808080", "width": 1.5, "dash": "dash"}
    last, mark = points["nth"].max(), marks(points["kind"])
    data = [
        {"type": "scatter", "mode": "lines", "name": "as predicted", "x": ends, "y": ends}
        | {"line": line, "hoverinfo": "skip"},
        *(_promised(rows, kind, last, mark[kind]) for kind, rows in points.groupby("kind")),
    ]
    titles = ("the score predicts (nats)", "the validation loss fell by (nats)")
    axes = [symlog_axis(title, both[name]) for title, name in zip(titles, both, strict=True)]
    return {"data": data, "layout": dict(LAYOUT, xaxis=axes[0], yaxis=axes[1])}, points


def _promised(rows: pd.DataFrame, kind: str, last: int, mark: Mark) -> dict:
    """The expansions of one kind, each in the shade of its place among the `last` of a trial."""
    about = zip(
        rows["trial"], rows["nth"], rows["predicted_reduction"], rows[calibration.REALISED],
        strict=True,
    )  # fmt: skip
    shades = [to_hex(calibration.shade(n, last, SHADES)) for n in rows["nth"]]
    return {
        **{"type": "scatter", "mode": "markers", "name": NAMES.get(kind, kind)},
        "x": rounded(symlog(rows["predicted_reduction"])),
        "y": rounded(symlog(rows[calibration.REALISED])),
        "marker": {"color": shades, "size": 8, "symbol": mark.symbol},
        "customdata": [(t, int(n), float(f"{p:.3g}"), float(f"{r:.3g}")) for t, n, p, r in about],
        "hovertemplate": "<b>%{customdata[0]}</b>, expansion %{customdata[1]}<br>"
        "predicted %{customdata[2]}, realised %{customdata[3]} nats<extra></extra>",
    }


def symlog(values: Sequence[float]) -> np.ndarray:
    """sign(v) · log10(1 + |v| / `calibration.LINEAR`)."""
    v = np.asarray(values, dtype=float)
    return np.sign(v) * np.log10(1 + np.abs(v) / calibration.LINEAR)


def symlog_axis(title: str, values: pd.Series) -> dict:
    """An axis of `symlog` of the values, with what they were at its ticks."""
    low, high = symlog([values.min(), values.max()]).tolist()
    room = max(0.08, 0.06 * (high - low))
    marks = ticks(low - room, high + room)
    text = [f"{t:g}".replace("-", "−") for t in marks]
    places = {"tickvals": symlog(marks).tolist(), "ticktext": text, "tickangle": 0}
    return axis(title, range=[low - room, high + room], **places)


def ticks(low: float, high: float) -> list[float]:
    """0 and round numbers whose `symlog` lies from `low` to `high`, none too near to another."""
    kept: list[float] = []
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        sizes = [s * 10.0**k for k in range(6, -5, -1) for s in sorted(steps, reverse=True)]
        kept = []
        for value in (0.0, *sizes, *(-s for s in sizes)):
            place = symlog([value])[0]
            gaps = np.abs(symlog(kept) - place)
            if low <= place <= high and (gaps > (high - low) / 9).all():
                kept.append(value)
        if len(kept) > 2:
            break
    return sorted(kept)
