"""Per-sample gradients and scores leave the network and the images as they were."""

import copy

import pytest
import torch
from toy_networks import draw, make

from secnn.growth.expansion import AddChannels, AddLayer
from secnn.score.fisher import diagonal
from secnn.score.gradients import per_sample_gradients

GROWTH = (AddLayer(0), AddChannels(1, 2), AddLayer(2))


def assert_same_state(network, before):
    for name, value in network.state_dict().items():
        same = torch.equal(value, before[name]) if torch.is_tensor(value) else value == before[name]
        assert same, name


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("compute", [per_sample_gradients, lambda *a: diagonal(*a, 1e-8)])
def test_the_network_is_left_as_it_was(compute, training, make_network, draw_images):
    network = make_network(GROWTH).train(training)
    network.kernel = "fused"
    before = copy.deepcopy(network.state_dict())
    random_state = torch.random.get_rng_state()
    compute(network, *draw_images(network, 5))
    assert all(m.training is training for m in network.modules())
    assert network.kernel == "fused"
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    assert not any(m._forward_hooks for m in network.modules())
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert_same_state(network, before)


@pytest.mark.parametrize("name", ["activations in place", "residual", "frozen modules"])
def test_so_is_any_module_and_the_images(name):
    network, (images, labels) = make(name).train(), draw()
    network[0].eval()
    network[1].train()
    modes = [m.training for m in network.modules()]
    attributes, given = set(vars(network)), images.clone()
    before = copy.deepcopy(network.state_dict())
    per_sample_gradients(network, images, labels)
    assert [m.training for m in network.modules()] == modes
    assert set(vars(network)) == attributes
    assert torch.equal(images, given)
    assert not images.requires_grad
    assert_same_state(network, before)


@pytest.mark.parametrize("kernel", ["rbf", 3, None])
def test_a_kernel_of_another_meaning_is_none_of_its_business(kernel):
    network, seen = make("plain"), []
    network.kernel = kernel
    network.register_forward_pre_hook(lambda module, inputs: seen.append(module.kernel))
    per_sample_gradients(network, *draw())
    assert seen == [kernel]
    assert network.kernel == kernel


def test_mode_and_kernel_return_after_a_failure(make_network):
    network = make_network().train()
    network.kernel = "fused"
    with pytest.raises(RuntimeError):
        per_sample_gradients(network, torch.zeros(2, 99, 12, 20), torch.zeros(2, dtype=torch.long))
    assert all(m.training for m in network.modules())
    assert network.kernel == "fused"
    assert not any(m._forward_hooks for m in network.modules())
