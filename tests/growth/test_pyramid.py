"""A layer and channels by turns, towards blocks each twice as wide as the one before."""

from itertools import pairwise

import pytest
from decisions import growth

from secnn.growth.candidates import Candidate, propose
from secnn.growth.controls import Pyramid
from secnn.growth.expansion import AddChannels, AddLayer
from secnn.network.network import SECNN


def grown(network, times, step=8, kinds=("AddLayer", "AddChannels")):
    """What is made of `network` in turn."""
    made = []
    for _ in range(times):
        fitting = [Candidate(e, 1) for e in propose(network, step, kinds)]
        decision = Pyramid().decide(growth(fitting, expansions=made, spec=network.spec))
        decision.expansion.apply(network)
        made.append(decision.expansion)
    return made


def test_a_layer_and_channels_by_turns():
    made = grown(SECNN(channels=(8, 8, 8)), 8)
    assert [type(e) for e in made] == [AddLayer, AddChannels] * 4
    assert [e.block for e in made[::2]] == [2, 1, 0, 2]


@pytest.mark.parametrize("blocks", [2, 3, 4])
def test_blocks_become_twice_as_wide_from_one_to_the_next(blocks):
    network = SECNN(channels=(8,) * blocks, layers=(1,) * blocks)
    grown(network, 2 * (2**blocks - 1), kinds=("AddChannels",))
    widths = network.spec.channels
    assert all(b <= 2 * a + 8 for a, b in pairwise(widths))
    assert widths[-1] >= 2 ** (blocks - 1) * 8
    # The first block waits until all others are as wide as it asks for.
    network = SECNN(channels=(8,) * blocks, layers=(1,) * blocks)
    made = grown(network, 2**blocks, kinds=("AddChannels",))
    before_first = [e.block for e in made][: [e.block for e in made].index(0)]
    assert len(before_first) == sum(2**b - 1 for b in range(1, blocks))


def test_the_other_kind_where_none_fits():
    network = SECNN(channels=(8, 8, 8), capacity=1)
    assert {type(e) for e in grown(network, 4)} == {AddChannels}
    made = grown(SECNN(channels=(8, 8, 8)), 4, kinds=("AddLayer",))
    assert made == [AddLayer(2), AddLayer(1), AddLayer(0), AddLayer(2)]
