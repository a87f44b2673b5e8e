"""Networks of many shapes."""

import pytest

from secnn.growth.expansion import AddChannels, AddLayer

GROWTH = (AddLayer(0), AddChannels(1, 2), AddLayer(2), AddLayer(2), AddChannels(0, 3))

SHAPES = {
    "paper": {},
    "grey": {"input_channels": 1},
    "28 pixels": {"input_channels": 1, "image_size": (28, 28)},
    "not square": {"image_size": (33, 47)},
    "two classes": {"classes": 2},
    "hundred classes": {"classes": 100},
    "one block": {"channels": (5,), "layers": (2,)},
    "two blocks": {"channels": (5, 7), "layers": (1, 3)},
    "four blocks": {"channels": (3, 4, 5, 6), "layers": (2, 1, 1, 2), "image_size": (16, 31)},
    "smallest image": {"image_size": (8, 9)},
    "other head": {"maps": 3, "units": 7},
}

shapes = pytest.mark.parametrize("fields", SHAPES.values(), ids=SHAPES)
