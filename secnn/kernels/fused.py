"""The operator as one pass forward and two back, compiled for the CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from secnn.kernels import norms
from secnn.kernels.build import library
from secnn.kernels.call import TYPES, Argument, call, size_of


def supports(x: Tensor) -> bool:
    """Whether the compiled operator can take `x`."""
    return x.device.type == "cpu" and x.dtype in TYPES and library("fused", x.shape[1]) is not None


def normalize_pool_activate(
    x: Tensor, mask: Tensor | None, norm: nn.BatchNorm2d, slope: float, pool: bool
) -> Tensor:
    """See `secnn.kernels.normalize_pool_activate`."""
    x = x.contiguous(memory_format=torch.channels_last)
    mask = None if mask is None else mask.float().contiguous()
    if norm.training:
        mean, variance = _batch_statistics(x, mask, norm)
    else:
        mean, variance = norm.running_mean, norm.running_var
    scale = (variance + norm.eps).rsqrt()
    return torch.ops.secnn.normalize_pool_activate(
        x, mask, norm.weight, norm.bias, mean, scale, slope, pool, norm.training
    )


@torch.no_grad()
def _batch_statistics(x: Tensor, mask: Tensor | None, norm: nn.BatchNorm2d) -> tuple:
    """Mean and biased variance of each channel of x · mask; updates the running statistics."""
    count, shift = x.numel() // x.shape[1], norm.running_mean
    assert shift is not None
    mean, variance = norms.moments(_sums("statistics", x, mask, shift, *size_of(x)), shift, count)
    norms.remember(norm, mean, variance, count)
    return mean, variance


@torch.library.custom_op("secnn::normalize_pool_activate", mutates_args=())
def _forward(
    x: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    inverse_deviation: Tensor,
    slope: float,
    pool: bool,
    training: bool,
) -> Tensor:
    """y = LeakyReLU(pool((x · mask − mean) · inverse_deviation · weight + bias)).

    With `training`, the backward pass differentiates the mean and the deviation too.
    """
    scale = weight * inverse_deviation
    n, h, w = size_of(x)
    shape = (n, x.shape[1], h // 2, w // 2) if pool else x.shape
    y = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
    _call("activate", x, mask, scale, bias - mean * scale, slope, pool, n, h, w, y)
    return y


@_forward.register_fake
def _(x, mask, weight, bias, mean, inverse_deviation, slope, pool, training):
    n, c, h, w = x.shape
    shape = (n, c, h // 2, w // 2) if pool else x.shape
    return x.new_empty(shape).contiguous(memory_format=torch.channels_last)


@torch.library.custom_op("secnn::normalize_pool_activate_backward", mutates_args=())
def _backward(
    dy: Tensor,
    x: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    inverse_deviation: Tensor,
    slope: float,
    pool: bool,
    training: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, weight and bias."""
    dy = dy.to(x.dtype).contiguous(memory_format=torch.channels_last)
    scale, size = weight * inverse_deviation, size_of(x)
    offset = bias - mean * scale
    sums = _sums("reduce", x, mask, mean, scale, offset, dy, slope, pool, *size)
    count = x.numel() // x.shape[1]
    d_weight, d_bias, *of_x = norms.line(scale, inverse_deviation, mean, sums, count)
    constant, linear = of_x if training else (torch.zeros_like(scale), torch.zeros_like(scale))
    dx = torch.empty_like(x, memory_format=torch.channels_last)
    _call("gradient", x, mask, scale, offset, constant, linear, dy, slope, pool, *size, dx)
    return dx, d_weight, d_bias


@_backward.register_fake
def _(dy, x, mask, weight, bias, mean, inverse_deviation, slope, pool, training):
    return torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias)


def _setup_context(ctx, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:6])
    ctx.settings = inputs[6:]


def _differentiate(ctx, dy: Tensor) -> tuple:
    dx, d_weight, d_bias = torch.ops.secnn.normalize_pool_activate_backward(
        dy, *ctx.saved_tensors, *ctx.settings
    )
    return dx, None, d_weight, d_bias, *(None,) * 5


_forward.register_autograd(_differentiate, setup_context=_setup_context)


def gradient_sums(x: Tensor, mean: Tensor, dz: Tensor) -> Tensor:
    """2×C sums of dz and of dz · (x − mean)."""
    unused = torch.zeros_like(mean)
    return _sums("reduce", x, None, mean, unused, unused, dz, 1.0, False, *size_of(x))


def _sums(name: str, x: Tensor, *arguments: Argument) -> Tensor:
    """2×C sums, in double precision."""
    sums = torch.zeros(2, x.shape[1], dtype=torch.float64)
    _call(name, x, *arguments, sums)
    return sums


def _call(name: str, x: Tensor, *arguments: Argument) -> None:
    call("fused", (x.shape[1],), name, x, *arguments)
