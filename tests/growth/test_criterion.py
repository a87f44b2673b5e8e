"""The paper's rule and the controls: every case has a defined outcome."""

import math
import random
from collections import Counter
from dataclasses import dataclass

import pytest
import torch

from secnn.growth.candidates import Candidate, propose, ratio, regularize
from secnn.growth.consideration import has_slowed
from secnn.growth.controls import ChannelsFirst, LayersFirst, Never, Random, RandomPlace, Schedule
from secnn.growth.criterion import CRITERIA, Balanced, Confident, Density, Gain, Natural, best
from secnn.growth.decision import Growth
from secnn.growth.expansion import AddChannels, AddLayer
from secnn.network.network import SECNN
from secnn.training.config import TrialConfig


def growth(candidates=(), current=1.0, epoch=12, expansions=(), seed=0, losses=None):
    generator = torch.Generator().manual_seed(seed)
    losses = losses or [1.0] * epoch
    return Growth(losses, expansions, current, list(candidates), generator, parameters=1000)


def scored(expansion, score, current=1.0, added=100, lam=0.0):
    regularized = regularize(score, lam, added)
    return Candidate(expansion, added, score, regularized, ratio(regularized, current))


def candidates(layers, channels, current=1.0):
    """Candidates with these scores for blocks 0, 1, …; None where the block takes none."""
    made = [scored(AddLayer(b), s, current) for b, s in enumerate(layers) if s is not None]
    return made + [scored(AddChannels(b, 2), s, current) for b, s in enumerate(channels)]


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


# --- rules that look at the price and at the noise ---------------------------------------------


def priced(gains, prices, margins=None, current=10.0):
    """Layers for blocks 0, 1, … with these gains η − η_c, Δp and half-widths of their interval, in
    a network of 1,000 parameters with η_c = `current`."""
    margins = margins or [0.0] * len(gains)
    return [
        Candidate(
            AddLayer(b),
            added_parameters=price,
            score=current + gain,
            regularized=current + gain,
            ratio=ratio(current + gain, current),
            gain=gain,
            gain_unbiased=gain,
            gain_low=gain - margin,
            gain_high=gain + margin,
            density=(gain / price) / (current / 1000),
        )
        for b, (gain, price, margin) in enumerate(zip(gains, prices, margins, strict=True))
    ]


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
        seen.append(Schedule().decide(growth(made, None, expansions=seen)).expansion)
    assert turns == seen == [AddLayer(0), AddLayer(1), AddLayer(2), AddLayer(0)]
    after = Balanced(1.0).decide(growth(made, 10.0, expansions=[AddLayer(1)]))
    assert after.expansion == AddLayer(0)  # The density of block 2 is 1, which is not above 1.
    assert after.reason == "next in turn of 2 with a density > tau = 1"
    assert Balanced(3.0).decide(growth(made, 10.0)) == Density(3.0).decide(growth(made, 10.0))


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


# --- controls -----------------------------------------------------------------------------

LAYERS = [AddLayer(b) for b in range(3)]
CHANNELS = [AddChannels(b, 2) for b in range(3)]


def proposals(network=None):
    network = network or SECNN()
    return [Candidate(e, e.added_parameters(network)) for e in propose(network, 2)]


def test_never():
    for epoch in range(1, 40):
        assert Never().decide(growth(proposals(), None, epoch)).expansion is None


def chi_square(criterion, drawn_from, draws, made=()):
    """How far from equally often each of `drawn_from`, and nothing else, is drawn."""
    found = Counter(
        criterion.decide(growth(proposals(), None, expansions=made, seed=seed)).expansion
        for seed in range(draws)
    )
    assert found.keys() == set(drawn_from)
    expected = draws / len(drawn_from)
    return sum((n - expected) ** 2 / expected for n in found.values())


def test_random_draws_every_candidate_equally_often():
    # χ² with 5 degrees of freedom exceeds 20.5 once in a thousand.
    assert chi_square(Random(), [*LAYERS, *CHANNELS], 1200) < 20.5


@pytest.mark.parametrize("made", range(13))
def test_a_random_place_is_a_block_for_the_schedule_s_kind(make_network, made):
    drawn_from = (LAYERS, CHANNELS)[made // 3 % 2]
    assert type(scheduled(make_network(), made + 1)[-1]) is type(drawn_from[0])
    # χ² with 2 degrees of freedom exceeds 13.8 once in a thousand.
    assert chi_square(RandomPlace(), drawn_from, 600, [LAYERS[0]] * made) < 13.8


def test_random_places_take_what_fits(make_network):
    full = scheduled(make_network(capacity=1), 9, criterion=RandomPlace)
    assert {type(e) for e in full} == {AddChannels}
    once = Counter(scheduled(make_network(capacity=2), 20, criterion=RandomPlace))
    assert [once[layer] for layer in LAYERS] == [1, 1, 1]


@pytest.mark.parametrize("control", [Random, RandomPlace])
def test_draws_are_decided_by_the_generator(control):
    made = proposals()
    drawn = [[control().decide(growth(made, None, seed=s)) for s in range(20)] for _ in range(2)]
    assert drawn[0] == drawn[1]
    state = torch.random.get_rng_state()
    control().decide(growth(made, None))
    assert torch.equal(torch.random.get_rng_state(), state)


def scheduled(network, count, shuffle=None, criterion=Schedule):
    """The first `count` expansions of a control, made one after another."""
    made = []
    for n in range(count):
        offered = proposals(network)
        if shuffle:
            shuffle(offered)
        decision = criterion().decide(growth(offered, None, n + 1, made, seed=n))
        expansion = decision.expansion
        expansion.apply(network)
        made.append(expansion)
    return made


def test_the_schedule_takes_layers_in_turn_and_then_channels(make_network):
    assert scheduled(make_network(), 12) == [*LAYERS, *CHANNELS] * 2


def test_the_schedule_depends_on_no_order_of_candidates(make_network):
    rng = random.Random(0)
    assert scheduled(make_network(), 12, rng.shuffle) == [*LAYERS, *CHANNELS] * 2


def test_full_blocks_have_no_turn(make_network):
    found = scheduled(make_network(capacity=1), 7)
    assert found == [*CHANNELS, *CHANNELS, CHANNELS[0]]
    found = scheduled(make_network(capacity=2), 12)
    assert found == [*LAYERS, *CHANNELS, *CHANNELS, *CHANNELS]


def test_a_full_block_s_turns_go_to_no_one_else(make_network):
    network = make_network(capacity=10, layers=(10, 1, 1))
    found = Counter(scheduled(network, 25))
    assert found == dict.fromkeys([*LAYERS[1:], *CHANNELS], 5)


def test_layers_first_fills_the_deepest_block_and_then_widens_in_turn(make_network):
    found = scheduled(make_network(capacity=3), 12, criterion=LayersFirst)
    layers = [AddLayer(b) for b in (2, 2, 1, 1, 0, 0)]
    assert found == [*layers, *reversed(CHANNELS), *reversed(CHANNELS)]


def test_channels_first_widens_in_turn_from_the_deepest_block(make_network):
    found = scheduled(make_network(), 7, criterion=ChannelsFirst)
    assert found == [*reversed(CHANNELS), *reversed(CHANNELS), CHANNELS[2]]


def test_what_does_not_fit_is_never_scheduled():
    rng = random.Random(0)
    for last in [*LAYERS, *CHANNELS] * 10:
        offered = rng.sample(proposals(), rng.randint(1, 6))
        decision = Schedule().decide(growth(offered, None, expansions=[last]))
        assert decision.expansion in {c.expansion for c in offered}


# --- the registry -------------------------------------------------------------------------


def test_the_registry_builds_each_criterion_from_a_config():
    config = TrialConfig(tau=1.3)
    assert CRITERIA["natural"](config) == Natural(1.3)
    assert CRITERIA["never"](config) == Never()
    assert CRITERIA["random"](config) == Random()
    assert CRITERIA["random-place"](config) == RandomPlace()
    assert CRITERIA["schedule"](config) == Schedule()


@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_decides_and_says_why(name):
    criterion = CRITERIA[name](TrialConfig())
    offered = priced([3, 1, 2], [1, 1, 1]) if criterion.scored else proposals()
    decision = criterion.decide(growth(offered, 1.0 if criterion.scored else None))
    assert decision.reason
    assert decision.expansion is None or decision.expansion in {c.expansion for c in offered}
