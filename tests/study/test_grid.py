"""A study's trials: the reference seeds, the sweeps around it, and the controls."""

import dataclasses

import pytest

from secnn.study.grid import plan, trial_key
from secnn.training.config import TrialConfig
from secnn.training.presets import PRESETS

REFERENCE = TrialConfig(tau=2.0, lam=0.0, seed=3)


def test_keys_are_the_readable_ones():
    assert trial_key(REFERENCE) == "criterion=natural,tau=2,lam=0,seed=3"
    never = dataclasses.replace(REFERENCE, criterion="never")
    assert trial_key(never) == "criterion=never,seed=3"


@pytest.mark.parametrize("samples", [1, 5])
@pytest.mark.parametrize("sweep_samples", [1, 2])
def test_the_plan_has_what_was_asked_for_once(samples, sweep_samples):
    taus, lams, controls = [1.5, 2.0, 4.0], [0.0, 1e-7], ["never", "random"]
    trials = plan(REFERENCE, samples, taus, lams, sweep_samples, controls)
    reference = max(samples, sweep_samples)
    assert len(trials) == reference + sweep_samples * 3 + samples * 2
    assert all(trial_key(config) == key for key, config in trials.items())
    assert {c.seed for c in trials.values()} == set(range(3, 3 + reference))
    swept = {(c.tau, c.lam) for c in trials.values() if c.criterion == "natural"}
    assert swept == {(2.0, 0.0), (1.5, 0.0), (4.0, 0.0), (2.0, 1e-7)}


def test_no_sweep_and_no_control_leaves_the_seeds():
    assert len(plan(REFERENCE, 5, [], [], 1, [])) == 5


def test_nothing_is_swept_that_the_criterion_does_not_read():
    reference = dataclasses.replace(REFERENCE, criterion="pyramid")
    found = plan(reference, 1, [0.1, 0.7], [1e-6], 2, [])
    assert found == {"criterion=pyramid,seed=3": reference}


def test_another_rule_has_its_own_threshold():
    trials = plan(REFERENCE, 2, [], [], 1, ["natural", "density"])
    assert {(c.criterion, c.tau) for c in trials.values()} == {("natural", 2.0), ("density", 0.5)}
    assert "criterion=density,tau=0.5,lam=0,seed=4" in trials


def test_keys_tell_near_thresholds_apart():
    trials = plan(REFERENCE, 1, [1.0000001, 1.0000002], [], 1, [])
    assert len(trials) == 3


def test_the_paper_preset_is_the_papers():
    assert PRESETS["paper"].reference == TrialConfig()
