"""Growth keeps the parameters and what the optimizer remembers of them; training goes on."""

import copy

import torch
from expansion_cases import GROWN, six
from torch.nn import functional as F

from secnn.growth.expansion import AddLayer
from secnn.network.network import SECNN
from secnn.training.epoch import Step, train_epoch


def trained_for_a_step(network, images, labels, optimizer=None):
    """A step of training; returns the optimizer, and the loss with its graph."""
    optimizer = optimizer or torch.optim.Adam(network.parameters(), lr=1e-2)
    optimizer.zero_grad(set_to_none=True)
    loss = F.cross_entropy(network.train()(images), labels)
    loss.backward()
    optimizer.step()
    return optimizer, loss


@six
def test_parameters_stay_the_same_objects_with_their_old_values(expansion, make_network):
    network = make_network(GROWN)
    before = {name: (p, p.detach().clone()) for name, p in network.named_parameters()}
    expansion.apply(network)
    after = dict(network.named_parameters())
    for name, (parameter, value) in before.items():
        assert after[name] is parameter
        assert torch.equal(parameter[tuple(map(slice, value.shape))], value)
    new = after.keys() - before.keys()
    assert len(new) == (3 if isinstance(expansion, AddLayer) else 0)
    assert all(after[name].requires_grad for name in new)


@six
def test_adam_remembers(expansion, make_network, draw_images):
    network = make_network(GROWN)
    images, labels = draw_images(network, 16)
    optimizer, _ = trained_for_a_step(network, images, labels)
    before = {p: copy.deepcopy(optimizer.state[p]) for p in network.parameters()}
    shapes = {p: p.shape for p in network.parameters()}
    expansion.apply(network, optimizer)
    for parameter, state in before.items():
        now = optimizer.state[parameter]
        assert now["step"] == state["step"] == 1
        for moment in ("exp_avg", "exp_avg_sq"):
            old = tuple(map(slice, shapes[parameter]))
            assert now[moment].shape == parameter.shape
            assert torch.equal(now[moment][old], state[moment])
            rest = now[moment].clone()
            rest[old] = 0
            assert not rest.any()
    for parameter in set(network.parameters()) - before.keys():
        assert not optimizer.state.get(parameter)


@six
def test_the_optimizer_trains_every_parameter_once(expansion, make_network, draw_images):
    network = make_network(GROWN)
    images, labels = draw_images(network, 16)
    optimizer, _ = trained_for_a_step(network, images, labels)
    expansion.apply(network, optimizer)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in network.parameters())
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    trained_for_a_step(network, images, labels, optimizer)
    for name, parameter in network.named_parameters():
        # A bias before a batch norm has no gradient but rounding.
        moved = not torch.equal(parameter, before[name])
        assert moved or name.endswith("conv.bias")
        assert optimizer.state[parameter]["exp_avg"].shape == parameter.shape


@six
def test_the_layout_is_kept(expansion, make_network, draw_images):
    network = make_network(GROWN)
    images, labels = draw_images(network, 16)
    optimizer, _ = trained_for_a_step(network, images, labels)
    expansion.apply(network, optimizer)
    trained_for_a_step(network, images, labels, optimizer)
    for parameter in network.parameters():
        state = optimizer.state[parameter]
        layout = torch.channels_last if parameter.dim() == 4 else torch.contiguous_format
        for tensor in (parameter, state["exp_avg"], state["exp_avg_sq"]):
            assert tensor.is_contiguous(memory_format=layout)


@six
def test_growth_while_the_last_loss_is_held(expansion, make_network, draw_images):
    network = make_network()
    images, labels = draw_images(network, 16)
    optimizer, loss = trained_for_a_step(network, images, labels)
    expansion.apply(network, optimizer)
    trained_for_a_step(network, images, labels, optimizer)
    assert loss.grad_fn is not None
    assert all(p.grad.shape == p.shape for p in network.parameters())


@six
def test_training_goes_on(expansion, make_data):
    data = make_data(size=(16, 16))
    network = SECNN(input_channels=1, image_size=(16, 16), classes=3, channels=(4, 4, 4))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = [train_epoch(Step(network, optimizer, 1e-5), data, 20).loss for _ in range(3)]
    expansion.apply(network, optimizer)
    losses += [train_epoch(Step(network, optimizer, 1e-5), data, 20).loss for _ in range(3)]
    assert losses[3] < losses[2] * 1.1  # Not set back.
    assert losses[5] < losses[2]
