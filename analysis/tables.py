"""Tables as text: Markdown and LaTeX."""

from __future__ import annotations

from dataclasses import dataclass

from secnn.analysis.logs import Study


@dataclass(frozen=True)
class Table:
    """A caption, column heads and rows of text; the first column names the rows."""

    caption: str
    head: list[str]
    rows: list[list[str]]


def markdown(study: Study, tables: list[Table], note: str) -> str:
    """The tables under what no output may leave out."""
    lines = [*(f"> **{mark}**\n" for mark in study.marks), f"{study.description}.\n"]
    for table in tables:
        lines += [f"**{table.caption}**\n", *pipe_table(table), ""]
    return "\n".join([*lines, note]) + "\n"


def pipe_table(table: Table) -> list[str]:
    """The lines of a Markdown table, its columns aligned for a terminal."""
    cells = [[c.replace("|", r"\|") for c in row] for row in (table.head, *table.rows)]
    widths = [max(2, *map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    lines = [[r[0].ljust(widths[0]), *map(str.rjust, r[1:], widths[1:])] for r in cells]
    return [f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:])]


def latex(study: Study, tables: list[Table], note: str) -> str:
    """The tables for LaTeX; needs the package booktabs."""
    remarks = ". ".join([*study.marks, study.description])
    parts = ["% needs \\usepackage{booktabs}"]
    for table in tables:
        lines = [" & ".join(map(escape, row)) + r" \\" for row in (table.head, *table.rows)]
        parts += [
            r"\begin{table}",
            r"\centering\small",
            rf"\caption{{{escape(f'{table.caption}. {remarks}. {note}')}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}}}",
            *(r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"),
            r"\end{tabular}",
            r"\end{table}",
        ]
    return "\n".join(parts) + "\n"


SPECIAL: dict[str, str | int | None] = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "τ": r"$\tau$",
    "λ": r"$\lambda$",
    "±": r"$\pm$",
    "–": "--",
}


def escape(text: str) -> str:
    """`text` with LaTeX's special characters replaced."""
    return text.translate(str.maketrans(SPECIAL))
