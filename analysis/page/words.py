"""The finding of a study, in sentences made from its logs."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from secnn.analysis.logs import Setting, Study, Trial
from secnn.analysis.plot_pareto import finishes
from secnn.analysis.published import paper_table
from secnn.analysis.stats import Spread, paired, spread
from secnn.analysis.summary import BEST, TEST, ladder, measures, parameters_at, reaching
from secnn.store import forms

TARGETS = (70, 80)
"""Of CIFAR-10, in per cent; those that the paper reports."""


def finding(study: Study) -> list[str]:
    """What came out, the most important first; each a sentence or two."""
    told = headline(study)
    if study.is_cifar10:
        told += [target(begun(study), t) for t in TARGETS]
    return [sentence for sentence in told if sentence]


def headline(study: Study) -> list[str]:
    """What can be said of any study in two lines or three."""
    seeds = begun(study)
    open_ = finishes(study) and not all(t.finished for t in seeds)
    return [*progress(study), grown(seeds), accuracy(seeds, open_)]


def begun(study: Study) -> list[Trial]:
    """The reference's trials that have logged an epoch."""
    return [t for t in study.settings[study.reference] if len(t.epochs)]


def details(study: Study) -> list[str]:
    """More of it: the test set, and the controls beside the reference."""
    seeds = begun(study)
    others = [against(study, s) for s in study.settings if s.criterion != study.reference.criterion]
    return [sentence for sentence in (tested(seeds), *others) if sentence]


def progress(study: Study) -> list[str]:
    """Where a study stands that is not finished."""
    done, failed = sum(t.finished for t in study.trials), len(failures(study))
    if done == len(study.trials):
        return []
    if len(study.trials) == 1:
        return ["Its one trial failed." if failed else "Its one trial has not finished yet."]
    lost = f", {failed} failed" if failed else ""
    return [f"So far {done} of {len(study.trials)} trials have finished{lost}."]


def failures(study: Study) -> dict[str, str]:
    """Key → why, of the trials that failed."""
    unfinished = [t.key for t in study.trials if not t.finished]
    found = {key: forms.failure(study.folder, key) for key in unfinished}
    return {key: reason for key, reason in found.items() if reason is not None}


def grown(seeds: Sequence[Trial]) -> str:
    """From which to which size."""
    if not seeds:
        return "The reference has not begun yet."
    ends = [[int(t.epochs["parameters"].iloc[i]) for i in (0, -1)] for t in seeds]
    grew = [pair for pair in ends if pair[0] != pair[1]]
    if not grew:
        none = ", and none grew" if len(seeds) > 1 else " and did not grow"
        return (
            f"{count(len(seeds), 'seed')} trained{none}: {span([e[0] for e in ends])} parameters."
        )
    first, last = (span([pair[i] for pair in grew]) for i in (0, 1))
    if len(grew) == len(seeds):
        return f"{count(len(seeds), 'seed')} grew from {first} to {last} parameters."
    return f"{len(grew)} of {len(seeds)} seeds grew, from {first} to {last} parameters."


def accuracy(seeds: Sequence[Trial], open_: bool) -> str:
    """Of the smallest and the largest network; `open_`: some are still trained at a larger size."""
    ends = [e for t in seeds if (e := _ends(t)) is not None]
    if not ends:
        return "No size is finished yet."
    small, large = (spread([e[i] for e in ends]) for i in (0, 1))
    if all(e[2] == e[3] for e in ends):
        return f"Validation accuracy is {percent(small)}."
    change = spread([e[1] - e[0] for e in ends])
    more = "more" if change.mean >= 0 else "less"
    return (
        f"Validation accuracy is {percent(small)} at the smallest size and {percent(large)} at the "
        f"largest{' that is finished' * open_}: {difference(change)} {more}."
    )


def _ends(trial: Trial) -> tuple[float, float, int, int] | None:
    rows = ladder(trial)
    if rows.empty:
        return None
    first, last = rows.iloc[0], rows.iloc[-1]
    small, large = first["val_accuracy"], last["val_accuracy"]
    return float(small), float(large), int(first["parameters"]), int(last["parameters"])


def target(seeds: Sequence[Trial], per_cent: float) -> str:
    """With how many parameters it is reached, and what the paper needs."""
    found = reaching(seeds, per_cent)
    paper = paper_table().loc[parameters_at(per_cent)].mean()
    beside = f"; the paper needs {paper:,.0f}."
    if not found.cost.k:
        yet = " yet" if not all(t.finished for t in seeds) else ""
        return f"No seed has reached {per_cent:g} %{yet}{beside}" if seeds else ""
    if found.cost.k == found.cost.n:
        return f"{per_cent:g} % is first reached with {mean(found.cost)} parameters{beside}"
    known = found.median < float("inf")
    median = f"the median is {found.median:,.0f}" if known else "the median is beyond that"
    rest = "the others" if found.cost.n - found.cost.k > 1 else "the other"
    return (
        f"{per_cent:g} % is reached by {found.cost.k} of {found.cost.n} seeds, at "
        f"{mean(found.cost)} parameters; with {rest} counted as needing more, {median}"
        f"{beside}"
    )


def tested(seeds: Sequence[Trial]) -> str:
    """The test accuracy, read once at the end."""
    found = spread([measures(t, [])[TEST] for t in seeds])
    which = f" ({found.k} of {found.n} seeds)" * (found.k < found.n)
    return f"On test images the best epoch's network has {percent(found)}{which}." * bool(found.k)


def against(study: Study, other: Setting) -> str:
    """A control beside the reference, seed by seed, by the best network of each trial that is
    finished."""
    best = [
        {t.seed: measures(t, [])[BEST] for t in study.settings[s] if t.finished}
        for s in (study.reference, other)
    ]
    found = paired(*best)
    if other == study.reference or not found.k:
        return ""
    seeds = f"{found.k} seeds" if found.k > 1 else "seed"
    if abs(found.mean) < 0.05:
        known = found.enough and found.half >= 0.05
        within = f" (within {found.half:.1f} points)" if known else ""
        far = f"as good{within} as"
    else:
        far = f"{difference(found)} {'above' if found.mean > 0 else 'below'}"
    return f"Of the same {seeds}, the reference's best network is {far} that of {other}."


def difference(found: Spread) -> str:
    """`1.2 points (0.4 to 2.0)`, the 95 % interval, without the sign of the mean."""
    sign = -1 if found.mean < 0 else 1
    size = f"{abs(found.mean):.1f} points"
    if not found.enough:
        return f"{size} ({'two seeds' if found.k == 2 else 'one seed'})"
    low, high = sorted((sign * found.low, sign * found.high))
    chance = ", which may be chance" if low <= 0 <= high else ""
    return f"{size} ({low:.1f} to {high:.1f}{chance})".replace("-", "−")


def mean(found: Spread, unit: str = "", digits: int = 0) -> str:
    """`17,900 ± 1,200`, half of the 95 % interval if there are enough seeds, or the value that all
    seeds have; a dash for none."""
    if not found.k:
        return "–"
    half = f" ± {found.half:,.{digits}f}" if found.enough and found.half > 0 else ""
    return f"{found.mean:,.{digits}f}{half}{unit}"


def percent(found: Spread) -> str:
    """The `mean` with one decimal."""
    return mean(found, " %", 1)


def span(numbers: Sequence[int]) -> str:
    """`9,024`, or `9,024–11,360`."""
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def count(number: int, noun: str) -> str:
    """`1 seed`, `5 seeds`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def states(study: Study) -> pd.DataFrame:
    """A row a trial: what it is, how far it has come, and why it failed."""
    lost = failures(study)
    rows = []
    for trial in study.trials:
        found = measures(trial, [])
        state = state_of(trial, lost)
        rows.append((trial.key, state, len(trial.epochs), *found.values()))
    return pd.DataFrame(rows, columns=["trial", "state", "epochs", *measures(study.trials[0], [])])


def state_of(trial: Trial, lost: dict[str, str]) -> str:
    """`finished`, `epoch 7/15`, `not started`, or why it failed, if `failures` knows."""
    return (
        f"failed at epoch {len(trial.epochs)}: {lost[trial.key]}"
        if trial.key in lost
        else trial.state
    )
