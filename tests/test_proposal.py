"""Proposals keep the function, are reproducible, and the gradient's finds what is missing."""

import copy

import pytest
import torch
from torch.nn import functional as F

from secnn.expansion import AddChannels, AddLayer, largest_logit_change
from secnn.network import SECNN
from secnn.proposal import PROPOSALS, propose_filters
from secnn.training import Step

GROWTH = (AddLayer(0), AddLayer(1), AddChannels(1, 2))
proposals = pytest.mark.parametrize("name", PROPOSALS)


def filters_of(name, network, expansion, images, labels, seed=0):
    return propose_filters(name, network, [expansion], images, labels, seed)[expansion]


def grown(name, network, expansion, images, labels, seed=0):
    """A copy of the network, expanded."""
    filters = filters_of(name, network, expansion, images, labels, seed)
    larger = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(seed)
    expansion.apply(larger, images=images, generator=generator, filters=filters)
    return larger


@proposals
@pytest.mark.parametrize("block", range(3))
def test_the_function_is_kept(name, block, make_network, draw_images):
    network = make_network(GROWTH).eval()
    images, labels = draw_images(network, 32)
    larger = grown(name, network, AddChannels(block, 3), images, labels)
    with torch.no_grad():
        assert largest_logit_change(network(images), larger(images)) < 0.01


@proposals
@pytest.mark.parametrize("block", range(3))
def test_new_filters_are_as_long_as_the_others_and_all_different(
    name, block, make_network, draw_images
):
    network = make_network(GROWTH)
    filters = filters_of(name, network, AddChannels(block, 3), *draw_images(network, 32))
    if name == "noise":
        assert filters is None
        return
    layers = network.blocks[block].layers
    assert len(filters) == len(layers)
    for some, layer in zip(filters, layers, strict=True):
        assert some.shape == (3, layer.conv.in_channels, 3, 3)
        norms = some.flatten(1).norm(dim=1)
        own = layer.conv.weight.flatten(1).norm(dim=1).mean()
        torch.testing.assert_close(norms, own.expand(3))
        directions = F.normalize(some.flatten(1), dim=1)
        assert (directions @ directions.T - torch.eye(3)).abs().max() < 0.99


@proposals
def test_filters_depend_on_the_arguments_alone(name, make_network, draw_images):
    network, expansion = make_network(GROWTH), AddChannels(1, 2)
    images, labels = draw_images(network, 16)
    before, state = copy.deepcopy(network.state_dict()), torch.random.get_rng_state()
    first = filters_of(name, network, expansion, images, labels)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(
        torch.equal(v, before[k]) for k, v in network.state_dict().items() if "extra" not in k
    )
    torch.rand(5)
    second = propose_filters(name, network, [AddLayer(0), expansion], images, labels, 0)
    assert second[AddLayer(0)] is None
    for a, b in zip(first or [], second[expansion] or [], strict=True):
        assert torch.equal(a, b)


def test_more_channels_than_directions(make_network, draw_images):
    network = make_network(input_channels=1)
    larger = grown("gradient", network, AddChannels(0, 12), *draw_images(network, 16))
    assert larger.spec.channels == (15, 4, 5)
    assert all(p.isfinite().all() for p in larger.parameters())


def test_constant_images_do_no_harm(make_network, draw_images):
    network = make_network()
    images, labels = draw_images(network, 16)
    larger = grown("gradient", network, AddChannels(0, 2), torch.zeros_like(images), labels)
    assert all(p.isfinite().all() for p in larger.parameters())


def test_an_unknown_proposal_is_named_with_those_there_are(make_network, draw_images):
    network = make_network()
    with pytest.raises(ValueError, match=r"^proposal: expected one of noise, .*, got 'best'"):
        propose_filters("best", network, [], *draw_images(network, 2), 0)


# --- a toy problem whose missing feature is known -----------------------------------------


@pytest.fixture(scope="module")
def toy():
    """A student without one channel of the teacher that labels the images, and that channel's
    filter: the first of four in block 0, which decides most of the labels."""
    torch.manual_seed(3)
    shape = {"input_channels": 1, "image_size": (12, 12), "classes": 2, "dropout": 0.0}
    teacher = SECNN(channels=(4, 6), **shape, head_dropout=0.0).double().eval()
    images = torch.randn(1024, 1, 12, 12).double()
    feature = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]).double()
    response = F.conv2d(images, feature[None, None], padding=1)
    # Half of the images: those with more than the median of it, which is what a channel can see.
    strength = F.leaky_relu(response - response.mean(), 0.01).mean((1, 2, 3))
    return teacher, images, (strength > strength.median()).long(), feature


def steps(network, images, labels, count):
    """The loss after that many steps of training on all images."""
    network.train()
    step = Step(network, torch.optim.Adam(network.parameters(), lr=2e-3), 0.0)
    for _ in range(count):
        step(images, labels)
    network.eval()
    with torch.no_grad():
        return F.cross_entropy(network(images), labels).item()


def test_the_missing_feature_is_found(toy):
    network, images, labels, feature = toy
    (filters,) = filters_of("gradient", network, AddChannels(0, 1), images, labels)
    cosine = F.cosine_similarity(filters.flatten(), feature.flatten(), dim=0)
    assert cosine.abs() > 0.9
