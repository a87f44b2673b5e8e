"""Growing single tensors in place: convolution, batch norm, and what the optimizer remembers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

NOISE = 1e-4
"""Standard deviation of the Gaussian that breaks the symmetry of new weights."""


def noise(*shape: int, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Gaussian noise of standard deviation `NOISE`, drawn on the CPU so that a seed means the
    same weights on every device."""
    draw = torch.randn(*shape, generator=generator, dtype=torch.float64) * NOISE
    return draw.to(dtype=like.dtype, device=like.device)


def extend(
    parameter: nn.Parameter, dim: int, values: Tensor, optimizer: Optimizer | None = None
) -> None:
    """Append `values` to `parameter` along `dim`, in place.

    The `nn.Parameter` stays the same object. Its optimizer state (Adam's moments, or any state
    tensor of the parameter's shape) is padded with zeros; old entries keep their values.
    """
    shape, grown = parameter.shape, _append(parameter.data, dim, values)
    # A graph still alive, say the last step's loss, keeps a gradient accumulator of the old shape,
    # at which the next backward pass would fail. Only a change of type makes torch drop it.
    parameter.data = parameter.data.to(torch.complex64)
    parameter.data = grown
    parameter.grad = None
    state = optimizer.state.get(parameter, {}) if optimizer is not None else {}
    for name, moment in state.items():
        if torch.is_tensor(moment) and moment.shape == shape:
            # Large steps at first, as the step count stays: smaller ones gained less (docs).
            state[name] = _append(moment, dim, torch.zeros_like(values))


def _append(old: Tensor, dim: int, values: Tensor) -> Tensor:
    """Both along `dim`, with the strides of a new network's parameter of that shape: where a size
    is 1 a layout has several, and convolutions choose their algorithm, and with it their rounding,
    by the strides, so that a network restored from a file would compute other bits."""
    grown = torch.cat([old, values], dim)
    last = old.dim() == 4 and old.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    new = torch.empty(grown.shape, dtype=old.dtype, device=old.device, memory_format=layout)
    return new.copy_(grown)


def widen_outputs(
    conv: nn.Conv2d,
    added: int,
    optimizer: Optimizer | None = None,
    generator: torch.Generator | None = None,
) -> None:
    """Give `conv` `added` more output channels: weights of noise, biases of zero."""
    _, inputs, *kernel = conv.weight.shape
    new = noise(added, inputs, *kernel, like=conv.weight, generator=generator)
    extend(conv.weight, 0, new, optimizer)
    if conv.bias is not None:
        extend(conv.bias, 0, conv.bias.new_zeros(added), optimizer)
    conv.out_channels += added


def widen_inputs(
    conv: nn.Conv2d,
    added: int,
    optimizer: Optimizer | None = None,
    generator: torch.Generator | None = None,
) -> None:
    """Give `conv` `added` more input channels with weights of noise.

    Batch norm can blow a new channel up to unit variance, so it is these weights, the
    consumer's, that keep the function.
    """
    outputs, _, *kernel = conv.weight.shape
    new = noise(outputs, added, *kernel, like=conv.weight, generator=generator)
    extend(conv.weight, 1, new, optimizer)
    conv.in_channels += added


def widen_norm(norm: nn.BatchNorm2d, added: int, optimizer: Optimizer | None = None) -> None:
    """Give `norm` `added` more channels: weight 1, bias 0, running mean 0 and variance 1."""
    extend(norm.weight, 0, norm.weight.new_ones(added), optimizer)
    extend(norm.bias, 0, norm.bias.new_zeros(added), optimizer)
    norm.running_mean = torch.cat([norm.running_mean, norm.running_mean.new_zeros(added)])
    norm.running_var = torch.cat([norm.running_var, norm.running_var.new_ones(added)])
    norm.num_features += added


def add_to_optimizer(module: nn.Module, optimizer: Optimizer | None) -> None:
    """Let `optimizer` train `module` too, in its first parameter group, with an empty memory."""
    if optimizer is not None:
        optimizer.param_groups[0]["params"].extend(module.parameters())
