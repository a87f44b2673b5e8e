"""Every size is finished: the rate rises, stays and falls, and growth comes where it is zero."""

import dataclasses
import random
from itertools import pairwise

import pytest
from small_trials import assert_same, everything, finished

from secnn import TrialConfig, replay
from secnn.store import checkpoint
from secnn.training.recipe import Recipe
from secnn.training.schedule import FLOOR, Rungs
from secnn.training.trial import Trial

CONFIG = TrialConfig(
    criterion="schedule",
    schedule="rungs",
    epochs=12,
    rungs=4,
    last=0.5,
    optimizer="adamw",
    weight_decay=0.02,
    learning_rate=1e-2,
    label_smoothing=0.1,
    shift=2,
    l1=0.0,
    batch_size=64,
    channels=(4, 4, 4),
    channel_steps=(2,),
    score_samples=64,
    kernel="reference",
    precision="float32",
)


def rungs(recipe, grows=lambda number: True):
    """The lengths of the rungs of a whole trial."""
    schedule = Rungs(recipe, cooldown=0)
    schedule.go_on(0, False, grows(0))
    for epoch in range(1, recipe.epochs + 1):
        if schedule.asks(epoch):
            schedule.go_on(epoch, True, grows(len(schedule.ends)))
    ends = [0, *schedule.ends]
    return [b - a for a, b in pairwise(ends)]


@pytest.mark.parametrize("seed", range(40))
def test_rungs_share_all_epochs_and_the_last_gets_its_part(seed):
    rng = random.Random(seed)
    recipe = Recipe(
        epochs=rng.randint(1, 400), rungs=rng.randint(1, 20), last=rng.choice([0, 0.2, 0.5, 0.9])
    )
    found = rungs(recipe)
    assert sum(found) == recipe.epochs
    assert len(found) <= recipe.rungs
    last = max(1, round(recipe.last * recipe.epochs))
    assert found[-1] >= last
    assert len(set(found[:-1])) <= 1
    if recipe.epochs - last >= recipe.rungs - 1:
        assert len(found) == recipe.rungs
        assert recipe.rungs == 1 or found[-1] - last < recipe.rungs - 1


@pytest.mark.parametrize(
    ("epochs", "last", "expected"),
    [(40, 0.5, [5, 5, 5, 5, 20]), (100, 0.8, [5, 5, 5, 5, 80]), (10, 0.9, [1, 9])],
)
def test_as_many_sizes_as_asked_for(epochs, last, expected):
    assert rungs(Recipe(epochs=epochs, rungs=len(expected), last=last)) == expected


def test_what_was_added_has_its_final_form_when_the_rate_falls():
    schedule = Rungs(Recipe(epochs=10, rungs=1, fall=0.8), cooldown=0)
    schedule.go_on(0, False, False)
    assert schedule.annealing() == 2


def test_what_cannot_grow_trains_to_the_end():
    recipe = Recipe(epochs=40, rungs=5, last=0.5)
    assert rungs(recipe, lambda number: False) == [40]
    assert rungs(recipe, lambda number: number < 2) == [5, 5, 30]


def test_the_rate_rises_stays_and_falls_to_nearly_zero():
    recipe = Recipe(epochs=40, rungs=5, last=0.5, learning_rate=0.1, warmup=1.0, fall=0.6)
    schedule = Rungs(recipe, cooldown=0)
    schedule.go_on(0, False, True)
    rates = [schedule.rate(1 + i // 100)(i % 100 / 100) for i in range(500)]
    assert rates[0] == pytest.approx(FLOOR * 0.1)
    assert rates[50] == pytest.approx(0.05)
    assert set(rates[100:200]) == {0.1}
    assert rates[350] == pytest.approx(0.05)
    assert 0 < rates[499] < 0.001
    assert all(a >= b for a, b in pairwise(rates[100:]))


def test_the_criterion_is_asked_where_the_rate_is_zero_and_never_at_the_end():
    recipe = Recipe(epochs=40, rungs=5, last=0.5)
    schedule, asked = Rungs(recipe, cooldown=0), []
    schedule.go_on(0, False, True)
    for epoch in range(1, 41):
        if schedule.asks(epoch):
            asked.append(epoch)
            schedule.go_on(epoch, True, True)
    assert asked == [5, 10, 15, 20]
    assert schedule.around(10) == (5, 15)


# --- the trial ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trial(digits):
    trial = Trial(CONFIG, digits)
    finished(trial)
    return trial


def test_the_network_grows_at_the_end_of_each_rung(trial):
    assert [r.rung for r in trial.records] == [1, 1, 2, 2, 3, 3, *[4] * 6]
    assert [r.epoch for r in trial.records if r.expansion] == [2, 4, 6]
    rates = [r.learning_rate for r in trial.records if r.expansion]
    assert rates == pytest.approx([0.5 / 1.2 * CONFIG.learning_rate] * 3)


def test_each_size_is_on_the_ladder(trial):
    sizes = {r.parameters for r in trial.records}
    assert len(sizes) == 4
    assert {f"size-{size}" for size in sizes} < set(trial.ladder)


def test_what_an_expansion_brought_is_measured_from_end_to_end(trial):
    losses = [r.val_loss for r in trial.records]
    found = [r.realised_reduction for r in trial.considered if r.chosen]
    ends = [losses[i - 1] for i in (2, 4, 6, 12)]
    assert found == pytest.approx([a - b for a, b in pairwise(ends)])


@pytest.mark.parametrize("stop", [1, 2, 3, 5, 6, 11])
def test_an_interrupted_trial_goes_on_bit_for_bit(stop, trial, digits, tmp_path):
    first = Trial(CONFIG, digits)
    while first.epoch < stop:
        first.step()
    checkpoint.save(tmp_path / "last.pt", first.state())
    other = Trial(CONFIG, digits, ladder=dict(first.ladder))
    other.restore(checkpoint.read(tmp_path / "last.pt"))
    finished(other)
    assert_same(everything(other), everything(trial))


def test_it_replays(trial, tmp_path):
    checkpoint.save(tmp_path / "last.pt", trial.state())
    assert replay(tmp_path / "last.pt").spec == trial.network.spec


def test_a_recorded_step_reads_the_rate(trial, digits):
    # The CPU's twin of a CUDA graph, step by step the same numbers.
    recorded = Trial(dataclasses.replace(CONFIG, kernel="graph"), digits)
    finished(recorded)
    assert [r.val_loss for r in recorded.records] == [r.val_loss for r in trial.records]


def test_never_is_one_rung(digits):
    trial = Trial(dataclasses.replace(CONFIG, criterion="never"), digits)
    finished(trial)
    assert {r.rung for r in trial.records} == {1}


def test_weights_decay_and_others_do_not(trial):
    decays = {
        id(p): group["weight_decay"]
        for group in trial.learner.optimizer.param_groups
        for p in group["params"]
    }
    for parameter in trial.network.parameters():
        assert decays[id(parameter)] == (0.02 if parameter.dim() > 1 else 0.0)
