"""The statistics agree with brute force."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from written_studies import config, dominates, draw_epochs, write_study, write_trial

from secnn.analysis.logs import read_study
from secnn.analysis.summary import (
    best_epoch,
    best_of_sizes,
    mean_curve,
    parameters_reaching,
    pareto_front,
    spread,
)


@pytest.mark.parametrize("seed", range(20))
def test_pareto_front_is_what_nothing_dominates(seed: int):
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 60)
    # Few different values: ties in both, and equal points.
    points = pd.DataFrame(
        {"parameters": rng.integers(1, 12, size), "val_accuracy": rng.integers(0, 12, size) / 2}
    )
    front = pareto_front(points)
    everything = list(points.itertuples(index=False, name=None))
    on_front = list(front.itertuples(index=False, name=None))
    assert not any(dominates(a, b) for a in everything for b in on_front)
    assert set(on_front) == {b for b in everything if not any(dominates(a, b) for a in everything)}
    assert len(on_front) == len(set(on_front))
    assert front["parameters"].is_monotonic_increasing
    assert set(front.index) <= set(points.index)


@pytest.mark.parametrize("seed", range(10))
def test_targets_equal_brute_force(seed: int):
    epochs = draw_epochs(20, seed)
    rows = list(epochs[["epoch", "parameters", "val_accuracy"]].itertuples(index=False, name=None))
    # The accuracies themselves are targets too: reaching is not exceeding.
    for target in [0.1, 50, 70, 80, 100, *epochs["val_accuracy"]]:
        first = next((row for row in rows if row[2] >= target), None)
        shuffled = epochs.sample(frac=1, random_state=seed)
        assert parameters_reaching(shuffled, target) == (first and first[1])


@pytest.mark.parametrize("seed", range(10))
def test_best_epoch_is_the_first_of_the_highest(seed: int):
    epochs = draw_epochs(20, seed).round({"val_accuracy": -1})
    best = best_epoch(epochs)
    accuracies = epochs["val_accuracy"].tolist()
    assert best["epoch"] == 1 + accuracies.index(max(accuracies))
    by_size = best_of_sizes(epochs)
    assert by_size["parameters"].tolist() == sorted(set(epochs["parameters"]))
    for row in by_size.itertuples():
        same = epochs[epochs["parameters"] == row.parameters]
        assert row.val_accuracy == same["val_accuracy"].max()
        assert row.epoch == same.loc[same["val_accuracy"] == row.val_accuracy, "epoch"].min()


def test_spread_counts_what_is_there():
    values = spread([3.0, None, 5.0, float("nan"), 10.0])
    assert (values.k, values.n) == (3, 5)
    assert values.mean == pytest.approx(np.mean([3, 5, 10]), abs=1e-12)
    assert values.sd == pytest.approx(np.std([3, 5, 10], ddof=1), abs=1e-12)
    assert np.isnan(spread([7.0]).sd)
    assert (spread([None, None]).k, spread([]).n) == (0, 0)


def test_mean_curve_goes_as_far_as_every_started_trial(tmp_path: Path):
    keys = write_study(tmp_path, [config(seed=s) for s in range(3)])
    curves = [draw_epochs(9, 0), draw_epochs(5, 1)]
    for key, epochs in zip(keys, curves, strict=False):
        write_trial(tmp_path, key, epochs)
    mean = mean_curve(read_study(tmp_path).trials, "val_accuracy")
    assert mean.index.tolist() == [1, 2, 3, 4, 5]
    expected = np.mean([c["val_accuracy"][:5] for c in curves], axis=0)
    np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-12)
