"""Considering growth: within the budget, without a trace, and told in full."""

import copy
import dataclasses
import random

import pytest
import torch

from secnn.growth import consideration as growth
from secnn.growth.candidates import propose, score_candidates
from secnn.growth.consideration import affordable, channel_step, consider
from secnn.growth.criterion import Natural
from secnn.growth.decision import Growth
from secnn.growth.expansion import AddChannels, AddLayer
from secnn.network.network import count_flops
from secnn.score.natural import natural_expansion_score
from secnn.store.record import EpochRecord
from secnn.training import audit
from secnn.training.audit import NOT_CONSIDERED
from secnn.training.config import TrialConfig

GAINS = ("gain", "gain_unbiased", "gain_low", "gain_high", "gain_per_parameter", "density")
GAINS += ("predicted_reduction",)
LOSSES = [2.0, 1.5, 1.2, 1.1, 1.0]
CONFIG = TrialConfig(tau=1.01, channel_steps=(2, 4), score_samples=20)


# --- the budget ---------------------------------------------------------------------------


def test_without_a_budget_all_that_fits_is_affordable(network):
    assert affordable(network, CONFIG, 3) == propose(network, 3)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("field", ["max_parameters", "max_flops"])
def test_growing_as_long_as_possible_stays_within_the_budget(field, seed, make_network):
    rng = random.Random(seed)
    network = make_network(capacity=4, dtype=torch.float32)
    measure = count_flops if field == "max_flops" else lambda n: n.n_parameters
    budget = int(measure(network) * rng.uniform(1.2, 2))
    config = dataclasses.replace(CONFIG, **{field: budget})
    while expansions := affordable(network, config, 2):
        rng.choice(expansions).apply(network)
        assert measure(network) <= budget
    for expansion in propose(network, 2):
        grown = copy.deepcopy(network)
        expansion.apply(grown)
        assert measure(grown) > budget


@pytest.mark.parametrize("field", ["max_parameters", "max_flops"])
def test_a_budget_can_be_met_exactly(field, network):
    measure = count_flops if field == "max_flops" else lambda n: n.n_parameters
    grown = copy.deepcopy(network)
    AddLayer(1).apply(grown)
    exact = measure(grown)
    for budget, fits in ((exact, True), (exact - 1, False)):
        config = dataclasses.replace(CONFIG, **{field: budget})
        assert (AddLayer(1) in affordable(network, config, 2)) is fits


def test_two_budgets_hold_together(network):
    parameters = network.n_parameters + 200
    operations = int(count_flops(network) * 1.3)
    one = affordable(network, dataclasses.replace(CONFIG, max_parameters=parameters), 2)
    other = affordable(network, dataclasses.replace(CONFIG, max_flops=operations), 2)
    both = dataclasses.replace(CONFIG, max_parameters=parameters, max_flops=operations)
    assert affordable(network, both, 2) == [e for e in one if e in other]


def test_asking_for_what_is_affordable_leaves_no_trace(network):
    config = dataclasses.replace(CONFIG, max_flops=10**9, max_parameters=10**9)
    state, random_state = copy.deepcopy(network.state_dict()), torch.random.get_rng_state()
    affordable(network, config, 2)
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert all(
        torch.equal(value, state[name])
        for name, value in network.state_dict().items()
        if torch.is_tensor(value)
    )


# --- the channel step ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps, expected",
    [((2, 4), [2, 4, 4, 4]), ((4,), [4, 4, 4, 4]), ((1, 2, 3), [1, 2, 3, 3])],
)
def test_the_step_follows_the_channels_added_before(steps, expected):
    config = dataclasses.replace(CONFIG, channel_steps=steps)
    made = []
    for step in expected:
        assert channel_step(config, made) == step
        made += [AddLayer(0), AddLayer(1)]  # Layers do not count.
        assert channel_step(config, made) == step
        made.append(AddChannels(0, step))


# --- considering --------------------------------------------------------------------------


def test_the_paper_s_rule_decides_on_the_scores(network, scoring_set):
    config = dataclasses.replace(CONFIG, lam=1e-6, damping=1e-6)
    made = [AddChannels(1, 2)]
    considered = consider(network, config, scoring_set, made, LOSSES, seed=9)
    proposals = affordable(network, config, 4)
    current, candidates = score_candidates(
        network, *scoring_set, proposals, 1e-6, "diagonal", 1e-6, seed=9
    )
    assert considered.current == current
    assert considered.candidates == candidates
    size, spec = network.n_parameters, network.spec
    growth = Growth(LOSSES, made, current, candidates, torch.Generator(), size, spec)
    assert considered.decision == Natural(1.01).decide(growth)


@pytest.mark.parametrize("criterion", ["never", "random", "schedule", "layers-first"])
def test_controls_score_nothing(criterion, network, scoring_set, monkeypatch):
    monkeypatch.setattr(growth, "SCORERS", None)
    config = dataclasses.replace(CONFIG, criterion=criterion)
    considered = consider(network, config, scoring_set, [], LOSSES, seed=9)
    assert considered.current is None
    assert [c.expansion for c in considered.candidates] == propose(network, 2)
    for candidate in considered.candidates:
        assert candidate.score is candidate.regularized is candidate.ratio is None
        assert candidate.added_parameters == candidate.expansion.added_parameters(network)
    assert (considered.decision.expansion is None) is (criterion == "never")


@pytest.mark.parametrize("criterion", ["natural", "never", "random", "schedule"])
def test_considering_is_deterministic_and_leaves_no_trace(criterion, network, scoring_set):
    config = dataclasses.replace(CONFIG, criterion=criterion)
    spec, state = network.spec, torch.random.get_rng_state()
    first, second = (consider(network, config, scoring_set, [], LOSSES, seed=3) for _ in range(2))
    assert first == second
    assert network.spec == spec
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_was_scored_is_what_is_made(network, scoring_set):
    config = dataclasses.replace(CONFIG, tau=1e-6)
    considered = consider(network, config, scoring_set, [], LOSSES, seed=3)
    chosen = considered.decision.expansion
    images, labels = scoring_set
    chosen.apply(network, None, images, torch.Generator().manual_seed(3))
    scored = next(c for c in considered.candidates if c.expansion == chosen)
    found = natural_expansion_score(network, images, labels)
    assert found == pytest.approx(scored.score, rel=1e-2)  # The noise of 1e-4 apart.


def test_a_budget_that_is_used_up_stops_growth(network, scoring_set):
    for criterion in ("natural", "random", "schedule"):
        config = dataclasses.replace(CONFIG, criterion=criterion, max_parameters=1)
        considered = consider(network, config, scoring_set, [], LOSSES, 0)
        assert considered.decision.expansion is None
        assert audit.records(considered, 5, None) == []
        assert audit.columns(considered, None)["best_layer_ratio"] is None


# --- records ------------------------------------------------------------------------------


def test_the_columns_of_an_epoch(network, scoring_set):
    config = dataclasses.replace(CONFIG, tau=1e-6)
    considered = consider(network, config, scoring_set, [], LOSSES, 0)
    columns = audit.columns(considered, 0.004)
    layers, channels = (
        [c.ratio for c in considered.candidates if isinstance(c.expansion, kind)]
        for kind in (AddLayer, AddChannels)
    )
    assert columns == {
        "expansion": str(considered.decision.expansion),
        "eta_current": considered.current,
        "best_layer_ratio": max(layers),
        "best_channels_ratio": max(channels),
        "logit_change": 0.004,
    }
    assert columns.keys() == NOT_CONSIDERED.keys()
    assert columns.keys() <= {field.name for field in dataclasses.fields(EpochRecord)}
    assert set(NOT_CONSIDERED.values()) == {None}


def test_every_scored_candidate_has_a_record(network, scoring_set):
    for tau, change in ((1e-6, 0.004), (1e6, None)):
        config = dataclasses.replace(CONFIG, tau=tau)
        considered = consider(network, config, scoring_set, [], LOSSES, 0)
        records = audit.records(considered, 5, change)
        assert len(records) == len(considered.candidates) == 6
        chosen = considered.decision.expansion
        assert sum(r.chosen for r in records) == (chosen is not None)
        for record, candidate in zip(records, considered.candidates, strict=True):
            expansion = candidate.expansion
            assert record.epoch == 5
            assert record.kind == type(expansion).__name__
            assert record.block == expansion.block
            assert record.channels == (2 if isinstance(expansion, AddChannels) else None)
            assert record.added_parameters == candidate.added_parameters
            scores = (record.eta, record.eta_regularized, record.ratio)
            assert scores == (candidate.score, candidate.regularized, candidate.ratio)
            for name in GAINS:
                assert getattr(record, name) == getattr(candidate, name) is not None
            assert record.chosen is (expansion == chosen)
            assert record.reason == considered.decision.reason
            assert record.logit_change == (change if record.chosen else None)


@pytest.mark.parametrize(
    "settings, why",
    [({"max_parameters": 1}, "nothing fits"), ({"plateau": 2}, "has not slowed in 2 epochs")],
)
def test_nothing_is_scored_in_vain(settings, why, network, scoring_set, monkeypatch):
    monkeypatch.setattr(growth, "SCORERS", None)
    config = dataclasses.replace(CONFIG, **settings)
    found = consider(network, config, scoring_set, [], LOSSES, 0)
    assert (found.current, found.decision.expansion) == (None, None)
    assert why in found.decision.reason
    assert audit.records(found, 5, None) == []


def test_controls_have_records_without_scores(network, scoring_set):
    config = dataclasses.replace(CONFIG, criterion="schedule")
    records = audit.records(consider(network, config, scoring_set, [], LOSSES, 0), 5, 0.001)
    assert [r.chosen for r in records] == [True] + [False] * 5
    assert {r.eta for r in records} == {None}
