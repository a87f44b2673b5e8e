"""The statistics agree with brute force, with scipy, and with what must hold for any values."""

import itertools

import numpy as np
import pytest
from scipy import integrate
from scipy import stats as scipy_stats
from written_studies import dominates

from secnn.analysis import stats

SEEDS = range(12)


def draw_ladder(seed: int, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Costs and accuracies in no order, few of them different: ties in both, and equal points."""
    rng = np.random.default_rng(seed)
    size = count or rng.integers(1, 40)
    return rng.integers(1, 12, size) * 1000.0, rng.integers(0, 12, size) / 2 + 60


@pytest.mark.parametrize("seed", SEEDS)
def test_the_front_is_what_nothing_dominates(seed: int):
    costs, values = draw_ladder(seed)
    points = list(zip(costs, values, strict=True))
    on = stats.front(costs, values)
    front = [points[i] for i in on]
    assert set(front) == {b for b in points if not any(dominates(a, b) for a in points)}
    assert len(set(front)) == len(front)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(front))
    assert all(i == points.index(points[i]) for i in on), "of equal ones the first"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_step_curve_is_the_best_that_a_budget_buys(seed: int):
    costs, values = draw_ladder(seed)
    budgets = np.concatenate([costs, costs - 1, [1e9]])
    found = stats.best_within(costs, values, budgets)
    for budget, best in zip(budgets, found, strict=True):
        affordable = values[costs <= budget]
        assert best == affordable.max() if len(affordable) else np.isnan(best)


@pytest.mark.parametrize("seed", SEEDS)
def test_hypervolume_and_area_are_integrals_of_the_step_curve(seed: int):
    costs, values = draw_ladder(seed)
    most, least = 9500.0, 62.2
    grid = np.linspace(3, np.log10(most), 200_001)
    curve = stats.best_within(costs, values, 10**grid)
    above = np.maximum(0, np.nan_to_num(curve, nan=0.0) - least)
    expected = integrate.trapezoid(above, grid)
    assert stats.hypervolume(costs, values, most, least) == pytest.approx(expected, abs=2e-3)
    low = float(costs.min())
    if low < most:
        mean = curve[grid >= np.log10(low)].mean()
        assert stats.log_area(costs, values, low, most) == pytest.approx(mean, abs=2e-3)
    assert np.isnan(stats.log_area(costs, values, low - 1, most))
    assert np.isnan(stats.log_area(costs, values, most, most))


@pytest.mark.parametrize("seed", SEEDS)
def test_another_network_never_lowers_the_hypervolume(seed: int):
    costs, values = draw_ladder(seed, 20)
    volumes = [stats.hypervolume(costs[:n], values[:n], 9500, 60) for n in range(1, 21)]
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(volumes))
    worse = stats.hypervolume([*costs, costs[0] + 1], [*values, values[0] - 1], 9500, 60)
    assert worse == pytest.approx(volumes[-1], abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_intervals_are_those_of_scipy(seed: int):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=rng.integers(2, 12))
    expected = scipy_stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert stats.t_interval(values) == pytest.approx(tuple(expected))
    found = stats.spread([*values, None, float("nan")])
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert found.half == pytest.approx((expected.high - expected.low) / 2)
    control = dict(enumerate(rng.normal(size=len(values))))
    difference = stats.paired(dict(enumerate(values)) | {99: 1e9}, control)
    expected = scipy_stats.ttest_rel(values, list(control.values())).confidence_interval(0.95)
    assert (difference.low, difference.high) == pytest.approx(tuple(expected))
    assert difference.k == len(values), "what only one of both knows does not count"


def test_student_covers_the_mean_in_95_of_100():
    rng = np.random.default_rng(0)
    held = [low <= 3 <= high for low, high in map(stats.t_interval, rng.normal(3, 2, (4000, 5)))]
    assert np.mean(held) == pytest.approx(0.95, abs=0.012)


def test_the_bootstrap_is_scipys_and_leaves_out_what_is_not_known():
    values = np.random.default_rng(0).normal(size=25)
    own = stats.bootstrap_interval(list(values), np.mean, resamples=20_000)
    scipys = scipy_stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert own == pytest.approx(tuple(scipys), abs=0.02)
    assert own == stats.bootstrap_interval(list(values), np.mean, resamples=20_000)
    some = stats.bootstrap_interval([1, 2, 2], lambda v: np.nan if v[0] == 1 else v[0])
    assert some == (2, 2)
    assert all(np.isnan(stats.bootstrap_interval([1, 2], np.mean)))
    assert all(np.isnan(stats.bootstrap_interval([1, 2, 3], lambda v: np.nan)))


@pytest.mark.parametrize("seed", SEEDS)
def test_without_censoring_the_median_is_the_lower_median(seed: int):
    rng = np.random.default_rng(seed)
    costs = rng.integers(1, 9, rng.integers(1, 9)).tolist()
    found = stats.reached(costs, [99] * len(costs))
    assert found.median == sorted(costs)[(len(costs) - 1) // 2]
    assert (found.cost.k, found.cost.n) == (len(costs), len(costs))


@pytest.mark.parametrize("seed", SEEDS)
def test_censored_trials_raise_the_median_and_never_the_mean(seed: int):
    rng = np.random.default_rng(seed)
    true = rng.integers(5, 100, 15)
    limit = 60
    seen = [int(c) if c <= limit else None for c in true]
    found = stats.reached(seen, [limit] * 15)
    assert found.cost.k == (true <= limit).sum()
    # All are censored at one place: if half got there, the median is that of the true costs.
    known = np.sort(true)[7]
    assert found.median == (known if known <= limit else np.inf)
    if found.cost.k:
        assert found.cost.mean <= true.mean()


def kaplan_meier(times: list[tuple[float, bool]]) -> float:
    """The first time at which at most half survive: the product over events of 1 − deaths/at
    risk."""
    alive = 1.0
    for time in sorted({t for t, event in times if event}):
        risk = sum(t >= time for t, _ in times)
        alive *= 1 - sum(t == time and event for t, event in times) / risk
        if alive <= 0.5 + 1e-12:
            return time
    return np.inf


@pytest.mark.parametrize("seed", range(60))
def test_the_median_is_that_of_kaplan_and_meier_wherever_trials_are_censored(seed: int):
    rng = np.random.default_rng(seed)
    times = [(int(rng.integers(1, 7)), bool(rng.random() < 0.6)) for _ in range(rng.integers(1, 9))]
    costs = [t if event else None for t, event in times]
    limits = [t + int(event * rng.integers(3)) for t, event in times]
    found = stats.reached(costs, limits)
    assert found.median == kaplan_meier(times)
    assert found.tried == max(t for t, _ in times)


def test_a_trial_without_a_network_tells_nothing():
    assert stats.reached([10, None, None], [20, 30, None]).cost.n == 3
    assert stats.reached([10, None, None], [20, 30, None]).median == 10
    assert stats.reached([10, None, None], [20, 30, None]).tried == 30
    nothing = stats.reached([None], [None])
    assert np.isnan(nothing.median) and nothing.cost.k == 0
    assert stats.reached([None, None], [5, 9]).median == np.inf


@pytest.mark.parametrize("seed", SEEDS)
def test_the_rank_correlation_is_scipys(seed: int):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 5, 12), rng.integers(0, 5, 12)  # Ties.
    assert stats.spearman(x, y) == pytest.approx(scipy_stats.spearmanr(x, y).statistic)
    assert stats.spearman(x, x**3) == pytest.approx(1)
    assert stats.spearman(x, -x) == pytest.approx(-1)
    assert np.isnan(stats.spearman(x, np.ones(12)))
    assert np.isnan(stats.spearman([], []))


def test_the_band_is_the_mean_where_all_ladders_are():
    one = ([1000, 10_000], [60.0, 70.0])
    two = ([100, 1000, 100_000], [50.0, 64.0, 84.0])
    three = ([1000, 10_000], [62.0, 72.0])
    rows = stats.band([one, two, three])
    assert rows[:, 0].tolist() == [1000, 10_000]
    # Between its networks a ladder is straight over the logarithm: 74 at 10,000.
    np.testing.assert_allclose(rows[:, 1], [62, 72])
    for row, values in zip(rows, ((60, 64, 62), (70, 74, 72)), strict=True):
        assert tuple(row[2:]) == pytest.approx(stats.t_interval(values))
    for few in ([one], [one, three]):
        assert stats.band(few)[:, 1].tolist() == np.mean([v for _, v in few], 0).tolist()
        assert np.isnan(stats.band(few)[:, 2:]).all()
    assert stats.band([one, ([1], [2.0])]).shape == stats.band([]).shape == (0, 4)


def test_spread_counts_what_is_there():
    values = stats.spread([3.0, None, 5.0, float("nan"), 10.0])
    assert (values.k, values.n) == (3, 5)
    assert values.mean == pytest.approx(np.mean([3, 5, 10]), abs=1e-12)
    assert values.sd == pytest.approx(np.std([3, 5, 10], ddof=1), abs=1e-12)
    assert np.isnan([stats.spread([7.0]).sd, stats.spread([7.0]).half]).all()
    assert (stats.spread([None, None]).k, stats.spread([]).n) == (0, 0)
