"""Expansions are values that add up; what does not fit is refused."""

import copy
import json
import math
import random

import pytest
import torch
from expansion_cases import GROWN, SIX, assert_same_state, logits, seeded, six

from secnn.growth.expansion import (
    EXPANSIONS,
    AddChannels,
    AddLayer,
    from_dict,
    largest_logit_change,
    to_dict,
)
from secnn.network.network import SECNN

# --- counts -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60))
def test_any_sequence_of_expansions_adds_up(seed, count_parameters, draw_expansion):
    rng = random.Random(seed)
    blocks = rng.randint(1, 4)
    start = SECNN(
        input_channels=rng.choice([1, 3]),
        image_size=rng.choice([(16, 16), (28, 28), (32, 32), (33, 47)]),
        classes=rng.choice([2, 10, 100]),
        channels=[rng.randint(2, 7) for _ in range(blocks)],
        layers=[rng.randint(1, 2) for _ in range(blocks)],
        capacity=rng.randint(2, 5),
    ).spec
    network, made = SECNN(start), []
    for _ in range(rng.randint(3, 10)):
        expansion = draw_expansion(rng, network)
        before = network.n_parameters
        added, grown = expansion.added_parameters(network), expansion.grown(network.spec)
        expansion.apply(network)
        made.append(expansion)
        assert network.n_parameters - before == added > 0
        assert network.spec == grown
        assert network.n_parameters == count_parameters(network.spec)
    replayed = SECNN(start)
    for fields in json.loads(json.dumps([to_dict(e) for e in made])):
        from_dict(fields).apply(replayed)
    assert replayed.spec == network.spec
    assert _shapes(replayed) == _shapes(network)
    images = torch.randn(2, start.input_channels, *start.image_size)
    assert logits(network, images).shape == (2, start.classes)


def _shapes(network):
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return {name: tuple(t.shape) for name, t in tensors}


@pytest.mark.parametrize("block", range(3))
def test_the_paper_s_counts(block):
    network = SECNN()
    AddLayer(block).apply(network)
    assert network.n_parameters == 11360
    AddLayer(2 - block).apply(network)
    assert network.n_parameters == 13696


# --- values -------------------------------------------------------------------------------


def test_an_expansion_is_a_value():
    assert AddLayer(1) == AddLayer(1) != AddLayer(2)
    assert len({AddChannels(0, 2), AddChannels(0, 2), AddChannels(0, 4)}) == 2
    assert str(AddChannels(block=0, channels=4)) == "AddChannels(block=0, channels=4)"
    with pytest.raises(AttributeError):
        AddLayer(1).block = 2


@six
def test_an_expansion_survives_json(expansion):
    assert from_dict(json.loads(json.dumps(to_dict(expansion)))) == expansion
    assert to_dict(expansion)["kind"] in EXPANSIONS


# --- what is new --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("training", [True, False])
def test_what_is_new_follows_the_network(dtype, training, make_network):
    network = make_network(GROWN, dtype=dtype).train(training)
    for expansion in SIX:
        expansion.apply(network)
    assert {p.dtype for p in network.parameters()} == {dtype}
    assert {m.training for m in network.modules()} == {training}


@six
def test_noise_comes_from_the_generator_alone(expansion, make_network, draw_images):
    network = make_network(GROWN)
    images, _ = draw_images(network, 6)
    state = torch.random.get_rng_state()
    twins = [copy.deepcopy(network) for _ in range(3)]
    for twin, seed in zip(twins, (5, 5, 6), strict=True):
        expansion.apply(twin, images=images, generator=seeded(seed))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert_same_state(twins[0].state_dict(), twins[1].state_dict())
    different = [
        name
        for name, p in twins[0].named_parameters()
        if not torch.equal(p, dict(twins[2].named_parameters())[name])
    ]
    assert different


# --- limits -------------------------------------------------------------------------------


def test_a_full_block_takes_no_layer():
    network = SECNN(capacity=3)
    for _ in range(2):
        assert AddLayer(1).fits(network)
        AddLayer(1).apply(network)
    assert not AddLayer(1).fits(network)
    assert AddLayer(0).fits(network)
    assert AddChannels(1, 2).fits(network)
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match=r"^block: 1 already has 3 layers, its capacity"):
        AddLayer(1).apply(network)
    assert_same_state(network.state_dict(), before)
    AddChannels(1, 2).apply(network)
    assert network.spec.layers == (1, 3, 1)


@pytest.mark.parametrize("block", [-1, 3, 10])
@pytest.mark.parametrize("kind", [AddLayer, lambda block: AddChannels(block, 2)])
def test_a_missing_block_is_named(kind, block):
    network = SECNN()
    expansion = kind(block)
    for call in (expansion.apply, expansion.added_parameters, expansion.fits):
        with pytest.raises(ValueError, match=rf"^block: expected 0 to 2, got {block}$"):
            call(network)
    assert network.n_parameters == 9024


@pytest.mark.parametrize("channels", [0, -2])
def test_channels_below_1_are_refused(channels):
    network = SECNN()
    with pytest.raises(ValueError, match=rf"^channels: expected at least 1, got {channels}$"):
        AddChannels(0, channels).apply(network)
    assert not AddChannels(0, channels).fits(network)
    assert network.n_parameters == 9024


# --- how far the logits moved -------------------------------------------------------------


def test_the_logit_change_is_relative_to_their_spread():
    before = torch.randn(50, 10, dtype=torch.float64)
    after = before.clone()
    after[3, 4] -= 0.25
    change = largest_logit_change(before, after)
    assert change == pytest.approx(0.25 / before.std().item())
    assert largest_logit_change(7 * before, 7 * after) == pytest.approx(change)
    assert largest_logit_change(before + 3, after + 3) == pytest.approx(change)


def test_logits_without_spread_have_moved_not_at_all_or_without_bound():
    zeros = torch.zeros(5, 3)
    assert largest_logit_change(zeros, zeros) == 0
    assert largest_logit_change(zeros, zeros + 1) == math.inf


def test_logits_that_did_not_move_have_not_changed():
    assert largest_logit_change(torch.zeros(5, 3), torch.zeros(5, 3)) == 0
    assert largest_logit_change(torch.randn(5, 3), torch.randn(5, 3)) > 0


def images_of(images, kind):
    """Images that no network of these channels takes."""
    return {
        "none": images[:0],
        "other channels": torch.cat([images, images], 1),
        "bytes": (100 * images).byte(),
        "one": images[0],
    }[kind]


@pytest.mark.parametrize("kind", ["none", "other channels", "bytes", "one"])
@pytest.mark.parametrize("expansion", [AddLayer(0), AddChannels(0, 2)])
def test_what_cannot_be_measured_is_refused_before_anything_grows(
    expansion, kind, make_network, draw_images
):
    network = make_network(dtype=torch.float32)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    images, _ = draw_images(network, 4)
    before, count = network.spec, len(optimizer.param_groups[0]["params"])
    with pytest.raises(ValueError, match="images: expected normalised floats"):
        expansion.apply(network, optimizer, images_of(images, kind))
    assert network.spec == before and len(optimizer.param_groups[0]["params"]) == count
    assert torch.isfinite(network.eval()(images)).all()


@pytest.mark.parametrize("expansion", [AddLayer(0), AddChannels(0, 2)])
def test_an_optimizer_of_another_network_is_refused(expansion, make_network):
    network, other = make_network(), make_network()
    optimizer = torch.optim.SGD(other.parameters(), 0.1)
    before = network.spec
    with pytest.raises(ValueError, match="optimizer: expected one that trains this network"):
        expansion.apply(network, optimizer)
    assert network.spec == before
