"""The separable cell: its counts, and units and channels that keep the function."""

import copy
import json
import random

import pytest
import torch
from torch.nn import functional as F

from secnn import SECNN, AddChannels, AddLayer, NetworkSpec, count_flops
from secnn.growth.candidates import grown_copy, propose, score_candidates
from secnn.growth.expansion import from_dict, largest_logit_change, to_dict
from secnn.network import surgery
from secnn.score.fisher import FISHERS
from secnn.score.natural import natural_expansion_score

SIX = [*(AddLayer(b) for b in range(3)), *(AddChannels(b, 8) for b in range(3))]
six = pytest.mark.parametrize("expansion", SIX, ids=str)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(count=24, seed=1):
    return torch.randn(count, 3, 16, 16, generator=seeded(seed), dtype=torch.float64)


@pytest.fixture
def network():
    """Small, trained for some steps, so that nothing is hidden by a zero or a one."""
    torch.manual_seed(0)
    spec = {"cell": "separable", "channels": (8, 8, 16), "layers": (2, 1, 2), "classes": 4}
    network = SECNN(**spec, image_size=(16, 16)).double()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(5):
        F.cross_entropy(network(images()), torch.arange(24) % 4).backward()
        optimizer.step()
        optimizer.zero_grad()
    return network


def test_its_counts():
    start = SECNN(cell="separable", layers=(2, 2, 2))
    assert start.n_parameters == 4090
    large = SECNN(cell="separable", channels=(16, 32, 64), layers=(2, 3, 2))
    assert large.n_parameters == 20698
    assert count_flops(large) == 2 * 4_694_656


@pytest.mark.parametrize("seed", range(20))
def test_any_sequence_of_expansions_adds_up(seed):
    rng = random.Random(seed)
    blocks = rng.randint(1, 4)
    spec = NetworkSpec(
        cell="separable",
        image_size=rng.choice([(16, 16), (32, 32), (33, 47)]),
        input_channels=rng.choice([1, 3]),
        classes=rng.choice([2, 10]),
        channels=[rng.randint(1, 9) for _ in range(blocks)],
        layers=[rng.randint(1, 3) for _ in range(blocks)],
    )
    network, made = SECNN(spec), []
    for _ in range(6):
        expansion = rng.choice(propose(network, rng.randint(1, 9)))
        before, added = network.n_parameters, expansion.added_parameters(network)
        expansion.apply(network)
        made.append(expansion)
        assert network.n_parameters - before == added > 0
    fresh = SECNN(network.spec)
    shapes = [{k: tuple(v.shape) for k, v in n.state_dict().items()} for n in (network, fresh)]
    assert shapes[0] == shapes[1]
    assert [p.stride() for p in network.parameters()] == [p.stride() for p in fresh.parameters()]
    replayed = SECNN(spec)
    for fields in json.loads(json.dumps([to_dict(e) for e in made])):
        from_dict(fields).apply(replayed)
    assert replayed.spec == network.spec
    assert network(torch.randn(2, spec.input_channels, *spec.image_size)).isfinite().all()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("block", range(3))
def test_a_new_unit_is_exactly_the_identity(block, training, network):
    before = copy.deepcopy(network).train(training)(images())
    AddLayer(block).apply(network, images=images(seed=2), generator=seeded())
    assert torch.equal(network.train(training)(images()), before)


@six
@pytest.mark.parametrize("training", [True, False])
def test_the_function_is_kept(expansion, training, network):
    before = copy.deepcopy(network).train(training)(images())
    expansion.apply(network, images=images(seed=2), generator=seeded())
    change = largest_logit_change(before, network.train(training)(images()))
    assert change < 0.01


@six
def test_only_the_noise_changes_the_function(expansion, network, monkeypatch):
    monkeypatch.setattr(surgery, "NOISE", 0.0)
    before = network.eval()(images())
    expansion.apply(network, images=images(seed=2), generator=seeded())
    assert (network.eval()(images()) - before).abs().max() < 1e-12


@six
def test_what_was_added_is_trained(expansion, network):
    # What is behind a weight of 0 has a gradient once that weight has moved.
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    old = {name: p.shape for name, p in network.named_parameters()}
    expansion.apply(network, optimizer, images(seed=2), seeded())
    start = {name: p.detach().clone() for name, p in network.named_parameters()}
    for _ in range(4):
        optimizer.zero_grad()
        F.cross_entropy(network.train()(images()), torch.arange(24) % 4).backward()
        optimizer.step()
    for name, parameter in network.named_parameters():
        if parameter.shape != old.get(name):
            assert not torch.equal(parameter, start[name]), name


@six
def test_measured_statistics_are_those_of_the_images(expansion, network):
    old = {id(m): m.num_features for m in network.modules() if hasattr(m, "running_mean")}
    expansion.apply(network, images=images(seed=2), generator=seeded())
    seen = {}
    for module in network.modules():
        if hasattr(module, "running_mean"):
            module.register_forward_pre_hook(lambda m, x: seen.__setitem__(m, x[0]))
    network.eval()(images(seed=2))
    for module, x in seen.items():
        first = old.get(id(module), 0)
        mean = x.mean((0, 2, 3))[first:]
        torch.testing.assert_close(module.running_mean[first:], mean, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("fisher", FISHERS)
def test_every_candidate_has_the_score_of_its_grown_copy(fisher, network, monkeypatch):
    monkeypatch.setattr(surgery, "NOISE", 0.0)
    labels, expansions = torch.arange(24) % 4, propose(network, 8)
    damping = FISHERS[fisher].damping
    current, candidates = score_candidates(
        network, images(), labels, expansions, fisher=fisher, damping=damping
    )
    assert current == pytest.approx(natural_expansion_score(network, images(), labels, fisher))
    assert [c.expansion for c in candidates] == expansions
    for candidate in candidates:
        grown = grown_copy(network, candidate.expansion, images(), 0)
        expected = natural_expansion_score(grown, images(), labels, fisher, damping)
        assert candidate.score == pytest.approx(expected, rel=1e-6), candidate.expansion


def test_a_proposal_for_its_filters_is_refused(network):
    with pytest.raises(ValueError, match=r"^proposal: .*use noise"):
        score_candidates(
            network, images(), torch.arange(24) % 4, [AddChannels(0, 2)], proposal="linear"
        )


def test_the_fused_operators_compute_the_same(network):
    network = network.float()
    some, results = images().float(), []
    for kernel in ("reference", "fused"):
        grown = copy.deepcopy(network).train()
        grown.kernel = kernel
        loss = F.cross_entropy(grown(some), torch.arange(24) % 4)
        results.append((loss.detach(), torch.autograd.grad(loss, list(grown.parameters()))))
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-5)
