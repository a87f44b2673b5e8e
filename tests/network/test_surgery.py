"""Growing a tensor keeps the object, its old values, its layout and its optimizer's memory."""

import copy

import pytest
import torch
from torch import nn

from secnn.growth.expansion import AddChannels, AddLayer
from secnn.network import surgery
from secnn.network.network import SECNN
from secnn.network.surgery import (
    NOISE,
    NewChannels,
    Surgery,
    extend,
    noise,
)

OPTIMIZERS = {
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
}

optimizers = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)


def stepped(shape, make_optimizer):
    """A parameter and its optimizer after three steps."""
    parameter = nn.Parameter(torch.randn(*shape, dtype=torch.float64))
    optimizer = make_optimizer([parameter])
    for _ in range(3):
        parameter.grad = torch.randn_like(parameter)
        optimizer.step()
    return parameter, optimizer


@pytest.mark.parametrize("dim", [0, 1])
def test_extend_appends_in_place(dim):
    parameter = nn.Parameter(torch.randn(4, 3, 3, 3))
    old, same = parameter.detach().clone(), parameter
    values = torch.randn(*(2 if d == dim else n for d, n in enumerate(old.shape)))
    parameter.grad = torch.ones_like(parameter)
    extend(parameter, dim, values)
    assert parameter is same
    assert isinstance(parameter, nn.Parameter)
    assert parameter.requires_grad
    assert parameter.is_leaf
    assert parameter.grad is None
    assert torch.equal(parameter.detach(), torch.cat([old, values], dim))


@optimizers
@pytest.mark.parametrize("dim", [0, 1])
def test_the_optimizer_remembers_the_old_and_knows_nothing_of_the_new(dim, optimizer):
    parameter, optimizer = stepped((4, 3, 3, 3), optimizer)
    before = copy.deepcopy(optimizer.state[parameter])
    new_shape = [2 if d == dim else n for d, n in enumerate(parameter.shape)]
    old_size = parameter.shape[dim]
    extend(parameter, dim, torch.ones(*new_shape, dtype=torch.float64), optimizer)
    after = optimizer.state[parameter]
    assert after.keys() == before.keys()
    for name, value in before.items():
        if torch.is_tensor(value) and value.dim() == 4:
            assert after[name].shape == parameter.shape
            assert torch.equal(after[name].narrow(dim, 0, old_size), value)
            assert not after[name].narrow(dim, old_size, 2).any()
        else:
            assert after[name] == value  # The step count.


@optimizers
def test_old_entries_go_on_as_if_nothing_had_been_added(optimizer):
    torch.manual_seed(1)
    parameter, growing = stepped((4, 3), optimizer)
    torch.manual_seed(1)
    twin, unchanged = stepped((4, 3), optimizer)
    assert torch.equal(parameter, twin)
    extend(parameter, 0, torch.randn(2, 3, dtype=torch.float64), growing)
    for _ in range(3):
        gradient = torch.randn(6, 3, dtype=torch.float64)
        parameter.grad, twin.grad = gradient, gradient[:4]
        growing.step()
        unchanged.step()
    torch.testing.assert_close(parameter[:4], twin)


def test_a_step_count_of_the_parameter_s_shape_is_padded_only_where_it_is_one():
    # A parameter of one entry has moments of shape (1,), the step count has shape ().
    parameter, optimizer = stepped((1,), OPTIMIZERS["Adam"])
    extend(parameter, 0, torch.zeros(2, dtype=torch.float64), optimizer)
    state = optimizer.state[parameter]
    assert state["step"].shape == ()
    assert state["exp_avg"].shape == state["exp_avg_sq"].shape == (3,)


def test_an_optimizer_without_memory_stays_without():
    parameter = nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.Adam([parameter])
    extend(parameter, 0, torch.ones(1), optimizer)
    assert not optimizer.state.get(parameter)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dim", [0, 1])
def test_the_layout_is_kept(dim, layout):
    data = torch.randn(4, 3, 3, 3).contiguous(memory_format=layout)
    parameter = nn.Parameter(data)
    optimizer = torch.optim.Adam([parameter])
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    extend(parameter, dim, torch.randn(*((2, 3) if dim == 0 else (4, 2)), 3, 3), optimizer)
    state = optimizer.state[parameter]
    for tensor in (parameter, state["exp_avg"], state["exp_avg_sq"]):
        assert tensor.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_graph_still_alive_does_not_stop_the_next_backward_pass(dtype):
    parameter = nn.Parameter(torch.ones(3, dtype=dtype))
    loss = (parameter * 2).sum()  # Held, as a training loop holds its last loss.
    loss.backward()
    extend(parameter, 0, torch.ones(2, dtype=dtype))
    assert parameter.dtype == dtype
    (parameter * 3).sum().backward()
    assert torch.equal(parameter.grad, torch.full((5,), 3.0, dtype=dtype))
    assert loss.item() == 6


@pytest.mark.parametrize("bias", [True, False])
def test_wider_outputs_keep_the_old_ones(bias):
    conv = nn.Conv2d(3, 4, 3, padding=1, bias=bias).double()
    images = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    old = conv(images)
    Surgery().widen_outputs(conv, 2)
    new = conv(images)
    assert conv.out_channels == 6
    assert new.shape == (2, 6, 5, 6)
    torch.testing.assert_close(new[:, :4], old)
    assert new[:, 4:].abs().max() < 100 * NOISE
    assert new[:, 4:].abs().max() > 0
    assert (conv.bias is not None) is bias


@pytest.mark.parametrize("kernel", [1, 3])
def test_wider_inputs_add_noise_only(kernel):
    conv = nn.Conv2d(3, 4, kernel, padding=kernel // 2).double()
    images = torch.randn(2, 5, 5, 6, dtype=torch.float64)
    old = conv(images[:, :3])
    Surgery().widen_inputs(conv, 2)
    assert conv.in_channels == 5
    new = conv(images)
    assert 0 < (new - old).abs().max() < 100 * NOISE
    images[:, 3:] = 0
    torch.testing.assert_close(conv(images), old)


@pytest.mark.parametrize("training", [True, False])
def test_a_wider_norm_treats_the_old_channels_as_before(training):
    norm = nn.BatchNorm2d(3).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    norm(torch.randn(9, 3, 4, 4, dtype=torch.float64) * 3 + 1)
    twin = copy.deepcopy(norm)
    operation = Surgery()
    operation.widen_norm(norm, 2)
    assert operation.new == [NewChannels(norm, 3)]
    assert norm.num_features == 5
    images = torch.randn(4, 5, 6, 6, dtype=torch.float64)
    old, new = twin.train(training)(images[:, :3]), norm.train(training)(images)
    torch.testing.assert_close(new[:, :3], old)
    if not training:  # Running mean 0, variance 1, weight 1 and bias 0.
        torch.testing.assert_close(new[:, 3:], images[:, 3:] / (1 + norm.eps) ** 0.5)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(norm, name)[:3], getattr(twin, name))
    assert norm.num_batches_tracked == twin.num_batches_tracked


def test_noise_has_its_standard_deviation_and_its_seed():
    like = torch.zeros(1)
    first, second = (noise(50, 40, like=like, generator=_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, noise(50, 40, like=like, generator=_seed(4)))
    assert first.std().item() == pytest.approx(NOISE, rel=0.1)
    assert abs(first.mean().item()) < 5 * NOISE / 2000**0.5


def _seed(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_noise_is_the_same_in_every_type(dtype):
    like = torch.zeros(1, dtype=dtype)
    exact = noise(20, like=torch.zeros(1, dtype=torch.float64), generator=_seed(0))
    assert torch.equal(noise(20, like=like, generator=_seed(0)), exact.to(dtype))


def test_noise_of_zero_is_zero(monkeypatch):
    monkeypatch.setattr(surgery, "NOISE", 0.0)
    assert not noise(9, like=torch.zeros(1)).any()


def test_a_module_added_to_the_optimizer_is_trained_by_it():
    old, new = nn.Linear(2, 2), nn.Linear(2, 2)
    optimizer = torch.optim.Adam(old.parameters(), lr=0.1)
    Surgery(optimizer).hand_over(new, old)
    before = new.weight.detach().clone()
    new(old(torch.ones(1, 2))).sum().backward()
    optimizer.step()
    assert len(optimizer.param_groups) == 1
    assert not torch.equal(new.weight, before)
    assert optimizer.state[new.weight]["step"] == 1


def test_a_new_module_joins_the_groups_of_its_neighbour():
    old, new = (nn.Sequential(nn.Conv2d(2, 2, 3, bias=False), nn.BatchNorm2d(2)) for _ in "ab")
    groups = [
        {"params": [nn.Parameter(torch.zeros(1))], "weight_decay": 0.3},
        {"params": list(old[1].parameters()), "weight_decay": 0.0},
        {"params": list(old[0].parameters()), "weight_decay": 0.1},
    ]
    optimizer = torch.optim.AdamW(groups)
    Surgery(optimizer).hand_over(new, old)
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert [decays[id(p)] for p in new.parameters()] == [0.1, 0.0, 0.0]


@pytest.mark.parametrize("bias", [True, False])
def test_a_wider_depthwise_convolution_passes_new_channels_on(bias):
    conv = nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=bias).double()
    images = torch.randn(2, 5, 5, 6, dtype=torch.float64)
    old = conv(images[:, :3])
    Surgery().widen_depthwise(conv, 2)
    new = conv(images)
    assert (conv.groups, conv.in_channels, conv.out_channels) == (5, 5, 5)
    torch.testing.assert_close(new[:, :3], old)
    torch.testing.assert_close(new[:, 3:], images[:, 3:], rtol=0, atol=100 * NOISE)


def test_a_linear_layer_is_widened_as_a_convolution_is():
    linear = nn.Linear(3, 4).double()
    x = torch.randn(2, 5, dtype=torch.float64)
    old = linear(x[:, :3])
    Surgery().widen_inputs(linear, 2)
    Surgery().widen_outputs(linear, 1)
    assert (linear.in_features, linear.out_features) == (5, 5)
    torch.testing.assert_close(linear(x)[:, :4], old, rtol=0, atol=100 * NOISE)


def test_no_optimizer_is_fine():
    module = nn.Linear(2, 2)
    before = list(module.parameters())
    Surgery().hand_over(module, module)
    assert all(a is b for a, b in zip(module.parameters(), before, strict=True))


@pytest.mark.parametrize("inputs", [1, 3])
def test_grown_parameters_have_the_strides_of_new_ones(inputs):
    """Where a size is 1 a layout has several strides, which decide how convolutions round."""
    network = SECNN(input_channels=inputs, channels=(4, 1, 4))
    for expansion in (AddChannels(0, 2), AddLayer(0), AddLayer(1), AddChannels(1, 2)):
        expansion.apply(network)
    for (name, grown), new in zip(
        network.named_parameters(), SECNN(network.spec).parameters(), strict=True
    ):
        assert grown.stride() == new.stride(), name


def test_a_new_batch_norm_joins_those_beside_it_whatever_their_names():
    old = nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    new = nn.ModuleDict({"normalise": nn.BatchNorm2d(2), "mix": nn.Linear(2, 2)})
    kinds = {nn.Conv2d: 0.1, nn.BatchNorm2d: 0.0, nn.Linear: 0.2}
    groups = [{"params": list(m.parameters()), "weight_decay": kinds[type(m)]} for m in old]
    first = {"params": [nn.Parameter(torch.zeros(1))], "weight_decay": 0.3}
    optimizer = torch.optim.AdamW([first, *groups])
    Surgery(optimizer).hand_over(new, old)
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    for module in new.values():
        assert {decays[id(p)] for p in module.parameters()} == {kinds[type(module)]}
    alone = nn.Conv2d(2, 2, 1, bias=False)
    Surgery(optimizer).hand_over(alone, nn.ReLU())
    assert optimizer.param_groups[0]["params"][-1] is alone.weight
