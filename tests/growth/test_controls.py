"""The controls: what is never, at random or in turn."""

import random
from collections import Counter

import pytest
import torch
from decisions import growth, proposals

from secnn.growth.controls import ChannelsFirst, InTurn, LayersFirst, Never, Random, RandomPlace
from secnn.growth.expansion import AddChannels, AddLayer

LAYERS = [AddLayer(b) for b in range(3)]
CHANNELS = [AddChannels(b, 2) for b in range(3)]


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


def scheduled(network, count, shuffle=None, criterion=InTurn):
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
        decision = InTurn().decide(growth(offered, None, expansions=[last]))
        assert decision.expansion in {c.expansion for c in offered}
