"""A network's description: what it takes, and what survives JSON."""

import dataclasses
import json

import pytest
import torch
from network_shapes import GROWTH, shapes

from secnn.network.network import SECNN
from secnn.network.spec import NetworkSpec


@shapes
def test_a_spec_survives_json(fields):
    spec = NetworkSpec(**fields)
    assert NetworkSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_the_spec_of_a_grown_network_builds_the_same_shape(make_network):
    network = make_network(GROWTH, capacity=4, dropout=0.2, negative_slope=0.1)
    spec = NetworkSpec.from_dict(json.loads(json.dumps(network.spec.to_dict())))
    assert spec.layers == (2, 1, 3)
    assert spec.channels == (6, 6, 5)
    assert spec.capacity == 4
    rebuilt = SECNN(spec).double()
    rebuilt.load_state_dict(network.state_dict())
    images = torch.randn(3, 3, 12, 20, dtype=torch.float64)
    assert torch.equal(rebuilt.eval()(images), network.eval()(images))


def test_keywords_change_single_fields():
    spec = NetworkSpec(classes=7)
    network = SECNN(spec, channels=(4, 4, 4))
    assert network.spec == dataclasses.replace(spec, channels=(4, 4, 4))


def test_a_spec_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        NetworkSpec().classes = 3
    assert hash(NetworkSpec(channels=[16, 16, 16])) == hash(NetworkSpec())


@pytest.mark.parametrize(
    "field, value",
    [
        ("input_channels", 0),
        ("image_size", (7, 32)),
        ("image_size", (32, 7)),
        ("image_size", (32, 32, 32)),
        ("image_size", (32,)),
        ("classes", 1),
        ("channels", ()),
        ("channels", (16, 0, 16)),
        ("layers", (1, 1)),
        ("layers", (1, 1, 0)),
        ("layers", (1, 11, 1)),
        ("maps", 0),
        ("units", 0),
        ("capacity", 0),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("dropout", float("nan")),
        ("head_dropout", 1.5),
        ("negative_slope", 0.0),
        ("negative_slope", 1.1),
    ],
)
def test_a_field_out_of_range_is_named_with_its_value(field, value):
    with pytest.raises(ValueError, match=rf"^{field}: ") as error:
        NetworkSpec(**{field: value})
    assert str(error.value).endswith(f"got {value}")
    assert "\n" not in str(error.value)
