"""Statistics of few seeds and of ladders of networks: pure functions from arrays to numbers.

Accuracies are in per cent; a *cost* is what a network takes, its parameters or its multiply-adds.
A *step curve* is what a ladder offers within a budget: the best accuracy of the networks that cost
no more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

CONFIDENCE = 0.95


ENOUGH = 3
"""Values from which on an interval is told: of two, Student's is 12.7 standard errors to each side,
and too few different lists are drawn for a bootstrap."""


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (NaN of fewer than two) of the `k` values that are there,
    of `n`, and the `CONFIDENCE` interval of the mean (Student's t; NaN of fewer than two)."""

    mean: float
    sd: float
    k: int
    n: int
    low: float
    high: float

    @property
    def enough(self) -> bool:
        """Whether there are `ENOUGH` values for the interval to be told."""
        return self.k >= ENOUGH

    @property
    def half(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2


def spread(values: Sequence[float | None]) -> Spread:
    """The `Spread` of `values`, where None and NaN are not there."""
    there = present(values)
    mean = float(there.mean()) if len(there) else np.nan
    sd = float(there.std(ddof=1)) if len(there) > 1 else np.nan
    return Spread(mean, sd, len(there), len(values), *t_interval(there))


def present(values: Sequence[float | None]) -> np.ndarray:
    """`values` without None and NaN."""
    numbers = np.array([np.nan if v is None else v for v in values], dtype=float)
    return numbers[~np.isnan(numbers)]


def t_interval(values: ArrayLike, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Student's interval of the mean, mean ± t·sd/√n; NaN of fewer than two values."""
    x = np.asarray(values, dtype=float)
    if len(x) < 2:
        return np.nan, np.nan
    half = stats.t.ppf((1 + confidence) / 2, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
    return float(x.mean() - half), float(x.mean() + half)


def bootstrap_interval(
    values: Sequence,
    statistic: Callable[[Sequence], float],
    resamples: int = 1000,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """Percentile interval of `statistic` over lists drawn from `values` with replacement, always
    the same ones; draws of which it is NaN do not count. NaN of fewer than `ENOUGH` values.

    Unlike `scipy.stats.bootstrap`'s, the values may be anything: here they are whole trials.
    """
    if len(values) < ENOUGH:
        return np.nan, np.nan
    draws = np.random.default_rng(0).integers(len(values), size=(resamples, len(values)))
    known = present([statistic([values[i] for i in draw]) for draw in draws])
    tails = np.array([1 - confidence, 1 + confidence]) / 2
    low, high = np.quantile(known, tails) if len(known) else (np.nan, np.nan)
    return float(low), float(high)


def paired(values: dict, control: dict) -> Spread:
    """The `Spread` of value − control over what both know, seeds as a rule."""
    both = {key: (value, control.get(key)) for key, value in values.items()}
    return spread([one - other for one, other in both.values() if None not in (one, other)])


@dataclass(frozen=True)
class Reached:
    """The cost at which trials reach a target, of which some have not reached it.

    A trial that has not says only that it would take more than its largest network: its value is
    *censored* there. `median` is that of Kaplan and Meier, which counts it as such; infinite if
    half of the trials did not reach it.

    Attributes:
        cost: `Spread` of those that did; all of the trials only if `cost.k == cost.n`, else too
            low.
        median: of all; NaN where nothing is known.
        tried: the largest cost that any trial came to; NaN where nothing is known.
    """

    cost: Spread
    median: float
    tried: float


def reached(costs: Sequence[float | None], limits: Sequence[float | None]) -> Reached:
    """`costs` holds each trial's cost at the target, None if it has not reached it; `limits` the
    cost of its largest network, None if it has none yet: such a trial tells nothing."""
    pairs = list(zip(costs, limits, strict=True))
    events = [float(c) for c, _ in pairs if c is not None]
    censored = [float(m) for c, m in pairs if c is None and m is not None]
    if not events and not censored:
        return Reached(spread(costs), np.nan, np.nan)
    survival = stats.ecdf(stats.CensoredData(events, right=censored)).sf
    below = survival.quantiles[survival.probabilities <= 0.5 + 1e-12]
    median = float(below[0]) if events and len(below) else np.inf
    return Reached(spread(costs), median, max(events + censored))


def front(costs: ArrayLike, values: ArrayLike) -> np.ndarray:
    """Indices of the Pareto front, by ascending cost: of the networks that no other dominates.

    One dominates another if it costs at most as much and has at least its value, and differs in one
    of them. Of equal ones the first stays.
    """
    cost, value = np.asarray(costs, float), np.asarray(values, float)
    order = np.lexsort((np.arange(len(cost)), -value, cost))
    best = np.maximum.accumulate(np.concatenate([[-np.inf], value[order]]))[:-1]
    return order[value[order] > best]


def best_within(costs: ArrayLike, values: ArrayLike, budgets: ArrayLike) -> np.ndarray:
    """The step curve at each of `budgets`: the highest value of what costs no more, NaN where
    nothing does."""
    on = front(costs, values)
    cost, value = np.asarray(costs, float)[on], np.asarray(values, float)[on]
    places = np.searchsorted(cost, np.asarray(budgets, float), side="right")
    return np.concatenate([[np.nan], value])[places]


def hypervolume(costs: ArrayLike, values: ArrayLike, most: float, least: float) -> float:
    """∫ max(0, s(c) − `least`) d log10 c up to the cost `most`, s the step curve: the area that the
    networks dominate, in per cent × decades; 0 for none. Higher is better."""
    on = front(costs, values)
    cost, value = np.asarray(costs, float)[on], np.asarray(values, float)[on]
    edges = np.log10(np.minimum(np.append(cost, most), most))
    return float(np.diff(edges) @ np.maximum(0, value - least))


def log_area(costs: ArrayLike, values: ArrayLike, low: float, high: float) -> float:
    """The mean over log c, from the cost `low` to `high`, of the step curve: the accuracy that a
    ladder offers for a budget drawn from there. NaN if nothing costs as little as `low`, or
    `low` is not below `high`."""
    cost = np.asarray(costs, float)
    if not len(cost) or cost.min() > low or low >= high:
        return np.nan
    inside = np.maximum(cost, low)
    return hypervolume(inside, values, high, 0.0) / float(np.log10(high / low))


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """ρ, the correlation of the ranks, equal values sharing their mean rank; NaN where either does
    not vary."""
    # Bootstraps call it by the ten thousand, of few values each: scipy's takes a hundred times as
    # long.
    a, b = (_ranks(v) - (np.size(v) + 1) / 2 for v in (x, y))
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else np.nan


def _ranks(values: ArrayLike) -> np.ndarray:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def band(
    ladders: Sequence[tuple[ArrayLike, ArrayLike]], confidence: float = CONFIDENCE
) -> np.ndarray:
    """Mean of several ladders, each its costs, ascending, and accuracies, and the mean's interval.

    Between its networks a ladder is taken as straight over log c. Returns rows (cost, mean, low,
    high) at every cost of any of them within the range that all cover; low and high are NaN of
    fewer than `ENOUGH` ladders. No rows where the ranges do not meet.
    """
    known = [(np.asarray(costs, float), np.asarray(values, float)) for costs, values in ladders]
    sizes = [costs for costs, _ in known]
    low = max((s[0] for s in sizes), default=np.inf)
    high = min((s[-1] for s in sizes), default=-np.inf)
    grid = np.unique(np.concatenate([*sizes, []]))
    grid = grid[(grid >= low) & (grid <= high)]
    rows = []
    for cost in grid:
        values = [np.interp(np.log(cost), np.log(costs), v) for costs, v in known]
        interval = t_interval(values, confidence) if len(values) >= ENOUGH else (np.nan, np.nan)
        rows.append((cost, np.mean(values), *interval))
    return np.array(rows, dtype=float).reshape(-1, 4)
