"""Growth with every optimizer: its memory grows along, or it is refused by name."""

import copy

import pytest
import torch
from torch import nn

from secnn import SECNN, AddChannels, AddLayer, Surgery
from secnn.network.surgery import extend


def every_optimizer():
    found = vars(torch.optim).values()
    kinds = (o for o in found if isinstance(o, type) and issubclass(o, torch.optim.Optimizer))
    return [o for o in kinds if o not in (torch.optim.Optimizer, torch.optim.SparseAdam)]


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("kind", every_optimizer(), ids=lambda kind: kind.__name__)
def test_every_optimizer_of_pytorch_moves_new_weights_as_from_the_start_or_is_refused(kind, dim):
    parameter, fresh = (nn.Parameter(torch.randn(4, 4)) for _ in range(2))
    optimizer, other = kind([parameter], lr=0.01), kind([fresh], lr=0.01)
    for _ in range(3):
        _step(optimizer, parameter)
    before, added = copy.deepcopy(optimizer.state[parameter]), torch.zeros(4, 4)
    if kind is torch.optim.LBFGS:
        for grow in (lambda: extend(parameter, dim, added, optimizer), lambda: Surgery(optimizer)):
            with pytest.raises(ValueError, match="got LBFGS, whose d is of shape"):
                grow()
        assert parameter.shape == (4, 4)
        return
    extend(parameter, dim, added, optimizer)
    for name, value in before.items():
        if torch.is_tensor(value) and value.dim():
            now = optimizer.state[parameter][name]
            assert torch.equal(now[tuple(map(slice, value.shape))], value)
    start = parameter.detach().clone()
    _step(optimizer, parameter)
    assert {k: v.shape for k, v in _memory(kind, parameter.shape).items()} == {
        k: v.shape for k, v in optimizer.state[parameter].items() if torch.is_tensor(v)
    }
    old = fresh.detach().clone()
    _step(other, fresh)
    moved = (parameter - start).abs().narrow(dim, 4, 4).mean()
    assert 0.1 < moved / (fresh - old).abs().mean() < 10


def _memory(kind, shape):
    """What a new optimizer of that kind remembers of a parameter of that shape."""
    parameter = nn.Parameter(torch.randn(shape))
    optimizer = kind([parameter])
    _step(optimizer, parameter)
    return {k: v for k, v in optimizer.state[parameter].items() if torch.is_tensor(v)}


def _step(optimizer, parameter):
    def closure():
        parameter.grad = torch.randn(parameter.shape)
        return torch.zeros(())

    optimizer.step(closure)


def test_what_is_of_rows_and_columns_grows_with_them_in_every_layer():
    network = SECNN(image_size=(16, 16), channels=(4, 4, 4))
    optimizer = torch.optim.Adafactor(network.parameters())
    for expansion in (AddChannels(1, 4), AddLayer(0), AddChannels(0, 2), AddChannels(2, 1)):
        expansion.apply(network, optimizer)
        optimizer.zero_grad()
        network(torch.randn(2, 3, 16, 16)).sum().backward()
        optimizer.step()
    for parameter in network.parameters():
        fresh = _memory(torch.optim.Adafactor, parameter.shape)
        state = optimizer.state[parameter]
        assert {k: v.shape for k, v in fresh.items()} == {k: state[k].shape for k in fresh}


def test_a_refused_optimizer_leaves_the_network_as_it_was():
    network = SECNN(image_size=(16, 16))
    optimizer = torch.optim.LBFGS(network.parameters())
    AddChannels(1, 4).apply(network, optimizer)  # It has not stepped yet.
    first = next(network.parameters())
    optimizer.state[first] = {"n_iter": 1, "d": torch.zeros(network.n_parameters)}
    shape = network.spec
    with pytest.raises(ValueError, match="got LBFGS, whose"):
        AddChannels(1, 4).apply(network, optimizer)
    assert network.spec == shape
    assert {k: v.shape for k, v in network.named_parameters()} == {
        k: v.shape for k, v in SECNN(shape).named_parameters()
    }


def test_a_matrix_of_one_row_is_refused_where_rows_and_columns_are_remembered():
    parameter = nn.Parameter(torch.randn(1, 4))
    optimizer = torch.optim.Adafactor([parameter])
    _step(optimizer, parameter)
    with pytest.raises(ValueError, match="got Adafactor, whose row_var"):
        extend(parameter, 0, torch.zeros(2, 4), optimizer)
    adam = torch.optim.Adam([parameter])
    _step(adam, parameter)
    extend(parameter, 0, torch.zeros(2, 4), adam)
    assert adam.state[parameter]["exp_avg"].shape == (3, 4)


class Faster(torch.optim.Rprop):
    """An optimizer of the user's own."""


def test_an_optimizer_that_is_derived_starts_as_the_one_it_is_derived_from():
    parameter = nn.Parameter(torch.randn(4, 4))
    optimizer = Faster([parameter], lr=0.01)
    _step(optimizer, parameter)
    extend(parameter, 0, torch.zeros(2, 4), optimizer)
    assert torch.equal(optimizer.state[parameter]["step_size"][4:], torch.full((2, 4), 0.01))


def test_averages_of_new_weights_start_at_the_weights():
    parameter = nn.Parameter(torch.randn(4, 4))
    optimizer = torch.optim.ASGD([parameter], lr=0.01, t0=1)
    for _ in range(3):
        _step(optimizer, parameter)
    extend(parameter, 1, torch.ones(4, 2), optimizer)
    assert torch.equal(optimizer.state[parameter]["ax"][:, 4:], torch.ones(4, 2))


@pytest.mark.parametrize("cell", ["conv", "separable"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.SGD, {"momentum": 0.9, "fused": True}),
        (torch.optim.Adagrad, {"initial_accumulator_value": 0.5}),
    ],
)
def test_a_new_layer_is_trained_from_the_start_where_memories_have_to_be_there(cell, kind, options):
    network = SECNN(image_size=(16, 16), channels=(4, 4, 4), cell=cell)
    optimizer = kind(network.parameters(), **options)
    old = {*network.parameters()}
    _train(network, optimizer)
    AddLayer(1).apply(network, optimizer)
    for parameter in {*network.parameters()} - old:
        for name, value in optimizer.state[parameter].items():
            first = 0.5 if name == "sum" else 0.0
            assert torch.equal(value, torch.full_like(value, first)), name
    start = [p.detach().clone() for p in network.parameters()]
    for _ in range(2):  # What comes before a norm of weight zero moves after it.
        _train(network, optimizer)
    moved = [not torch.equal(*pair) for pair in zip(start, network.parameters(), strict=True)]
    assert sum(moved) > 0.9 * len(moved)


def _train(network, optimizer):
    optimizer.zero_grad()
    network.train()(torch.randn(8, 3, 16, 16)).square().sum().backward()
    optimizer.step()
