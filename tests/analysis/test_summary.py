"""The ladder that a trial keeps, and what it comes to."""

from pathlib import Path

import pandas as pd
import pytest
from written_studies import (
    PLANNED,
    config,
    dominates,
    draw_epochs,
    draw_rungs,
    write_study,
    write_trial,
)

from secnn.analysis import summary
from secnn.analysis.logs import read_study


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("draw", [draw_rungs, lambda seed: draw_epochs(20, seed)])
def test_of_each_size_the_best_epoch_is_kept(draw, seed: int):
    epochs = draw(seed).round({"val_accuracy": -1})
    kept = summary.kept(epochs.sample(frac=1, random_state=seed))
    assert kept["parameters"].tolist() == sorted(set(epochs["parameters"]))
    for row in kept.itertuples():
        same = epochs[epochs["parameters"] == row.parameters]
        assert row.val_accuracy == same["val_accuracy"].max()
        assert row.epoch == same.loc[same["val_accuracy"] == row.val_accuracy, "epoch"].min()


def test_the_rung_that_a_trial_is_in_does_not_count_yet(tmp_path: Path):
    (key,) = write_study(tmp_path, [config()])
    epochs = draw_rungs(3)
    ends = epochs.groupby("rung")["epoch"].max().tolist()
    for count in range(1, len(epochs) + 1):
        write_trial(tmp_path, key, epochs[:count])
        (trial,) = read_study(tmp_path).trials
        over = [e for e in ends if e <= count and (e < count or _over(epochs, e))]
        assert (summary.ladder(trial)["epoch"] <= max(over, default=0)).all()
        assert len(summary.ladder(trial)) == len(set(epochs["parameters"][[e - 1 for e in over]]))


def _over(epochs: pd.DataFrame, epoch: int) -> bool:
    """Whether the log tells that the rung is over, before the next has begun."""
    return pd.notna(epochs["expansion"][epoch - 1]) or epoch >= PLANNED


@pytest.mark.parametrize("seed", range(10))
def test_targets_equal_brute_force(seed: int):
    epochs = draw_epochs(20, seed)
    rows = list(epochs[["epoch", "parameters", "val_accuracy"]].itertuples(index=False, name=None))
    # The accuracies themselves are targets too: reaching is not exceeding.
    for target in [0.1, 50, 70, 80, 100, *epochs["val_accuracy"]]:
        first = next((row for row in rows if row[2] >= target), None)
        kept = summary.kept(epochs.sample(frac=1, random_state=seed))
        assert summary.parameters_reaching(kept, target) == (first and first[1])


@pytest.mark.parametrize("seed", range(10))
def test_best_epoch_is_the_first_of_the_highest(seed: int):
    epochs = draw_epochs(20, seed).round({"val_accuracy": -1})
    best = summary.best_epoch(epochs)
    accuracies = epochs["val_accuracy"].tolist()
    assert best["epoch"] == 1 + accuracies.index(max(accuracies))


@pytest.mark.parametrize("seed", range(5))
def test_the_front_leaves_out_what_has_no_cost(seed: int):
    points = summary.kept(draw_rungs(seed))
    points["multiply-adds"] = points["flops"] / 2
    half = points.assign(**{"multiply-adds": points["multiply-adds"].where(points.index % 2 == 0)})
    for cost, rows in (("parameters", half), ("multiply-adds", half[half.index % 2 == 0])):
        known = list(zip(rows[cost], rows["val_accuracy"], strict=True))
        front = summary.pareto_front(half, cost)
        found = set(zip(front[cost], front["val_accuracy"], strict=True))
        assert found == {b for b in known if not any(dominates(a, b) for a in known)}


def test_trials_that_did_not_reach_a_target_are_censored_at_their_largest(tmp_path: Path):
    keys = write_study(tmp_path, [config(seed=s) for s in range(4)])
    flat = pd.DataFrame({"epoch": [1, 2], "expansion": None})
    for key, size, accuracy in zip(keys, (100, 300, 200), (81, 82, 70), strict=False):
        write_trial(tmp_path, key, flat.assign(parameters=size, val_accuracy=float(accuracy)))
    found = summary.reaching(read_study(tmp_path).trials, 80)
    assert (found.cost.k, found.cost.n, found.cost.mean, found.tried) == (2, 4, 200, 300)
    assert found.median == 300, "of three that tell something one needs more than 200"
