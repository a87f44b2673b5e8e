"""The paper's rule, and those that look at price and noise: every case has a defined outcome."""

import math
import random
from dataclasses import dataclass

import pytest
import torch
from decisions import candidates, growth, priced, proposals, scored

from secnn.data.dataset import load_dataset
from secnn.growth.candidates import Candidate, ratio
from secnn.growth.consideration import has_slowed
from secnn.growth.controls import InTurn, Never, Pyramid, Random, RandomPlace
from secnn.growth.criterion import CRITERIA, Balanced, Confident, Density, Gain, Natural, best
from secnn.growth.expansion import AddChannels, AddLayer
from secnn.training.config import TrialConfig
from secnn.training.trial import Trial

# --- the paper's rule ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "layers, channels, expected",
    [
        ([1, 5, 3], [2, 2, 4], AddLayer(1)),
        ([1, 5, 3], [2, 6, 4], AddChannels(1, 2)),
        ([4, 4, 4], [3, 3, 3], AddLayer(0)),
        ([1, 4, 4], [3, 3, 3], AddLayer(1)),
        ([3, 3, 3], [1, 4, 4], AddChannels(1, 2)),
        ([4, 5, 4], [5, 4, 4], AddLayer(1)),
        ([3, 3, 5], [5, 5, 5], AddLayer(2)),
        ([None, 3, 4], [1, 1, 1], AddLayer(2)),
        ([None, None, None], [1, 4, 3], AddChannels(1, 2)),
        ([None, None, None], [4, 4, 4], AddChannels(0, 2)),
        ([1, 1, 1], [1, 1, 1], None),
        ([2, 2, 2], [2, 2, 2], None),
    ],
)
def test_the_better_of_the_best_layer_and_the_best_channels(layers, channels, expected):
    decision = Natural(2.0).decide(growth(candidates(layers, channels)))
    assert decision.expansion == expected


def test_the_order_of_candidates_matters_only_within_a_tie():
    rng = random.Random(0)
    for _ in range(50):
        made = candidates(rng.sample(range(9), 3), rng.sample(range(9), 3))
        expected = Natural(2.0).decide(growth(made)).expansion
        rng.shuffle(made)
        assert Natural(2.0).decide(growth(made)).expansion == expected


@pytest.mark.parametrize("seed", range(30))
def test_it_agrees_with_the_rule_written_out(seed):
    rng = random.Random(seed)
    values = [0.0, 0.5, 1.0, 2.0, 2.5, 3.0]
    layers = [rng.choice([*values, None]) for _ in range(3)]
    channels = [rng.choice(values) for _ in range(3)]
    current, tau = rng.choice([0.0, 1.0, 1.5]), rng.choice([0.5, 1.0, 2.0])
    found = Natural(tau).decide(growth(candidates(layers, channels, current), current))
    eta_l = max((s for s in layers if s is not None), default=-1.0)
    eta_i = max(channels)
    if max(eta_l, eta_i) <= tau * current:
        assert found.expansion is None
    elif eta_l >= eta_i:
        assert found.expansion == AddLayer(layers.index(eta_l))
    else:
        assert found.expansion == AddChannels(channels.index(eta_i), 2)


@pytest.mark.parametrize("tau", [0.5, 1.0, 1.7, 2.0, 4.0])
def test_the_threshold_must_be_exceeded(tau):
    current = 0.75
    at = tau * current
    for score, grows in (
        (at, False),
        (math.nextafter(at, math.inf), True),
        (math.nextafter(at, 0), False),
    ):
        decision = Natural(tau).decide(growth([scored(AddLayer(0), score, current)], current))
        assert (decision.expansion is not None) is grows


def test_the_reason_tells_ratio_and_threshold():
    decision = Natural(2.0).decide(growth(candidates([3], [1])))
    assert decision.reason == "eta/eta_c = 3 > tau = 2"
    decision = Natural(4.0).decide(growth(candidates([3], [1])))
    assert decision.reason == "eta/eta_c = 3 <= tau = 4"


def test_any_positive_score_exceeds_a_score_of_zero():
    decision = Natural(1e9).decide(growth(candidates([0, 1e-30], [0, 0], 0.0), 0.0))
    assert decision.expansion == AddLayer(1)


def test_nothing_exceeds_zero_by_being_zero():
    for tau in (1e-9, 0.5, 2.0):
        decision = Natural(tau).decide(growth(candidates([0, 0], [0, 0], 0.0), 0.0))
        assert decision.expansion is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["current", "layer", "channels"])
def test_scores_that_are_not_finite_change_nothing(bad, where):
    current = bad if where == "current" else 1.0
    layer = bad if where == "layer" else 9.0
    channels = bad if where == "channels" else 9.0
    made = [
        Candidate(AddLayer(0), 10, layer, layer, 9.0),
        Candidate(AddLayer(1), 10, 50.0, 50.0, 50.0),
        Candidate(AddChannels(0, 2), 10, channels, channels, 9.0),
    ]
    decision = Natural(2.0).decide(growth(made, current))
    assert decision.expansion is None
    assert "not finite" in decision.reason


@dataclass(frozen=True)
class Another:
    """An expansion that the paper does not have."""

    block: int


def test_the_paper_s_rule_knows_no_other_expansions():
    decision = Natural(0.1).decide(growth([scored(Another(0), 9.0)]))
    assert (decision.expansion, decision.reason) == (None, "neither a layer nor channels fit")


def test_the_penalty_alone_can_change_the_choice():
    def choice(lam):
        made = [
            scored(AddLayer(0), 5.0, added=2336, lam=lam),
            scored(AddChannels(0, 2), 4.0, added=380, lam=lam),
            scored(AddChannels(1, 2), 3.9, added=100, lam=lam),
        ]
        return Natural(2.0).decide(growth(made)).expansion

    assert choice(0.0) == AddLayer(0)
    assert choice(1e-7) == AddChannels(0, 2)
    assert choice(1e-6) == AddChannels(1, 2)
    assert choice(1e-3) is None


def test_the_best_of_a_kind_is_the_first_of_equals():
    made = candidates([1, 3, 3], [7, 7, 2])
    assert best(made, AddLayer).expansion == AddLayer(1)
    assert best(made, AddChannels).expansion == AddChannels(0, 2)
    assert best(made[3:], AddLayer) is None


# --- rules that look at the price and at the noise ----------------------------------------


def test_density_takes_the_most_for_its_price():
    made = priced([3.0, 2.0, 1.0], [300, 100, 100])
    assert Density(1.0).decide(growth(made, 10.0)).expansion == AddLayer(1)
    assert Density(2.0).decide(growth(made, 10.0)).expansion is None  # 2 is not above 2.
    reason = Density(3.0).decide(growth(made, 10.0)).reason
    assert reason == "density = 2 <= tau = 3"


def test_balanced_takes_the_next_in_turn_of_those_that_are_worth_it():
    made = priced([3.0, 2.0, 1.0], [100, 100, 100])
    turns, seen = [], []
    for _ in range(4):
        turns.append(Balanced(0.5).decide(growth(made, 10.0, expansions=turns)).expansion)
        seen.append(InTurn().decide(growth(made, None, expansions=seen)).expansion)
    assert turns == seen == [AddLayer(0), AddLayer(1), AddLayer(2), AddLayer(0)]
    after = Balanced(1.0).decide(growth(made, 10.0, expansions=[AddLayer(1)]))
    assert after.expansion == AddLayer(0)  # The density of block 2 is 1, which is not above 1.
    assert after.reason == "next in turn of 2 with a density > tau = 1"
    assert Balanced(3.0).decide(growth(made, 10.0)) == Density(3.0).decide(growth(made, 10.0))


def test_the_turn_is_that_of_any_rule():
    made = priced([3.0, 2.0, 1.0], [100, 100, 100])
    rule = CRITERIA["balanced-pyramid"](TrialConfig(tau=1.0))
    assert Pyramid().decide(growth(made, None)).expansion == AddLayer(2)
    assert rule.decide(growth(made, 10.0)).expansion == AddLayer(1)  # Block 2 is not above τ.


def test_a_score_that_refuses_nothing_grows_as_its_turn_does(first):
    """To the last bit, so that what one costs beside the other is the scores alone."""
    data, grown = first(load_dataset("digits"), 60), []
    for criterion in ("pyramid", "balanced-pyramid"):
        settings = {"cell": "separable", "schedule": "rungs", "layers": (2,), "epochs": 6}
        config = TrialConfig(**settings, criterion=criterion, tau=1e-9, batch_size=20)
        trial = Trial(config, data)
        while not trial.done:
            trial.step()
        grown.append((trial.expansions, trial.network.state_dict()))
    assert grown[0][0] == grown[1][0] != []
    for name, tensor in grown[0][1].items():
        assert torch.equal(tensor, grown[1][1][name]), name


def test_confidence_takes_the_gain_that_is_certain():
    made = priced([3.0, 2.0, 1.0], [100, 100, 100], [2.5, 0.5, 0.0])
    assert Confident(1.0).decide(growth(made, 10.0)).expansion == AddLayer(1)
    assert Confident(1.6).decide(growth(made, 10.0)).expansion is None


def test_gain_takes_the_largest_at_any_price():
    made = priced([3.0, 2.0, 1.0], [900, 100, 100], [9.0, 0.0, 0.0])
    assert Gain(1.0).decide(growth(made, 10.0)).expansion == AddLayer(0)
    assert Gain(30.0).decide(growth(made, 10.0)).expansion is None  # 3 is 30 % of 10.


@pytest.mark.parametrize("rule", [Density, Balanced, Confident, Gain])
def test_defined_outcomes(rule):
    tie = priced([2.0, 2.0], [100, 100])
    assert rule(0.1).decide(growth(tie, 10.0)).expansion == AddLayer(0)
    broken = priced([math.nan, 2.0], [100, 100])
    assert "not finite" in rule(0.1).decide(growth(broken, 10.0)).reason
    worthless = priced([-1.0, 0.0], [100, 100])
    assert rule(1e-9).decide(growth(worthless, 10.0)).expansion is None


@pytest.mark.parametrize("score", [-2.0, 0.0, 3.0, math.nan])
def test_a_ratio_to_nothing_has_the_sign_of_the_score(score):
    found = ratio(score, 0.0)
    expected = {-2.0: -math.inf, 0.0: 1.0, 3.0: math.inf}
    assert found == expected[score] if score in expected else math.isnan(found)


def test_a_plateau_is_waited_for():
    falling = [0.9**n for n in range(10)]
    assert not has_slowed(falling, 3)
    assert not has_slowed(falling[:3], 3)
    flat = [*falling, *[falling[-1] * f for f in (1.01, 0.995, 1.2)]]
    assert has_slowed(flat, 3)
    assert not has_slowed([*flat, 0.2], 3)


# --- the registry -------------------------------------------------------------------------


def test_the_registry_builds_each_criterion_from_a_config():
    config = TrialConfig(tau=1.3)
    assert CRITERIA["natural"](config) == Natural(1.3)
    assert CRITERIA["never"](config) == Never()
    assert CRITERIA["random"](config) == Random()
    assert CRITERIA["random-place"](config) == RandomPlace()
    assert CRITERIA["schedule"](config) == InTurn()


@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_decides_and_says_why(name):
    criterion = CRITERIA[name](TrialConfig())
    offered = priced([3, 1, 2], [1, 1, 1]) if criterion.scored else proposals()
    decision = criterion.decide(growth(offered, 1.0 if criterion.scored else None))
    assert decision.reason
    assert decision.expansion is None or decision.expansion in {c.expansion for c in offered}
