"""A study on one page: `python analysis/report.py [OUT]` writes OUT/analysis/report.html."""

from __future__ import annotations

import argparse
import base64
import sys
from collections.abc import Sequence
from html import escape

import pandas as pd

from secnn.analysis import calibration
from secnn.analysis.logs import Study, StudyError, Trial, command, read_log
from secnn.analysis.make_table import NOTE as TABLE_NOTE
from secnn.analysis.make_table import Table, paper_table, seeds_table, settings_table
from secnn.analysis.plot_growth import plot_growth
from secnn.analysis.plot_pareto import plot_pareto
from secnn.analysis.plot_sweep import plot_sweep
from secnn.commands import Parser
from secnn.files import write_text

FIGURES = {
    "pareto": (plot_pareto, "Accuracy against parameters"),
    "growth": (plot_growth, "Growth over the epochs"),
    "sweep": (plot_sweep, "Sweeps of the threshold τ and the size penalty λ"),
    "calibration": (calibration.plot_calibration, "What expansions promised and what they brought"),
}
COLUMNS = {
    "epoch": "after epoch",
    "expansion": "expansion",
    "added_parameters": "parameters added",
    "ratio": "η/η_c",
    "gain": "gain in η",
    "logit_change": "logits moved by (sd)",
    "reason": "reason",
}
"""What the list of expansions shows of `logs/expansions`, as far as it is there."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem;
       color: #222 }
table { border-collapse: collapse; font-size: 13px; margin: .5rem 0 1.5rem }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .7rem; text-align: right }
th:first-child, td:first-child, td.text, th.text { text-align: left }
td:first-child { white-space: nowrap }
thead th { border-bottom: 2px solid #888; vertical-align: bottom }
img { max-width: 100% }
.mark { background: #fde8e8; border-left: 5px solid darkred; padding: .6rem 1rem; font-weight: 600 }
.note { color: #555; font-size: 13px }
.table { overflow-x: auto }
summary { cursor: pointer }
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = Parser("report", description="A study on one page: writes OUT/analysis/report.html.")
    return command(parser, report, arguments)


def report(study: Study, asked: argparse.Namespace) -> None:
    """Draw the figures, and write them, the tables and the expansions to OUT/analysis."""
    path = study.folder / "analysis" / "report.html"
    write_text(path, page(study, figures(study, asked)))
    print(f"Written: {path}")


def page(study: Study, drawn: dict[str, str]) -> str:
    """The HTML of the report, which refers to nothing outside itself; `drawn` maps a caption to an
    image's data URI."""
    title = f"{study.folder.resolve().name}: a study of self-expanding networks"
    parts = [
        f"<h1>{escape(title)}</h1>",
        *(f'<p class="mark">{escape(mark)}</p>' for mark in study.marks),
        f"<p>{escape(study.description)}.</p>",
        f'<p class="note">{escape(origin(study))}</p>',
        *map(table, tables(study)),
        f'<p class="note">{escape(TABLE_NOTE)}</p>',
        *(f"<h2>{escape(c)}</h2>{image(c, uri)}" for c, uri in drawn.items()),
        calibrated(study),
        "<h2>Expansions, and why</h2>",
        *(expansions(study, trial) for trial in study.trials),
    ]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def origin(study: Study) -> str:
    """Where the images come from, and how many there are."""
    images = study.dataset.get("images", {})
    counts = ", ".join(f"{count:,} {split}" for split, count in images.items())
    return f"Data: {study.dataset.get('source', study.dataset['name'])}" + (
        f" ({counts} images)" if counts else ""
    )


def tables(study: Study) -> list[Table]:
    """The tables of `analysis/make_table.py`."""
    seeds = study.settings[study.reference]
    return [seeds_table(study, seeds, [70, 80], paper_table()), settings_table(study)]


def figures(study: Study, asked: argparse.Namespace) -> dict[str, str]:
    """Caption → data URI of each figure that the study has."""
    drawn = {}
    for name, (draw, caption) in FIGURES.items():
        try:
            draw(study, asked)
        except StudyError:  # Nothing was swept, or too little to calibrate.
            continue
        content = (study.folder / "analysis" / f"{name}.png").read_bytes()
        drawn[caption] = f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"
    return drawn


def calibrated(study: Study) -> str:
    """The table of `analysis/calibration.py`; nothing where there are too few expansions for it."""
    try:
        rows = calibration.table(calibration.realised(study))
    except StudyError:
        return ""
    cells = rows.astype(str).to_numpy().tolist()
    listed = Table(calibration.CAPTION, list(rows.columns), cells)
    shown = table(listed, frozenset(("against",)))
    return f'{shown}<p class="note">{escape(" ".join(calibration.NOTES))}</p>'


def image(caption: str, uri: str) -> str:
    """An image without a file."""
    return f'<img alt="{escape(caption)}" src="{uri}">'


def table(content: Table, text: frozenset[str] = frozenset()) -> str:
    """The HTML of `content`; the columns `text` are aligned to the left."""
    marks = [' class="text"' if name in text else "" for name in content.head]

    def row(kind: str, cells: list[str]) -> str:
        cells = (f"<{kind}{m}>{escape(c)}</{kind}>" for m, c in zip(marks, cells, strict=True))
        return f"<tr>{''.join(cells)}</tr>"

    caption = f"<p><strong>{escape(content.caption)}</strong></p>" if content.caption else ""
    body = "\n".join(row("td", cells) for cells in content.rows)
    head = row("th", content.head)
    return (
        f'{caption}<div class="table"><table><thead>{head}</thead>\n<tbody>{body}</tbody>'
        "</table></div>"
    )


def expansions(study: Study, trial: Trial) -> str:
    """A trial's expansions, each with the reason that the criterion gave."""
    made = chosen(read_log(study.folder, "expansions", trial.key))
    state = f"{len(made)} expansion{'s' * (len(made) != 1)}, {trial.state}"
    summary = f"<summary>{escape(trial.key)}: {state}</summary>"
    if made.empty:
        return f"<details>{summary}</details>"
    rows = [[cell(value) for value in row] for row in made.itertuples(index=False)]
    listed = Table("", list(made.columns), rows)
    unfolded = " open" if trial.setting == study.reference else ""
    text = frozenset(("expansion", "reason"))
    return f"<details{unfolded}>{summary}{table(listed, text)}</details>"


def chosen(candidates: pd.DataFrame) -> pd.DataFrame:
    """The expansions that were made, in order, in the columns that the report shows."""
    if candidates.empty:
        return candidates
    made = candidates[candidates["chosen"]]
    made = made.assign(expansion=[_name(row) for row in made.itertuples()])
    shown = [name for name in COLUMNS if name in made and made[name].notna().any()]
    return made[shown].rename(columns=COLUMNS)


def _name(row) -> str:
    channels = "" if pd.isna(row.channels) else f"{row.channels:g} "
    noun = {"AddLayer": "a layer", "AddChannels": f"{channels}channels"}.get(row.kind, row.kind)
    return f"{noun} in block {row.block}"


def cell(value: object) -> str:
    """Whole numbers with separators, others with four digits; nothing for what is missing."""
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return ""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


if __name__ == "__main__":
    sys.exit(main())
