"""The page as one HTML file that refers to nothing outside itself."""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

from secnn.analysis import calibration
from secnn.analysis.calibration import calibration_figure
from secnn.analysis.figures import Options, png
from secnn.analysis.logs import Study, StudyError
from secnn.analysis.make_table import note, seeds_table, settings_table
from secnn.analysis.page import course_charts, decisions, drawing, ladder_chart, origin, words
from secnn.analysis.plot_growth import growth_figure
from secnn.analysis.plot_pareto import pareto_figure
from secnn.analysis.plot_sweep import sweep_figure
from secnn.analysis.stats import hypervolume, log_area, spread
from secnn.analysis.summary import BEST, COSTS, TEST, ladder, measures, parameters_at
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
        self.charts |= {ids[name]: chart for name, chart in drawn.items()}
        self.tables[id_] = as_csv(rows)
        return Chart(next(iter(ids.values())), ids, id_, picture)

    def text(self) -> str:
        """Compressed, as text."""
        content = {"charts": self.charts, "tables": self.tables}
        text = json.dumps(content, separators=(",", ":"), default=_plain, allow_nan=False)
        return packed(gzip.compress(text.encode("utf-8"), 9, mtime=0))


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
    return environment.get_template("page.html").render(
        title=f"{', '.join(names)}: self-expanding networks",
        studies=listed,
        together=together,
        style=(HERE / "style.css").read_text(encoding="utf-8"),
        script=(HERE / "page.js").read_text(encoding="utf-8"),
        library=packed(LIBRARY.read_bytes()),
        content=content.text(),
    )


def unique(names: Sequence[str]) -> list[str]:
    """Names of which none is another's: a number behind those that are."""
    return [n if names.count(n) == 1 else f"{n} ({i + 1})" for i, n in enumerate(names)]


def _study(study: Study, name: str, id_: str, content: Packed) -> dict:
    """What the template shows of a study."""
    shown = drawing.example(study)
    return {
        "id": id_,
        "name": name,
        "marks": study.marks,
        "description": study.description,
        "finding": words.finding(study),
        "details": words.details(study),
        "facts": origin.facts(study),
        "tables": [seeds_table(study, words.TARGETS), settings_table(study)],
        "note": note(study),
        "is_cifar10": study.is_cifar10,
        "charts": _charts(study, id_, content),
        "drawn": shown.key if shown else None,
        "networks": drawing.drawings(shown) if shown else [],
        "decisions": decisions.told(study),
        "calibration": _ranks(study),
        "trials": _states(study),
    }


def _charts(study: Study, id_: str, content: Packed) -> dict[str, Chart | None]:
    """The study's charts, by name."""
    options = Options()
    pareto = {cost: ladder_chart.pareto(study, cost) for cost in COSTS}
    promised = course_charts.calibrated(study)
    chart, points = promised or (None, pd.DataFrame())
    rows = decisions.candidates(study)
    if len(rows):
        content.tables[f"{id_}-decisions"] = as_csv(rows)

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
    """The table of `analysis/calibration.py`; None where there are too few expansions for it."""
    try:
        rows = calibration.table(calibration.realised(study))
    except StudyError:
        return None
    return Table(calibration.CAPTION, list(rows.columns), rows.astype(str).to_numpy().tolist())


def _states(study: Study) -> Table:
    """A row a trial."""
    rows = words.states(study)
    cells = [
        [v if isinstance(v, str) else decisions.cell(v) for v in row]
        for row in rows.itertuples(index=False)
    ]
    return Table("", list(rows.columns), cells)


def _together(studies: Sequence[Study], names: Sequence[str], content: Packed) -> dict:
    """What the template shows of several studies side by side."""
    versions = {cost: ladder_chart.comparison(studies, names, cost) for cost in COSTS}
    tables = [
        ladder_chart.kept_networks(s).assign(study=n) for s, n in zip(studies, names, strict=True)
    ]
    chart = content.add("studies-accuracy", versions, pd.concat(tables, ignore_index=True), None)
    mixed = len({(s.dataset["name"], s.dataset.get("fingerprint")) for s in studies}) > 1
    return {"chart": chart, "table": comparison_table(studies, names), "mixed": mixed}


def comparison_table(studies: Sequence[Study], names: Sequence[str]) -> Table:
    """A row a study: its reference's seeds, mean ± half of the 95 % interval. The area is the mean
    accuracy over log-parameters in the range that all ladders cover, see `log_area`."""
    found = [[ladder(t) for t in s.settings[s.reference]] for s in studies]
    ladders = [rows for of in found for rows in of if len(rows)]
    low = max((rows["parameters"].min() for rows in ladders), default=0)
    high = min((rows["parameters"].max() for rows in ladders), default=0)
    lines = []
    for study, name, own in zip(studies, names, found, strict=True):
        known = [(rows["parameters"], rows["val_accuracy"]) for rows in own if len(rows)]
        seeds = [measures(t, words.TARGETS) for t in study.settings[study.reference]]
        areas = [log_area(*of, low, high) if low < high else None for of in known]
        volumes = [hypervolume(*of, high, 0.0) if low < high else None for of in known]
        numbers = [
            *(words.mean(spread([m[parameters_at(t)] for m in seeds])) for t in words.TARGETS),
            *(words.mean(spread([m[k] for m in seeds]), digits=2) for k in (BEST, TEST)),
            words.mean(spread(areas), digits=2),
            words.mean(spread(volumes), digits=1),
            f"{sum(origin.seconds_of(t) for t in study.trials) / 3600:.1f}",
        ]
        shown = [n.replace("nan", "–") for n in numbers]
        lines.append([name, study.dataset["name"], str(study.reference), str(len(seeds)), *shown])
    between = f"area from {low:,.0f} to {high:,.0f} parameters (%)" if low < high else "area (%)"
    head = ["study", "data", "reference", "seeds", *map(parameters_at, words.TARGETS), BEST, TEST]
    head += [between, "hypervolume (% × decades)", "hours"]
    return Table("", head, lines)
