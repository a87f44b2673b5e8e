"""Every expansion of the starting network, and what tests of them share."""

import pytest
import torch

from secnn.growth.expansion import AddChannels, AddLayer

SIX = [*(AddLayer(b) for b in range(3)), *(AddChannels(b, 4) for b in range(3))]
GROWN = (AddLayer(0), AddChannels(1, 2), AddLayer(2))

six = pytest.mark.parametrize("expansion", SIX, ids=str)
layers = pytest.mark.parametrize("expansion", SIX[:3], ids=str)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def logits(network, images):
    return network(images)


def assert_same_state(state, before):
    assert state.keys() == before.keys()
    for name, value in before.items():
        same = torch.equal(state[name], value) if torch.is_tensor(value) else state[name] == value
        assert same, name
