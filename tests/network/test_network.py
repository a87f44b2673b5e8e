"""The network has the paper's sizes, computes what its description says, and counts itself."""

import dataclasses
import json
import random
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from secnn.growth.expansion import AddChannels, AddLayer
from secnn.network.conv.cell import readers
from secnn.network.conv.layer import Layer, added_layer
from secnn.network.network import SECNN, count_flops
from secnn.network.spec import NetworkSpec

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


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("slope", [0.01, 0.5, 1.0])
def test_pooling_before_the_activation_is_pooling_after_it(training, slope):
    layer = Layer(3, 4, bias=True, dropout=0.0, slope=slope).double().train(training)
    nn.init.normal_(layer.norm.weight)  # Negative weights as well: batch norm comes first.
    images = torch.randn(5, 3, 9, 12, dtype=torch.float64)
    pooled = layer(images, pool=True, kernel="reference")
    after = F.max_pool2d(layer(images, pool=False, kernel="reference"), 2)
    torch.testing.assert_close(pooled, after, rtol=0, atol=0 if not training else 1e-12)


def test_two_1x1_convolutions_are_one_of_the_concatenation(make_network):
    head = make_network().head
    last, first = (torch.randn(2, c, 3, 5, dtype=torch.float64) for c in (5, 3))
    weight = torch.cat([head.last.weight, head.skip.weight], 1)
    joined = F.conv2d(torch.cat([last, first], 1), weight, head.last.bias)
    torch.testing.assert_close(head.last(last) + head.skip(first), joined)


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


# --- the specification --------------------------------------------------------------------


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


# --- readers, slopes, operations ----------------------------------------------------------


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


def test_the_slope_acts_on_negative_values():
    layer = added_layer(2, slope=0.25).double().eval()
    nn.init.dirac_(layer.conv.weight)
    layer.norm.eps = 0.0
    x = torch.randn(3, 2, 6, 6, dtype=torch.float64)
    expected = torch.where(x < 0, 0.25 * x, x)
    torch.testing.assert_close(layer(x, False, "reference"), expected)


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
    network.kernel = "fused"
    before = {name: torch.clone(t) for name, t in _tensors(network)}
    count_flops(network)
    assert network.training is training
    assert all(module.training is training for module in network.modules())
    assert network.kernel == "fused"
    assert all(torch.equal(before[name], t) for name, t in _tensors(network))
    assert all(p.grad is None for p in network.parameters())


def _tensors(network):
    return [*network.named_parameters(), *network.named_buffers()]
