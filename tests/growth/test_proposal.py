"""Proposals keep the function, are reproducible, and the gradient's finds what is missing."""

import copy

import pytest
import torch
from torch.nn import functional as F

from secnn.growth.candidates import score_candidates
from secnn.growth.expansion import AddChannels, AddLayer, largest_logit_change
from secnn.growth.proposal import PROPOSALS, propose_filters
from secnn.network.network import SECNN
from secnn.training.epoch import Step

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


def test_a_proposal_of_one_s_own_sees_the_images(make_network, draw_images, monkeypatch):
    def own(network, expansion, recording, generator):
        conv = network.blocks[expansion.block].layers[0].conv
        return [recording.inputs[conv][: expansion.channels, :, :3, :3]]

    monkeypatch.setitem(PROPOSALS, "own", own)
    network = make_network()
    images, labels = draw_images(network, 8)
    (filters,) = filters_of("own", network, AddChannels(0, 2), images, labels)
    torch.testing.assert_close(filters, images[:2, :, :3, :3])


def test_an_unknown_proposal_is_named_with_those_there_are(make_network, draw_images):
    network = make_network()
    with pytest.raises(ValueError, match=r"^proposal: expected one of noise, .*, got 'best'"):
        propose_filters("best", network, [], *draw_images(network, 2), 0)


# --- a toy problem whose missing feature is known -----------------------------------------


COLOUR = F.normalize(torch.tensor([1.0, -1, 2, 0, 1, -2]).double(), dim=0)


@pytest.fixture(scope="module")
def toy():
    """A network whose filters are all blind to `COLOUR`, and images of noise in six channels; those
    of class 1 have a little of that colour, which is all that tells them apart."""
    torch.manual_seed(2)
    shape = {"input_channels": 6, "image_size": (8, 8), "classes": 2}
    network = SECNN(channels=(4, 6), layers=(1, 1), dropout=0.0, head_dropout=0.0, **shape).double()
    filters = network.blocks[0].layers[0].conv.weight.data
    filters -= torch.einsum("oiyx,i,j->ojyx", filters, COLOUR, COLOUR)
    images, labels = torch.randn(768, 6, 8, 8).double(), torch.arange(768) % 2
    images += 0.5 * labels.view(-1, 1, 1, 1) * COLOUR.view(1, -1, 1, 1)
    network.train()(images)  # Running statistics.
    return network.eval(), images, labels


@pytest.mark.parametrize("name", ["linear", "gradient"])
def test_the_missing_feature_is_found(name, toy):
    network, images, labels = toy
    (filters,) = filters_of(name, network, AddChannels(0, 1), images, labels)
    seen = torch.einsum("kiyx,i->kyx", filters, COLOUR).norm() / filters.norm()
    (noise,) = filters_of("random", network, AddChannels(0, 1), images, labels)
    assert torch.einsum("kiyx,i->kyx", noise, COLOUR).norm() / noise.norm() < 0.6
    assert seen > 0.8


def test_its_gain_is_ten_times_that_of_noise(toy):
    network, images, labels = toy
    gains = {
        name: score_candidates(
            network,
            images,
            labels,
            [AddChannels(0, 1)],
            fisher="exact",
            damping=1e-2,
            proposal=name,
        )[1][0].gain
        for name in ("noise", "gradient")
    }
    assert gains["gradient"] > 10 * gains["noise"] > 0


def test_it_trains_faster_than_noise(toy):
    network, images, labels = toy
    losses = {}
    for name in ("noise", "gradient"):
        larger = grown(name, network, AddChannels(0, 1), images, labels).train()
        step = Step(larger, torch.optim.Adam(larger.parameters(), lr=2e-3), l1=0.0)
        for _ in range(50):
            loss, _ = step(images, labels)
        losses[name] = loss.item()
    assert losses["gradient"] < losses["noise"]
