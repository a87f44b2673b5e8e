"""The paper's table from a study's logs: `python analysis/make_table.py [OUT]`."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from secnn.analysis.logs import Study, Trial, command
from secnn.analysis.summary import (
    BEST,
    EXPANSIONS,
    FINAL_PARAMETERS,
    PARAMETERS_AT_BEST,
    TEST,
    Spread,
    measures,
    parameters_at,
    spread,
)
from secnn.commands import Parser
from secnn.files import replacing

PAPER = Path(__file__).with_name("paper_table.csv")
NOTE = (
    "sd: sample standard deviation over seeds. k of n: the mean is over the k of n trials that "
    "have the value. Paper: arXiv:2401.05686, 5 trials on CIFAR-10, where validation is the test "
    "set; mean (lowest–highest)."
)


@dataclass(frozen=True)
class Table:
    """A caption, column heads and rows of text; the first column names the rows."""

    caption: str
    head: list[str]
    rows: list[list[str]]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = Parser("table", description="The paper's table from a study's logs.")
    parser.add_argument(
        "--targets",
        type=percentage,
        nargs="+",
        default=[70, 80],
        metavar="T",
        help="validation accuracies, in per cent, whose first reaching is reported (70 80)",
    )
    return command(parser, make_table, arguments)


def percentage(text: str) -> float:
    """A number in (0, 100]."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(
            f"expected per cent above 0 and at most 100, got {text} (OUT goes before --targets)"
        )
    return value


def make_table(study: Study, asked: argparse.Namespace) -> None:
    """Write the tables to OUT/analysis, then print them: whoever reads may go, as `head` does."""
    targets = list(dict.fromkeys(asked.targets))
    seeds, paper = study.settings[study.reference], paper_table()
    tables = [seeds_table(study, seeds, targets, paper), settings_table(study)]
    text = markdown(study, tables)
    files = {
        "table.md": text,
        "table.csv": seeds_csv(study, seeds, targets, paper),
        "settings.csv": settings_csv(study, targets),
        "table.tex": latex(study, tables),
    }
    for name, content in files.items():
        with replacing(study.folder / "analysis" / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
    print(text)
    print(f"Written to {study.folder / 'analysis'}: {', '.join(files)}")


def paper_table() -> pd.DataFrame:
    """The paper's five trials by metric, without their mean."""
    return pd.read_csv(PAPER, index_col="metric").drop(columns="mean")


def seeds_table(
    study: Study, seeds: list[Trial], targets: Sequence[float], paper: pd.DataFrame
) -> Table:
    """A row a metric; a column a seed of the reference, their mean ± sd, and the paper's."""
    columns = [measures(t, targets) for t in seeds]
    beside = "paper" if study.is_cifar10 else f"paper (CIFAR-10, not {study.dataset['name']})"
    rows = [
        [
            metric,
            *(seed_cell(metric, c[metric], t) for c, t in zip(columns, seeds, strict=True)),
            spread_cell(metric, spread([c[metric] for c in columns]), seeds),
            paper_cell(metric, paper),
        ]
        for metric in seed_metrics(targets)
    ]
    head = ["", *map(seed_head, seeds), "mean ± sd", beside]
    return Table(f"Reference: {study.reference}", head, rows)


def settings_table(study: Study) -> Table:
    """A row a setting: mean ± sd over its seeds."""
    metrics = [EXPANSIONS, FINAL_PARAMETERS, BEST, PARAMETERS_AT_BEST, TEST]
    rows = []
    for setting, trials in study.settings.items():
        columns = [measures(t, []) for t in trials]
        spreads = [spread([c[metric] for c in columns]) for metric in metrics]
        cells = [spread_cell(m, s, trials) for m, s in zip(metrics, spreads, strict=True)]
        rows.append([str(setting), trial_count(trials), *cells])
    return Table("All settings, mean ± sd over seeds", ["setting", "n", *metrics], rows)


def seed_metrics(targets: Sequence[float]) -> list[str]:
    """The rows of the paper's table, and the test accuracy."""
    return [*map(parameters_at, targets), BEST, PARAMETERS_AT_BEST, TEST]


def seed_head(trial: Trial) -> str:
    """The seed, with its state unless it is finished."""
    return f"seed {trial.seed}" + ("" if trial.finished else f" ({trial.state})")


def trial_count(trials: list[Trial]) -> str:
    """The number of trials, and how many of them are unfinished."""
    unfinished = sum(not t.finished for t in trials)
    return f"{len(trials)}" + (f" ({unfinished} unfinished)" if unfinished else "")


def number(metric: str, value: float) -> str:
    """Parameters with separators, per cent with two decimals, numbers of expansions with one."""
    if metric.endswith("(%)"):
        return f"{value:.2f}"
    return f"{value:.1f}" if metric == EXPANSIONS else f"{value:,.0f}"


def missing(metric: str) -> str:
    """What stands for the value that a finished trial has not."""
    return "not reached" if metric.endswith("% validation accuracy") else "none"


def seed_cell(metric: str, value: float | None, trial: Trial) -> str:
    """A trial's value, or why there is none."""
    if value is not None:
        return number(metric, value)
    return missing(metric) if trial.finished else "not yet"


def spread_cell(metric: str, values: Spread, trials: list[Trial]) -> str:
    """`mean ± sd`, with `(k of n)` unless all trials have a value."""
    if not values.k:
        why = missing(metric) if any(t.finished for t in trials) else "not yet"
        return f"{why} (0 of {values.n})"
    cell = number(metric, values.mean)
    if values.k > 1:
        cell += f" ± {number(metric, values.sd)}"
    return cell if values.k == values.n else f"{cell} ({values.k} of {values.n})"


def paper_cell(metric: str, paper: pd.DataFrame) -> str:
    """The paper's mean and range."""
    if metric not in paper.index:
        return "not published"
    row = paper.loc[metric]
    mean, low, high = (number(metric, v) for v in (row.mean(), row.min(), row.max()))
    return f"{mean} ({low}–{high})"


def markdown(study: Study, tables: list[Table]) -> str:
    """The tables under what no output may leave out."""
    lines = [*(f"> **{mark}**\n" for mark in study.marks), f"{study.description}.\n"]
    for table in tables:
        lines += [f"**{table.caption}**\n", *pipe_table(table), ""]
    return "\n".join([*lines, NOTE]) + "\n"


def pipe_table(table: Table) -> list[str]:
    """The lines of a Markdown table, its columns aligned for a terminal."""
    cells = [[c.replace("|", r"\|") for c in row] for row in (table.head, *table.rows)]
    widths = [max(2, *map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    lines = [[r[0].ljust(widths[0]), *map(str.rjust, r[1:], widths[1:])] for r in cells]
    return [f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:])]


def latex(study: Study, tables: list[Table]) -> str:
    """The tables for LaTeX; needs the package booktabs."""
    remarks = ". ".join([*study.marks, study.description])
    parts = ["% needs \\usepackage{booktabs}"]
    for table in tables:
        lines = [" & ".join(map(escape, row)) + r" \\" for row in (table.head, *table.rows)]
        parts += [
            r"\begin{table}",
            r"\centering\small",
            rf"\caption{{{escape(f'{table.caption}. {remarks}. {NOTE}')}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}}}",
            *(r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"),
            r"\end{tabular}",
            r"\end{table}",
        ]
    return "\n".join(parts) + "\n"


SPECIAL = {
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


def seeds_csv(
    study: Study, seeds: list[Trial], targets: Sequence[float], paper: pd.DataFrame
) -> str:
    """The table of seeds, numbers unrounded."""
    columns = [measures(t, targets) for t in seeds]
    rows = []
    for metric in seed_metrics(targets):
        cells = {
            seed_head(t): seed_cell(metric, None, t) if c[metric] is None else c[metric]
            for c, t in zip(columns, seeds, strict=True)
        }
        published = paper.loc[metric] if metric in paper.index else pd.Series(dtype=float)
        printed = {"mean": published.mean(), "min": published.min(), "max": published.max()}
        beside = {f"paper_{name}": value for name, value in printed.items()}
        rows.append({"metric": metric, **cells, **statistics(columns, metric), **beside})
    return _csv(study, rows)


def settings_csv(study: Study, targets: Sequence[float]) -> str:
    """The table of settings, numbers unrounded: a row a setting and metric."""
    rows = []
    for setting, trials in study.settings.items():
        named = {"criterion": setting.criterion, "tau": setting.tau, "lam": setting.lam}
        columns = [measures(t, targets) for t in trials]
        finished = sum(t.finished for t in trials)
        for metric in columns[0]:
            row = {**named, "metric": metric, **statistics(columns, metric), "finished": finished}
            rows.append(row)
    return _csv(study, rows)


def statistics(columns: list[dict], metric: str) -> dict[str, float]:
    """Mean, sd, and how many of how many trials have a value."""
    return vars(spread([c[metric] for c in columns]))


def _csv(study: Study, rows: list[dict]) -> str:
    # A CSV file has no place for remarks but columns of its own.
    about = {"preset": study.preset, **{k: study.dataset[k] for k in ("name", "validation")}}
    about = {"dataset" if k == "name" else k: v for k, v in about.items()}
    return pd.DataFrame(rows).assign(**about, notice="; ".join(study.marks)).to_csv(index=False)


if __name__ == "__main__":
    sys.exit(main())
