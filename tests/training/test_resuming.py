"""A trial is decided by its configuration, and survives being stopped anywhere."""

import dataclasses
import math

import pytest
import torch
from small_trials import CONFIG, assert_same, everything, finished, untimed

from secnn import run_trial
from secnn.training.trial import Trial, TrialDiverged


def test_the_same_configuration_gives_the_same_trial(digits, whole):
    torch.manual_seed(5)  # The caller's generator must not matter,
    before = torch.get_rng_state()
    assert_same(whole, finished(Trial(CONFIG, digits)))
    assert torch.equal(before, torch.get_rng_state())  # nor be touched.


def test_another_seed_gives_another_trial(digits, whole):
    other = next(run_trial(dataclasses.replace(CONFIG, seed=1), digits))
    assert untimed(other) != whole["records"][0]


@pytest.mark.parametrize("stop", range(1, CONFIG.epochs))
def test_a_trial_stopped_after_any_epoch_goes_on_bit_for_bit(digits, whole, stop, tmp_path):
    from secnn.store import checkpoint
    from secnn.store.ladder import Folder

    trial = Trial(CONFIG, digits, ladder=Folder(tmp_path))
    for _ in range(stop):
        trial.step()
    checkpoint.save(tmp_path / "last", trial.state())
    resumed = Trial(CONFIG, digits, ladder=Folder(tmp_path))
    resumed.restore(checkpoint.read(tmp_path / "last"))
    assert_same(everything(trial), everything(resumed))
    assert_same(whole, finished(resumed))


def test_restoring_refuses_another_configuration_and_other_data(digits, first):
    state = Trial(CONFIG, digits).state()
    with pytest.raises(ValueError, match="another configuration"):
        Trial(dataclasses.replace(CONFIG, tau=3.0), digits).restore(state)
    with pytest.raises(ValueError, match="other data"):
        Trial(CONFIG, first(digits, 100)).restore(state)


def test_what_restores_in_memory_is_a_copy(digits):
    """Training on from a state moves neither its trial nor what others begin with."""
    config = dataclasses.replace(CONFIG, criterion="never")
    origin, undisturbed = Trial(config, digits), Trial(config, digits)
    origin.step(), undisturbed.step()
    state, losses = origin.state(), [origin.step().train_loss]
    for _ in range(2):
        other = Trial(config, digits)
        other.restore(state)
        losses.append(other.step().train_loss)
    assert losses == [undisturbed.step().train_loss] * 3


def test_a_new_trial_leaves_nothing_of_another_on_its_ladder(digits):
    ladder = {name: {"network": {}, "metrics": {"epoch": 1}} for name in ("mine", "best of all")}
    finished(Trial(dataclasses.replace(CONFIG, epochs=3), digits, ladder=ladder))
    other = Trial(dataclasses.replace(CONFIG, criterion="never", epochs=1), digits, ladder=ladder)
    finished(other)
    assert {content["metrics"]["epoch"] for content in ladder.values()} == {1}
    assert {"mine", "best of all"} < set(ladder)


def test_a_diverged_trial_says_when_and_keeps_its_last_state(digits):
    trial = Trial(dataclasses.replace(CONFIG, criterion="never"), digits)
    trial.step()
    with torch.no_grad():
        trial.network.head.output.bias.fill_(math.nan)
    with pytest.raises(TrialDiverged, match="epoch 2"):
        trial.step()
    assert trial.epoch == 1


def test_a_network_that_only_evaluation_breaks_is_not_kept(digits):
    trial = Trial(dataclasses.replace(CONFIG, criterion="never"), digits)
    trial.step()
    trial.network.blocks[0].layers[0].norm.running_mean.fill_(math.nan)
    kept = trial.ladder["best"]
    with pytest.raises(TrialDiverged, match="epoch 2: the validation loss is nan"):
        trial.step()
    assert trial.ladder["best"] is kept
