"""The network has the paper's sizes and computes what its description says."""

import random

import pytest
import torch
from network_shapes import GROWTH, shapes
from torch import nn
from torch.nn import functional as F

from secnn.network.conv.cell import readers
from secnn.network.network import SECNN
from secnn.network.spec import NetworkSpec


def test_the_paper_s_network_has_9024_parameters():
    assert SECNN().n_parameters == 9024


@pytest.mark.parametrize("added, parameters", [(1, 11360), (2, 13696)])
def test_the_paper_s_counts_follow_from_added_layers(added, parameters):
    assert SECNN(layers=(1 + added, 1, 1)).n_parameters == parameters
    assert SECNN(layers=(1, 1, 1 + added)).n_parameters == parameters


@shapes
def test_every_shape_has_the_counted_parameters_and_gives_logits(fields, count_parameters):
    network = SECNN(**fields)
    spec = network.spec
    assert spec == NetworkSpec(**fields)
    assert network.n_parameters == count_parameters(spec)
    for count in (2, 5):
        logits = network(torch.randn(count, spec.input_channels, *spec.image_size))
        assert logits.shape == (count, spec.classes)
        assert logits.isfinite().all()


@pytest.mark.parametrize("seed", range(20))
def test_parameters_are_counted_for_random_shapes(seed, count_parameters):
    rng = random.Random(seed)
    blocks = rng.randint(1, 4)
    spec = NetworkSpec(
        input_channels=rng.choice([1, 3]),
        image_size=(rng.randint(2**blocks, 50), rng.randint(2**blocks, 50)),
        classes=rng.choice([2, 10, 100]),
        channels=[rng.randint(1, 20) for _ in range(blocks)],
        layers=[rng.randint(1, 4) for _ in range(blocks)],
        maps=rng.randint(1, 12),
        units=rng.randint(1, 30),
    )
    assert SECNN(spec).n_parameters == count_parameters(spec)


@shapes
def test_it_computes_what_the_paper_describes(fields, make_network, draw_images, reference_logits):
    # The concatenation with one 1×1 convolution, and pooling behind the activation.
    small = {"channels": (3, 4, 5)} if "channels" not in fields else {}
    network = make_network(**(fields | small)).eval()
    images, _ = draw_images(network, 4)
    torch.testing.assert_close(network(images), reference_logits(network, images))


def test_it_computes_what_the_paper_describes_when_grown(
    make_network, draw_images, reference_logits
):
    network = make_network(GROWTH).eval()
    images, _ = draw_images(network, 4)
    torch.testing.assert_close(network(images), reference_logits(network, images))


def test_two_1x1_convolutions_are_one_of_the_concatenation(make_network):
    head = make_network().head
    last, first = (torch.randn(2, c, 3, 5, dtype=torch.float64) for c in (5, 3))
    weight = torch.cat([head.last.weight, head.skip.weight], 1)
    joined = F.conv2d(torch.cat([last, first], 1), weight, head.last.bias)
    torch.testing.assert_close(head.last(last) + head.skip(first), joined)


def test_weights_are_decided_by_torch_s_seed():
    def weights(seed):
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in SECNN().parameters()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_convolutions_are_channels_last():
    for module in SECNN(layers=(2, 2, 2)).modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
def test_consumers_are_all_who_read_a_block(blocks, draw_images, make_network):
    network = make_network(
        channels=tuple(range(3, 3 + blocks)), layers=(2,) * blocks, image_size=(16, 16)
    )
    images, _ = draw_images(network, 2)
    for b in range(blocks):
        consumers = [conv for conv, _ in readers(network, b)]
        assert all(c.in_channels == network.blocks[b].width for c in consumers)
        reached = _convolutions_that_change(network, b, images)
        assert reached == {id(c) for c in consumers}


def _convolutions_that_change(network, block, images):
    """Convolutions whose input changes with a block's output, all convolutions' outputs kept."""
    inputs, outputs = {}, {}

    def keep(module, args, output):
        inputs.setdefault(id(module), []).append(args[0])
        return outputs.setdefault(id(module), output)

    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    handles = [m.register_forward_hook(keep) for m in convolutions]
    network.eval()(images)
    handles.append(network.blocks[block].register_forward_hook(lambda m, args, output: output + 1))
    network(images)
    for handle in handles:
        handle.remove()
    return {key for key, (before, after) in inputs.items() if not torch.equal(before, after)}
