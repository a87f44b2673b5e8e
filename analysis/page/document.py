"""The page as one HTML file that refers to nothing outside itself."""

from __future__ import annotations

import base64
import gzip
import html
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from secnn.analysis import calibration
from secnn.analysis.calibration import calibration_figure
from secnn.analysis.figures import Options, png
from secnn.analysis.logs import Study, StudyError
from secnn.analysis.make_table import note, number, seeds_table, settings_table
from secnn.analysis.page import (
    course_charts,
    decisions,
    drawing,
    ladder_chart,
    origin,
    terms,
    words,
)
from secnn.analysis.page.compared import comparison, comparison_figure, comparison_table
from secnn.analysis.plot_growth import growth_figure
from secnn.analysis.plot_pareto import finishes, pareto_figure
from secnn.analysis.plot_sweep import sweep_figure
from secnn.analysis.summary import COSTS, networks
from secnn.analysis.tables import Table

HERE = Path(__file__).parent
LIBRARY = HERE / "plotly-basic.min.js.gz"


@dataclass(frozen=True)
class Chart:
    """A chart's place on the page: the id of what is drawn there first, other versions by what they
    are called on their buttons, the id of its table, and a picture for where nothing interactive
    works."""

    id: str
    versions: dict[str, str]
    csv: str
    picture: str | None


@dataclass
class Packed:
    """What the page's script draws and hands out: charts and tables by id."""

    charts: dict[str, dict] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)

    def add(
        self, id_: str, versions: dict[str, dict | None], rows: pd.DataFrame, picture: str | None
    ) -> Chart | None:
        """Take in a chart; None if no version of it can be drawn."""
        drawn = {name: chart for name, chart in versions.items() if chart}
        if not drawn:
            return None
        ids = {name: f"{id_}-{i}" for i, name in enumerate(drawn)}
        self.charts |= {ids[name]: literal(chart) for name, chart in drawn.items()}
        self.tables[id_] = as_csv(rows)
        return Chart(next(iter(ids.values())), ids, id_, picture)

    def text(self) -> str:
        """Compressed, as text."""
        content = {"charts": self.charts, "tables": self.tables}
        text = json.dumps(content, separators=(",", ":"), default=_plain, allow_nan=False)
        return packed(gzip.compress(text.encode("utf-8"), 9, mtime=0))


TEXTS = ("name", "text", "customdata")
"""Where a chart's lines and points hold names of what was run."""


def literal(chart: dict) -> dict:
    """The chart, whose `TEXTS` Plotly shows letter by letter: not as HTML, nor as formulas."""
    data = [
        trace | {key: _literal(trace[key]) for key in TEXTS if key in trace}
        for trace in chart["data"]
    ]
    return chart | {"data": data}


def _literal(text: object) -> object:
    if isinstance(text, (list, tuple)):
        return [_literal(part) for part in text]
    return html.escape(text, quote=False).replace("$", "&#36;") if isinstance(text, str) else text


def as_csv(rows: pd.DataFrame) -> str:
    """The rows as CSV; whole numbers stay whole beside what is not known."""
    return rows.to_csv(index=False, float_format="%.10g")


def _plain(value: object) -> object:
    """NumPy's numbers as Python's."""
    return value.item()  # type: ignore[attr-defined]


def packed(content: bytes) -> str:
    """Bytes as text."""
    return base64.b64encode(content).decode("ascii")


def page(studies: Sequence[Study]) -> str:
    """The HTML of the report."""
    content, names = Packed(), unique([s.folder.resolve().name for s in studies])
    pairs = enumerate(zip(studies, names, strict=True))
    listed = [_study(study, name, f"s{i}", content) for i, (study, name) in pairs]
    together = _together(studies, names, content) if len(studies) > 1 else None
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"bound": bound, "breakable": breakable}
    return environment.get_template("page.html").render(
        title=f"{', '.join(names)}: self-expanding networks",
        studies=listed,
        together=together,
        style=(HERE / "style.css").read_text(encoding="utf-8"),
        script=(HERE / "page.js").read_text(encoding="utf-8"),
        library=packed(LIBRARY.read_bytes()),
        content=content.text(),
    )


def bound(text: str) -> str:
    """`text` whose numbers do not part from their signs and units at a line's end."""
    return re.sub(r" (?=[%±=])|(?<=[±=]) ", "\u00a0", text)


def breakable(key: str) -> Markup:
    """A trial's key, which lines may break behind its commas."""
    return Markup("<wbr>").join(part for part in re.split("(?<=,)", key))


def unique(names: Sequence[str]) -> list[str]:
    """Names of which none is another's: a number behind those that are."""
    return [n if names.count(n) == 1 else f"{n} ({i + 1})" for i, n in enumerate(names)]


def _study(study: Study, name: str, id_: str, content: Packed) -> dict:
    """What the template shows of a study."""
    shown, considered = drawing.example(study), decisions.candidates(study)
    return {
        "id": id_,
        "name": name,
        "about": f"{study.dataset['name']}, preset {study.preset}",
        "marks": study.marks,
        "headline": words.headline(study),
        "finding": words.finding(study),
        "details": words.details(study),
        "facts": origin.facts(study),
        "tables": [seeds_table(study, words.TARGETS), settings_table(study)],
        "note": note(study),
        "is_cifar10": study.is_cifar10,
        "on_test": study.dataset["validation"] == "test",
        "finishes": finishes(study),
        "rated": len(course_charts.panels(study)) > 2,
        "rules": terms.rules(study),
        "thresholds": any(s.tau is not None for s in study.settings),
        "kinds": course_charts.kinds(study),
        "scored": "ratio" in considered and bool(considered["ratio"].notna().any()),
        "columns": decisions.explained(considered) if len(considered) else [],
        "charts": _charts(study, id_, considered, content),
        "drawn": f"{shown.setting}, seed {shown.seed}" if shown else None,
        "networks": drawing.drawings(shown) if shown else [],
        "decisions": decisions.told(study),
        "calibration": _ranks(study),
        "trials": _states(study),
    }


def _charts(
    study: Study, id_: str, considered: pd.DataFrame, content: Packed
) -> dict[str, Chart | None]:
    """The study's charts, by name."""
    options = Options()
    pareto = {cost: ladder_chart.pareto(study, cost) for cost in COSTS}
    promised = course_charts.calibrated(study)
    chart, points = promised or (None, pd.DataFrame())
    if len(considered):
        content.tables[f"{id_}-decisions"] = as_csv(considered)

    def add(name: str, versions: dict, table: pd.DataFrame, draw: Callable) -> Chart | None:
        return content.add(f"{id_}-{name}", versions, table, picture(partial(draw, study, options)))

    return {
        "pareto": add("accuracy", pareto, ladder_chart.pareto_csv(study), pareto_figure),
        "growth": add(
            "growth", {"": course_charts.growth(study)}, course_charts.growth_csv(study),
            growth_figure,
        ),
        "sweep": add(
            "sweep", {"": course_charts.sweep(study)}, course_charts.sweep_csv(study), sweep_figure
        ),
        "calibration": add("predicted", {"": chart}, points, calibration_figure),
    }  # fmt: skip


def picture(draw: Callable[[], Figure]) -> str | None:
    """The figure as a PNG's data URI, in few colours; None where there is nothing to draw."""
    try:
        image = Image.open(io.BytesIO(png(draw(), dpi=110)))
    except StudyError:
        return None
    small = io.BytesIO()
    image.convert("RGB").quantize(128, kmeans=2).save(small, format="png", optimize=True)
    return f"data:image/png;base64,{packed(small.getvalue())}"


def _ranks(study: Study) -> Table | None:
    """The table of `analysis/calibration.py`; None where too few expansions were followed, or none
    of them was scored."""
    try:
        points = calibration.realised(study)
    except StudyError:
        return None
    if points["ratio"].isna().all():
        return None
    rows = calibration.table(points).replace({"measure": terms.MEASURES, "against": terms.MEASURES})
    head = ["measure", "against", "expansions", "ρ", "from", "to", "pooled"]
    cells = rows.astype(str).replace({"^-$": "–", "-": "−"}, regex=True).to_numpy().tolist()
    return Table(calibration.CAPTION, head, cells)


def _states(study: Study) -> Table:
    """A row a trial."""
    rows = words.states(study)
    head = list(rows.columns)
    cells = [
        [v if isinstance(v, str) else shown(m, v) for m, v in zip(head, row, strict=True)]
        for row in rows.itertuples(index=False)
    ]
    return Table("", head, cells)


def shown(metric: str, value: float | None) -> str:
    """As in the other tables; counts whole; nothing for what is missing."""
    if value is None or pd.isna(value):
        return ""
    return number(metric, value) if metric.endswith("(%)") else f"{value:,.0f}"


def _together(studies: Sequence[Study], names: Sequence[str], content: Packed) -> dict:
    """What the template shows of several studies side by side."""
    versions = {cost: comparison(studies, names, cost) for cost in COSTS}
    tables = [
        networks(study.trials).assign(study=name)
        for study, name in zip(studies, names, strict=True)
    ]
    drawn = picture(partial(comparison_figure, studies, names))
    chart = content.add("studies-accuracy", versions, pd.concat(tables, ignore_index=True), drawn)
    mixed = len({(s.dataset["name"], s.dataset.get("fingerprint")) for s in studies}) > 1
    return {"chart": chart, "table": comparison_table(studies, names), "mixed": mixed}
