"""The Kronecker-factored Fisher agrees with dense oracles, also of what could be added."""

import copy

import pytest
import torch
from dense_oracles import (
    NORMS,
    kronecker,
    mean_of_pairs,
    observed,
    of_norm,
    positions,
    through,
)
from torch import nn
from toy_networks import draw, make

from secnn.growth.candidates import score_candidates
from secnn.growth.expansion import AddChannels, AddLayer
from secnn.network import surgery
from secnn.network.network import SECNN
from secnn.score import gradients
from secnn.score.fisher import FISHERS, kfac
from secnn.score.gradients import RULES
from secnn.score.parts import Linear

GROWTH = (AddLayer(0), AddChannels(1, 2), AddLayer(2))


def of_weights(module, x, s, inputs, outputs):
    """The old block, and the blocks of new rows and of new columns."""
    met, sent = positions(module, x, s)
    size = module.kernel_size[0] * module.kernel_size[1] if isinstance(module, nn.Conv2d) else 1
    ones = met.new_ones(*met.shape[:2], int(module.bias is not None))
    old, new = met[..., : inputs * size], met[..., inputs * size :]
    yield kronecker(torch.cat([old, ones], 2), sent[..., :outputs])
    yield kronecker(torch.cat([met, ones], 2), sent[..., outputs:])
    yield kronecker(new, sent[..., :outputs])


def pairs_by_hand(network, images, labels, damping, before=None):
    """K = G F⁻¹ Gᵀ with every block of F written out; `before` tells what is new."""
    total, old = 0, dict((before or network).named_modules())
    for name, (module, x, s) in observed(network, images, labels).items():
        if isinstance(module, NORMS):
            blocks = of_norm(module, x, s)
        else:
            outputs, inputs = old.get(name, module).weight.shape[:2]
            blocks = of_weights(module, x, s, inputs, outputs)
        total = total + sum(through(*block, damping) for block in blocks)
    return total


@pytest.mark.parametrize("damping", [1e-6, 1e-2, 10.0])
@pytest.mark.parametrize("growth", [(), GROWTH], ids=["start", "grown"])
def test_the_score_is_that_of_the_kronecker_products(growth, damping, make_network, draw_images):
    network = make_network(growth, channels=(2, 3, 2), units=4, image_size=(8, 11))
    images, labels = draw_images(network, 12)
    pairs = pairs_by_hand(copy.deepcopy(network), images, labels, damping)
    assert kfac(network, images, labels, damping) == pytest.approx(pairs.mean().item(), rel=1e-7)
    found = kfac(network, images, labels, damping, unbiased=True)
    assert found == pytest.approx(mean_of_pairs(pairs), rel=1e-6)


@pytest.mark.parametrize("chunk", [1, 3, 13])
def test_chunks_do_not_change_the_score(chunk, make_network, draw_images, monkeypatch):
    network = make_network(GROWTH)
    images, labels = draw_images(network, 13)
    expected = kfac(network, images, labels, 1e-4)
    monkeypatch.setattr(gradients, "CHUNK", chunk)
    assert kfac(network, images, labels, 1e-4) == pytest.approx(expected, rel=1e-9)


def test_a_rule_s_single_group_may_go_without_its_dimension(monkeypatch):
    class Plain(Linear):
        def factors(self):
            return tuple(factor.squeeze(0) for factor in super().factors())

    network, given = make("linear at positions"), draw()
    expected = kfac(network, *given, 1e-3)
    monkeypatch.setitem(RULES, nn.Linear, Plain.of)
    assert kfac(network, *given, 1e-3) == pytest.approx(expected, rel=1e-12)


def linear(inputs, classes, scale):
    network = nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes)).double()
    with torch.no_grad():
        network[1].weight.mul_(scale)
        network[1].bias.mul_(scale)
    return network


def test_it_is_exact_for_one_sample_of_a_linear_layer():
    """g gᵀ = s sᵀ ⊗ a aᵀ."""
    network, image, label = linear(6, 3, 1.0), torch.randn(1, 1, 2, 3).double(), torch.tensor([1])
    expected = FISHERS["exact"](network, image, label, 1e-2)
    assert kfac(network, image, label, 1e-2) == pytest.approx(expected, rel=1e-9)


def test_it_is_exact_where_input_and_output_gradient_are_independent():
    """With zero weights s depends on the label alone: every image comes with the same labels."""
    network, images = linear(6, 3, 0.0), torch.randn(5, 1, 2, 3, dtype=torch.float64)
    labels = torch.tensor([0, 0, 1]).repeat(5)
    images = images.repeat_interleave(3, 0)
    expected = FISHERS["exact"](network, images, labels, 1e-2)
    assert kfac(network, images, labels, 1e-2) == pytest.approx(expected, rel=1e-9)
    # The diagonal leaves out that inputs are correlated.
    assert FISHERS["diagonal"](network, images, labels, 1e-2) != pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("growth", [(), GROWTH], ids=["start", "grown"])
@pytest.mark.parametrize("block", [0, 1, 2])
def test_new_channels_are_blocks_of_their_own(
    growth, block, make_network, draw_images, monkeypatch
):
    """New rows read all channels, new columns the new ones; the noise moves no activation."""
    monkeypatch.setattr(surgery, "NOISE", 1e-7)
    network, damping = make_network(growth), 1e-24
    images, labels = draw_images(network, 24)
    expansion = AddChannels(block, 3)
    _, (found,) = score_candidates(
        network, images, labels, [expansion], fisher="kfac", damping=damping, seed=5
    )
    grown = copy.deepcopy(network)
    expansion.apply(grown, images=images, generator=torch.Generator().manual_seed(5))
    pairs = pairs_by_hand(grown, images, labels, damping, network)
    assert found.score == pytest.approx(pairs.mean().item(), rel=1e-3)
    without = pairs_by_hand(network, images, labels, damping)
    assert found.gain == pytest.approx((pairs - without).mean().item(), rel=1e-3)
    gain = mean_of_pairs(pairs) - mean_of_pairs(without)
    assert found.gain_unbiased == pytest.approx(gain, rel=1e-3, abs=1e-4)


def test_float32_is_exact_to_its_precision(make_network, draw_images):
    exact = make_network(GROWTH)
    images, labels = draw_images(exact, 30)
    single = SECNN(exact.spec)
    single.load_state_dict(exact.state_dict())
    expected = kfac(exact, images, labels, 1e-6)
    assert kfac(single, images.float(), labels, 1e-6) == pytest.approx(expected, rel=1e-3)
