"""The paper's table from a study's logs: `python analysis/make_table.py [OUT]`."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence

import pandas as pd

from secnn.analysis.logs import Study, Trial, command
from secnn.analysis.published import paper_table
from secnn.analysis.stats import Reached, Spread, spread
from secnn.analysis.summary import (
    BEST,
    EXPANSIONS,
    FINAL_PARAMETERS,
    PARAMETERS_AT_BEST,
    TEST,
    measures,
    parameters_at,
    reaching,
)
from secnn.analysis.tables import Table, latex, markdown
from secnn.commands import Parser
from secnn.files import write_text

NOTE = (
    "A size stands for the network that the trial keeps of it: that of the size's best epoch; a "
    "rung that is not over does not count. sd: sample standard deviation over seeds. k of n: k of "
    "n trials have the value. Where some did not reach a target, the median is that of Kaplan and "
    "Meier, which counts them as needing more than their largest network."
)
PAPER_NOTE = (
    "Paper: arXiv:2401.05686, 5 trials on CIFAR-10, where validation is the test set; mean "
    "(lowest–highest)."
)


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
    tables = [seeds_table(study, targets), settings_table(study)]
    text = markdown(study, tables, note(study))
    files = {
        "table.md": text,
        "table.csv": seeds_csv(study, targets),
        "settings.csv": settings_csv(study, targets),
        "table.tex": latex(study, tables, note(study)),
    }
    try:
        for name, content in files.items():
            write_text(study.folder / "analysis" / name, content)
    finally:  # A study in a folder that is only to be read has a table too.
        print(text, flush=True)
    print(f"Written to {study.folder / 'analysis'}: {', '.join(files)}")


def note(study: Study) -> str:
    """What the tables need to be read."""
    return f"{NOTE} {PAPER_NOTE}" if study.is_cifar10 else NOTE


def seeds_table(study: Study, targets: Sequence[float]) -> Table:
    """A row a metric; a column a seed of the reference, their mean ± sd, and, of a study of
    CIFAR-10, the paper's."""
    seeds, paper = study.settings[study.reference], paper_table()
    columns = [measures(t, targets) for t in seeds]
    rows = [
        [
            metric,
            *(seed_cell(metric, c[metric], t) for c, t in zip(columns, seeds, strict=True)),
            over_seeds(metric, [c[metric] for c in columns], seeds, targets),
            *([paper_cell(metric, paper)] if study.is_cifar10 else []),
        ]
        for metric in seed_metrics(targets)
    ]
    head = ["", *map(seed_head, seeds), "mean ± sd", *(["paper"] if study.is_cifar10 else [])]
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


def over_seeds(metric: str, values: list, trials: list[Trial], targets: Sequence[float]) -> str:
    """The cell of all seeds together; of a target that some did not reach, the median."""
    target = next((t for t in targets if parameters_at(t) == metric), None)
    found = spread(values)
    if target is None or found.k in (0, found.n):
        return spread_cell(metric, found, trials)
    return median_cell(reaching(trials, target))


def median_cell(found: Reached) -> str:
    """The median of what is censored: `median 11,360 (3 of 5)`, or what it is at least."""
    known = math.isfinite(found.median)
    text = f"{found.median:,.0f}" if known else f"> {found.tried:,.0f}"
    return f"median {text} ({found.cost.k} of {found.cost.n})"


def paper_cell(metric: str, paper: pd.DataFrame) -> str:
    """The paper's mean and range."""
    if metric not in paper.index:
        return "not published"
    row = paper.loc[metric]
    mean, low, high = (number(metric, v) for v in (row.mean(), row.min(), row.max()))
    return f"{mean} ({low}–{high})"


def seeds_csv(study: Study, targets: Sequence[float]) -> str:
    """The table of seeds, numbers unrounded."""
    seeds, paper = study.settings[study.reference], paper_table()
    columns, rows = [measures(t, targets) for t in seeds], []
    for metric in seed_metrics(targets):
        cells = {
            seed_head(t): seed_cell(metric, None, t) if c[metric] is None else c[metric]
            for c, t in zip(columns, seeds, strict=True)
        }
        row: dict[str, str | float | None] = {
            "metric": metric,
            **cells,
            **statistics(columns, metric),
            **medians(seeds, metric),
        }
        rows.append(row | (published(metric, paper) if study.is_cifar10 else {}))
    return _csv(study, rows)


def medians(trials: list[Trial], metric: str) -> dict[str, float]:
    """The median that counts those which did not reach the target, of such metrics."""
    words = metric.split("% validation")[0].split()
    return {"median": reaching(trials, float(words[-1])).median} if "% val" in metric else {}


def published(metric: str, paper: pd.DataFrame) -> dict[str, str | float | None]:
    """The paper's mean and range."""
    row = paper.loc[metric] if metric in paper.index else pd.Series(dtype=float)
    return {"paper_mean": row.mean(), "paper_min": row.min(), "paper_max": row.max()}


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
    """Mean, sd, how many of how many trials have a value, and the mean's 95 % interval."""
    found = vars(spread([c[metric] for c in columns]))
    return {{"low": "low_95", "high": "high_95"}.get(k, k): v for k, v in found.items()}


def _csv(study: Study, rows: list[dict]) -> str:
    # A CSV file has no place for remarks but columns of its own.
    about = {"preset": study.preset, **{k: study.dataset[k] for k in ("name", "validation")}}
    about = {"dataset" if k == "name" else k: v for k, v in about.items()}
    return pd.DataFrame(rows).assign(**about, notice="; ".join(study.marks)).to_csv(index=False)


if __name__ == "__main__":
    sys.exit(main())
