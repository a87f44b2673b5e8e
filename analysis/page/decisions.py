"""What was considered, and what was chosen: the tables of a trial's decisions."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from secnn.analysis.logs import Study, Trial, read_log
from secnn.analysis.page.words import failures, state_of
from secnn.analysis.tables import Table

COLUMNS = {
    "added_parameters": ("parameters added", ""),
    "ratio": ("η/η_c", ""),
    "gain": ("gain in η", "η − η_c"),
    "gain_unbiased": (
        "gain in η",
        "η − η_c without what chance adds to both; from, to: its 95 % interval",
    ),
    "gain_low": ("from", ""),
    "gain_high": ("to", ""),
    "density": (
        "density",
        "the gain, less the penalty λ, for each parameter added, as a multiple of what the "
        "network's parameters have on average",
    ),
    "predicted_reduction": ("loss should fall by (nats)", "half the gain"),
    "realised_reduction": (
        "it fell by (nats)",
        "the loss on validation images, until the next size was finished or the cooldown (epochs "
        "after growing in which nothing is added) was over",
    ),
    "logit_change": (
        "outputs moved by (sd)",
        "the largest change of the network's outputs at the moment of growing, in their standard "
        "deviations",
    ),
}
"""Of a candidate in `logs/expansions`, as far as it is there: what it is called, and what it is."""
MOST_ROWS = 3000
"""Candidates that a page shows; those of further trials stay in the logs."""


@dataclass(frozen=True)
class Decision:
    """A question put to the criterion: after which epoch, what it chose and why, and the candidates
    among which it chose, None where the page has no room for them."""

    epoch: int
    chosen: str
    reason: str
    candidates: Table | None


@dataclass(frozen=True)
class Told:
    """A trial's decisions: those that grew it and, of those that did not, the last and how many."""

    key: str
    summary: str
    decisions: list[Decision] = field(default_factory=list)


def told(study: Study) -> list[Told]:
    """Every trial's decisions, the candidates as far as `MOST_ROWS` go."""
    room, found, lost = MOST_ROWS, [], failures(study)
    for trial in study.trials:
        rows = shown(study, trial)
        found.append(_told(trial, state_of(trial, lost), rows, room >= len(rows)))
        room -= len(rows)
    return found


def candidates(study: Study) -> pd.DataFrame:
    """The rows behind `told`, with their trial."""
    tables, room = [], MOST_ROWS
    for trial in study.trials:
        rows = shown(study, trial)
        if room >= len(rows) > 0:
            tables.append(rows.assign(trial=trial.key))
        room -= len(rows)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def shown(study: Study, trial: Trial) -> pd.DataFrame:
    """The candidates of the decisions that grew the network, and of the last other one."""
    log = read_log(study.folder, "expansions", trial.key)
    if log.empty or not {"epoch", "chosen", "kind"} <= set(log):
        return log.iloc[:0]
    grew = log.groupby("epoch")["chosen"].transform("any").astype(bool)
    declined = log.loc[~grew, "epoch"]
    last = log["epoch"] == (declined.max() if len(declined) else None)
    return log[grew | last].assign(declined=declined.nunique())


def _told(trial: Trial, state: str, rows: pd.DataFrame, room: bool) -> Told:
    made = int(rows["chosen"].sum()) if len(rows) else 0
    summary = f"{made} expansion{'s' * (made != 1)}, {state}"
    if rows.empty:
        return Told(trial.key, summary)
    declined = int(rows["declined"].iloc[0])
    if declined:
        times = f"{declined} time{'s' * (declined != 1)}"
        summary += f"; declined {times}" + "; the last is shown" * (declined > 1)
    groups = rows.groupby("epoch", sort=True)
    return Told(trial.key, summary, [_decision(int(e), group, room) for e, group in groups])


def _decision(epoch: int, rows: pd.DataFrame, room: bool) -> Decision:
    chosen = rows[rows["chosen"].astype(bool)]
    what = name(chosen.iloc[0]) if len(chosen) else "nothing"
    reasons = (chosen if len(chosen) else rows).get("reason")
    reason = "" if reasons is None else str(reasons.iloc[0])
    return Decision(epoch, what, reason, _table(rows) if room else None)


def columns_of(rows: pd.DataFrame) -> list[str]:
    """Those of `COLUMNS` that hold something; one gain, as the interval is of that without
    chance."""
    there = [c for c in COLUMNS if c in rows and rows[c].notna().any()]
    return [c for c in there if c != "gain" or "gain_unbiased" not in there]


def explained(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """What the columns that some table of `rows` has are called, and what they are."""
    used = {c for _, group in rows.groupby(["trial", "epoch"]) for c in columns_of(group)}
    return [told for column, told in COLUMNS.items() if column in used and told[1]]


def _table(rows: pd.DataFrame) -> Table:
    columns = columns_of(rows)
    lines = [
        [("● " if row["chosen"] else "") + name(row), *(cell(row[c]) for c in columns)]
        for _, row in rows.iterrows()
    ]
    return Table("", ["candidate", *(COLUMNS[c][0] for c in columns)], lines)


def name(row: pd.Series) -> str:
    """`a layer in block 1`, `8 channels in block 0`; other kinds by their own names."""
    channels = row.get("channels")
    number = "" if channels is None or pd.isna(channels) else f"{channels:g} "
    noun = {"AddLayer": "a layer", "AddChannels": f"{number}channels"}.get(row["kind"], row["kind"])
    block = row.get("block")
    return str(noun) if block is None or pd.isna(block) else f"{noun} in block {block:g}"


def cell(value: float | None) -> str:
    """Whole numbers with separators, others with three digits; nothing for what is missing."""
    if value is None or pd.isna(value):
        return ""
    number = float(value)
    return (f"{number:,.0f}" if number.is_integer() else f"{number:.3g}").replace("-", "−")
