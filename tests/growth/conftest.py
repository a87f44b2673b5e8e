"""Networks to score candidates of."""

import pytest
import torch

from secnn.growth.expansion import AddChannels, AddLayer

GROWTH = (AddLayer(0), AddChannels(1, 2))


@pytest.fixture
def scoring(make_network, draw_images):
    """A network with its scoring images and labels."""
    network = make_network(GROWTH)
    return network, *draw_images(network, 24)


@pytest.fixture
def network(make_network):
    """As in a trial, grown once."""
    return make_network((AddLayer(0),), dtype=torch.float32)


@pytest.fixture
def scoring_set(network, draw_images):
    """Its scoring images and labels."""
    return draw_images(network, 20)
