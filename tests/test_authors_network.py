"""How the authors' network grows, against statements of the facts that share no code with it."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from examples.authors_network import BoxLayer, DiracLayer, ResetChannels
from examples.authors_program import AUTHORS
from secnn import SECNN, AddChannels, AddLayer


@pytest.fixture
def start() -> SECNN:
    """The starting network, its weights and statistics as if trained."""
    network = SECNN(AUTHORS.start((3, 32, 32), 10))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point():
                tensor.add_(torch.rand(tensor.shape, generator=generator) / 10)
    return network


def optimizer_of(network: SECNN) -> torch.optim.Adam:
    """Adam after a step."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    network.train()(torch.randn(8, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    return optimizer


def tensors_of(network: SECNN) -> dict[str, torch.Tensor]:
    """Copies of its parameters and buffers."""
    both = dict(network.named_parameters()) | dict(network.named_buffers())
    return {name: tensor.detach().clone() for name, tensor in both.items()}


def is_noise(weights: torch.Tensor) -> bool:
    """Whether their standard deviation is about 1e-4."""
    return 0.7e-4 < weights.detach().std() < 1.3e-4


def remembered(network: SECNN, optimizer: torch.optim.Optimizer) -> set[str]:
    """The parameters of which the optimizer knows anything."""
    return {name for name, p in network.named_parameters() if optimizer.state.get(p)}


def trained_by(optimizer: torch.optim.Optimizer) -> set[int]:
    return {id(p) for group in optimizer.param_groups for p in group["params"]}


# --- the start ----------------------------------------------------------------------------


def test_the_start_has_9024_parameters_and_slope_0_2_everywhere():
    network = SECNN(AUTHORS.start((3, 32, 32), 10))
    assert network.n_parameters == 9024
    slopes = [layer.slope for block in network.blocks for layer in block.layers]
    assert {*slopes, network.head.slope} == {0.2}
    assert [block.layers[0].dropout for block in network.blocks] == [0.1] * 3
    assert network.head.dropout.p == 0.05


def test_the_heads_two_convolutions_are_drawn_as_one_over_32_channels():
    heads = [SECNN(AUTHORS.start((3, 32, 32), 10)).head for _ in range(20)]
    for of in (lambda h: h.last.weight, lambda h: h.skip.weight, lambda h: h.last.bias):
        drawn = torch.cat([of(head).detach().flatten() for head in heads])
        assert 0.95 < drawn.abs().max() * math.sqrt(32) <= 1.00001
        assert drawn.var().item() == pytest.approx(1 / 96, rel=0.2)


# --- a new layer --------------------------------------------------------------------------


def test_a_box_filters_output_is_the_sum_of_the_nine_pixels_around(start):
    BoxLayer(1).apply(start, generator=torch.Generator().manual_seed(0))
    image = torch.rand(1, 16, 6, 5)
    found = start.blocks[1].layers[-1].conv(image).detach()
    for row in range(6):
        for column in range(5):
            around = image[0, :, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            # 144 pixels of at most 1, each weighted by noise of 1e-4.
            assert (found[0, :, row, column] - around.sum((1, 2))).abs().max() < 0.02


def test_its_noise_is_one_number_a_pair_of_channels_and_the_identitys_nine():
    for kind, different in ((BoxLayer, 1), (DiracLayer, 9)):
        network = SECNN(AUTHORS.start((3, 32, 32), 10))
        kind(0).apply(network, generator=torch.Generator().manual_seed(0))
        weight = network.blocks[0].layers[-1].conv.weight.detach()
        assert {len(set(pair.tolist())) for pair in weight.flatten(2).flatten(0, 1)} == {different}
        clean = torch.eye(16)[:, :, None, None] * (
            torch.ones(3, 3) if kind is BoxLayer else F.pad(torch.ones(1, 1), (1, 1, 1, 1))
        )
        assert is_noise(weight - clean)


@pytest.mark.parametrize("kind", [BoxLayer, DiracLayer])
def test_a_new_layer_has_fresh_batch_norm_no_bias_and_the_slope_at_once(start, kind):
    kind(2).apply(start)
    layer = start.blocks[2].layers[-1]
    assert layer.conv.bias is None
    assert layer.slope == 0.2
    start.anneal_slopes(4)
    assert layer.slope == 0.2
    fresh = nn.BatchNorm2d(16).state_dict()
    assert all(torch.equal(fresh[name], value) for name, value in layer.norm.state_dict().items())
    assert start.spec.layers == (1, 1, 2)
    assert start.n_parameters == 9024 + 9 * 16 * 16 + 2 * 16


def test_a_new_layer_is_at_the_blocks_end_before_the_pooling(start):
    x, (first,) = torch.randn(2, 3, 32, 32), start.eval().blocks[0].layers
    before = F.leaky_relu(first.norm(first.conv(x)), 0.2)
    BoxLayer(0).apply(start.eval())
    added = start.blocks[0].layers[1]
    expected = F.max_pool2d(F.leaky_relu(added.norm(added.conv(before)), 0.2), 2)
    torch.testing.assert_close(start.blocks[0](x, "reference"), expected)


def test_ten_layers_are_added_and_an_eleventh_is_silently_not_made(start):
    for added in range(10):
        assert start.spec.layers[0] == 1 + added
        BoxLayer(0).apply(start)
    before, spec = tensors_of(start), start.spec
    assert BoxLayer(0).fits(start) and BoxLayer(0).added_parameters(start) == 0
    BoxLayer(0).apply(start)
    assert start.spec == spec and start.spec.layers == (11, 1, 1)
    torch.testing.assert_close(tensors_of(start), before, rtol=0, atol=0)


def test_the_optimizer_keeps_all_its_memory_and_trains_the_new_layer(start):
    optimizer = optimizer_of(start)
    known = remembered(start, optimizer)
    BoxLayer(0).apply(start, optimizer)
    assert remembered(start, optimizer) == known
    assert {id(p) for p in start.parameters()} == trained_by(optimizer)


# --- new channels -------------------------------------------------------------------------


def test_widening_resets_the_first_batch_norms_weights_but_not_its_statistics(start):
    old = copy.deepcopy(start.blocks[1].layers[0])
    ResetChannels(1, 4).apply(start, generator=torch.Generator().manual_seed(0))
    layer = start.blocks[1].layers[0]
    assert torch.equal(layer.norm.weight, torch.ones(20))
    assert torch.equal(layer.norm.bias, torch.zeros(20))
    assert torch.equal(layer.norm.running_mean, F.pad(old.norm.running_mean, (0, 4)))
    assert torch.equal(layer.norm.running_var, F.pad(old.norm.running_var, (0, 4), value=1.0))
    assert layer.norm.num_batches_tracked == old.norm.num_batches_tracked
    assert torch.equal(layer.conv.weight[:16], old.conv.weight)
    assert is_noise(layer.conv.weight[16:])
    assert torch.equal(layer.conv.bias, F.pad(old.conv.bias, (0, 4)))


def test_added_layers_are_padded_with_zeros_and_get_a_fresh_batch_norm(start):
    BoxLayer(1).apply(start)
    start.train()(torch.randn(4, 3, 32, 32))
    old = start.blocks[1].layers[1].conv.weight.detach().clone()
    ResetChannels(1, 4).apply(start)
    layer = start.blocks[1].layers[1]
    assert torch.equal(layer.conv.weight, F.pad(old, (0, 0, 0, 0, 0, 4, 0, 4)))
    fresh = nn.BatchNorm2d(20).state_dict()
    assert all(torch.equal(fresh[name], value) for name, value in layer.norm.state_dict().items())


def test_the_next_block_reads_new_channels_with_noise(start):
    old = start.blocks[1].layers[0].conv.weight.detach().clone()
    ResetChannels(0, 4).apply(start)
    weight = start.blocks[1].layers[0].conv.weight
    assert torch.equal(weight[:, :16], old)
    assert is_noise(weight[:, 16:])
    assert start.spec.channels == (20, 16, 16)


def columns(start: SECNN, block: int) -> tuple[list[int], list[int]]:
    """What the columns for the last and for the first block's channels were before widening `block`
    by 4: 0 to 15 were the last's, 100 to 115 the first's."""
    head = start.head
    with torch.no_grad():
        head.last.weight.copy_(torch.arange(16.0).view(1, -1, 1, 1).expand(10, -1, 1, 1))
        head.skip.weight.copy_(torch.arange(100.0, 116.0).view(1, -1, 1, 1).expand(10, -1, 1, 1))
    ResetChannels(block, 4).apply(start)
    return tuple(conv.weight[0].flatten().int().tolist() for conv in (head.last, head.skip))


def test_widening_the_first_block_shifts_its_columns_by_as_many(start):
    last, first = columns(start, 0)
    assert last == [*range(16)]
    assert first == [100, 101, 102, 103, *range(100, 116)]


def test_widening_the_last_block_gives_its_new_channels_old_columns(start):
    last, first = columns(start, 2)
    assert last == [*range(16), 12, 13, 14, 15]
    assert first == [*range(100, 116)]


def test_widening_the_middle_block_leaves_the_head(start):
    assert columns(start, 1) == ([*range(16)], [*range(100, 116)])


def test_more_columns_than_there_are_cannot_be_cut(start):
    before = tensors_of(start)
    with pytest.raises(ValueError, match=r"at most 32 channels.* got 33.*channel_steps=4"):
        ResetChannels(0, 17).apply(start)
    torch.testing.assert_close(tensors_of(start), before, rtol=0, atol=0)


@pytest.mark.parametrize("block", range(3))
def test_the_optimizer_forgets_exactly_what_is_touched(start, block):
    BoxLayer(block).apply(start)
    optimizer = optimizer_of(start)
    known = remembered(start, optimizer)
    assert known == {name for name, _ in start.named_parameters()}
    ResetChannels(block, 4).apply(start, optimizer)
    touched = {name for name in known if name.startswith(f"blocks.{block}.")}
    touched |= {f"blocks.{block + 1}.layers.0.conv.{name}" for name in ("weight", "bias")} & known
    touched |= {n for n in known if block != 1 and n.startswith(("head.last.", "head.skip."))}
    assert known - remembered(start, optimizer) == touched
    start.train()(torch.randn(8, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    assert remembered(start, optimizer) == known


# --- turned back --------------------------------------------------------------------------


@pytest.mark.parametrize("expansion", [AddLayer(0), AddChannels(0, 4), AddChannels(2, 4)])
def test_the_papers_expansions_keep_this_networks_function(start, expansion):
    images = torch.randn(8, 3, 32, 32)
    before = start.eval()(images)
    expansion.apply(start, images=images)
    assert (start.eval()(images) - before).abs().max() < 0.02 * before.std()


@pytest.mark.parametrize("expansion", [BoxLayer(0), ResetChannels(0, 4)])
def test_the_programs_expansions_do_not(start, expansion):
    images = torch.randn(8, 3, 32, 32)
    before = start.eval()(images)
    expansion.apply(start, images=images)
    assert (start.eval()(images) - before).abs().max() > 0.1 * before.std()


def test_they_refuse_another_cell():
    network = SECNN(cell="separable")
    for expansion in (BoxLayer(0), DiracLayer(0), ResetChannels(0, 4)):
        with pytest.raises(ValueError, match=r"expansions: .* got separable; choose AddLayer"):
            expansion.apply(network)
