"""A layer's pooling, dropout and slope, and how the slope is lowered."""

from itertools import pairwise

import pytest
import torch
from network_shapes import GROWTH
from torch import nn
from torch.nn import functional as F

from secnn.growth.expansion import AddLayer
from secnn.network.conv.layer import Layer, added_layer
from secnn.network.network import SECNN

# --- one layer ----------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("slope", [0.01, 0.5, 1.0])
def test_pooling_before_the_activation_is_pooling_after_it(training, slope):
    layer = Layer(3, 4, bias=True, dropout=0.0, slope=slope).double().train(training)
    nn.init.normal_(layer.norm.weight)  # Negative weights as well: batch norm comes first.
    images = torch.randn(5, 3, 9, 12, dtype=torch.float64)
    pooled = layer(images, pool=True, kernel="reference")
    after = F.max_pool2d(layer(images, pool=False, kernel="reference"), 2)
    torch.testing.assert_close(pooled, after, rtol=0, atol=0 if not training else 1e-12)


def test_an_added_layer_has_neither_bias_nor_dropout():
    network = SECNN(layers=(3, 2, 1))
    for block in network.blocks:
        first, *added = block.layers
        assert first.conv.bias is not None
        assert first.dropout == 0.1
        assert all(layer.conv.bias is None and layer.dropout == 0 for layer in added)


def test_dropout_zeroes_whole_channels_while_training_only():
    network = SECNN(dropout=0.3, channels=(64,), layers=(2,))
    images = torch.randn(50, 3, 32, 32)
    layer = network.blocks[0].layers[0]
    flat = layer(images, False, "reference").flatten(2).std(2) < 1e-6
    assert flat.float().mean().item() == pytest.approx(0.3, abs=0.03)  # 3,200 draws: σ = 0.008
    network.eval()
    assert (layer(images, False, "reference").std((2, 3)) > 1e-6).all()
    assert torch.equal(network(images), network(images))


def test_dropout_keeps_the_mean():
    layer = Layer(1, 256, bias=True, dropout=0.5, slope=1.0)
    nn.init.zeros_(layer.conv.weight)
    nn.init.ones_(layer.conv.bias)
    seen = []
    layer.norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    layer(torch.zeros(20, 1, 4, 4), False, "reference")
    assert set(seen[0].unique().tolist()) == {0.0, 2.0}


def test_the_slope_acts_on_negative_values():
    layer = added_layer(2, slope=0.25).double().eval()
    nn.init.dirac_(layer.conv.weight)
    layer.norm.eps = 0.0
    x = torch.randn(3, 2, 6, 6, dtype=torch.float64)
    expected = torch.where(x < 0, 0.25 * x, x)
    torch.testing.assert_close(layer(x, False, "reference"), expected)


# --- annealing ----------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [1, 3, 7, 10, 49])
@pytest.mark.parametrize("final", [0.01, 0.2, 1.0])
def test_slopes_reach_the_network_s_in_exactly_the_given_epochs(epochs, final):
    network = SECNN(layers=(1, 2, 1), negative_slope=final)
    starting = [layer for block in network.blocks for layer in block.layers]
    AddLayer(1).apply(network)
    layer = network.blocks[1].layers[-1]
    assert layer.slope == 1.0
    slopes = [layer.slope]
    for _ in range(epochs):
        assert final == 1 or layer.slope > final + 1e-6
        network.anneal_slopes(epochs)
        slopes.append(layer.slope)
    assert layer.slope == pytest.approx(final, abs=1e-12)
    steps = [before - after for before, after in pairwise(slopes)]
    assert steps == pytest.approx([(1 - final) / epochs] * epochs, abs=1e-12)
    network.anneal_slopes(epochs)
    assert layer.slope == pytest.approx(final, abs=1e-12)
    assert layer.slope >= final
    assert all(other.slope == final for other in starting)


def test_without_a_cooldown_the_slope_is_final_at_once():
    network = SECNN()
    AddLayer(0).apply(network)
    network.anneal_slopes(0)
    assert network.blocks[0].layers[1].slope == pytest.approx(0.01)


def test_two_added_layers_are_annealed_each_on_its_way():
    network = SECNN()
    AddLayer(0).apply(network)
    network.anneal_slopes(2)
    AddLayer(2).apply(network)
    network.anneal_slopes(2)
    slopes = [layer.slope for block in network.blocks for layer in block.layers]
    assert slopes == pytest.approx([0.01, 0.01, 0.01, 0.01, 0.505])


def test_the_slope_is_part_of_the_state(make_network):
    network = make_network(GROWTH)
    slopes = [layer.slope for block in network.blocks for layer in block.layers]
    assert len(set(slopes)) > 1
    fresh = SECNN(network.spec).double()
    fresh.load_state_dict(network.state_dict())
    assert [layer.slope for block in fresh.blocks for layer in block.layers] == slopes
