"""Operations are counted as written out by hand, and counting leaves no trace."""

import pytest
import torch
from network_shapes import GROWTH, shapes

from secnn.network.network import SECNN, count_flops


@shapes
def test_operations_are_two_for_each_multiplication(fields):
    network = SECNN(**fields)
    assert count_flops(network) == _multiplications(network.spec) * 2


def _multiplications(spec):
    """Of one image: a 3×3 convolution at every pixel before its block's pooling, then the head."""
    total, inputs = 0, spec.input_channels
    height, width = spec.image_size
    for channels, layers in zip(spec.channels, spec.layers, strict=True):
        total += height * width * 9 * channels * (inputs + (layers - 1) * channels)
        inputs, height, width = channels, height // 2, width // 2
    total += height * width * spec.maps * (spec.channels[-1] + spec.channels[0])
    total += spec.maps * height * width * spec.units
    return total + spec.units * spec.classes


def test_operations_of_a_grown_network(make_network):
    network = make_network(GROWTH)
    assert count_flops(network) == 2 * _multiplications(network.spec)


@pytest.mark.parametrize("training", [True, False])
def test_counting_operations_leaves_the_network_as_it_was(training, make_network):
    network = make_network(GROWTH).train(training)
    network.head.train(not training)
    modes = [module.training for module in network.modules()]
    network.kernel = "fused"
    before = {name: torch.clone(t) for name, t in _tensors(network)}
    count_flops(network)
    assert [module.training for module in network.modules()] == modes
    assert network.kernel == "fused"
    assert all(torch.equal(before[name], t) for name, t in _tensors(network))
    assert all(p.grad is None for p in network.parameters())


def _tensors(network):
    return [*network.named_parameters(), *network.named_buffers()]
