"""A network to score candidates of."""

import pytest

from secnn.growth.expansion import AddChannels, AddLayer

GROWTH = (AddLayer(0), AddChannels(1, 2))


@pytest.fixture
def scoring(make_network, draw_images):
    """A network with its scoring images and labels."""
    network = make_network(GROWTH)
    return network, *draw_images(network, 24)
