"""The operator as one pass forward and two back, compiled for the CPU."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor, nn

from secnn.kernels.build import library

Argument = Tensor | float | int | None

_SUFFIX = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


def supports(x: Tensor) -> bool:
    """Whether the compiled operator can take `x`."""
    return (
        x.device.type == "cpu" and x.dtype in _SUFFIX and library("fused", x.shape[1]) is not None
    )


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
    count = x.numel() // x.shape[1]
    shift, running_var, seen = norm.running_mean, norm.running_var, norm.num_batches_tracked
    assert shift is not None and running_var is not None and seen is not None
    assert norm.momentum is not None, "the norms here average with a momentum"
    first, second = _sums("statistics", x, mask, shift, *_size(x)) / count
    mean = (first + shift).float()
    variance = (second - first.square()).clamp_(min=0).float()
    seen += 1
    shift.lerp_(mean, norm.momentum)
    running_var.lerp_(variance * (count / max(count - 1, 1)), norm.momentum)
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
    n, h, w = _size(x)
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
    scale, size = weight * inverse_deviation, _size(x)
    offset = bias - mean * scale
    sums = _sums("reduce", x, mask, mean, scale, offset, dy, slope, pool, *size)
    d_bias, d_weight = sums[0].float(), (sums[1] * inverse_deviation).float()
    constant, linear = torch.zeros_like(scale), torch.zeros_like(scale)
    if training:
        # d of the normalised value: −(d_bias + normalised · d_weight)/count, as a line in x · mask.
        count = x.numel() // x.shape[1]
        linear = -scale * inverse_deviation * d_weight / count
        constant = -scale * d_bias / count - linear * mean
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


def _size(x: Tensor) -> tuple[int, int, int]:
    return x.shape[0], x.shape[2], x.shape[3]


def _sums(name: str, x: Tensor, *arguments: Argument) -> Tensor:
    """2×C sums, in double precision."""
    sums = torch.zeros(2, x.shape[1], dtype=torch.float64)
    _call(name, x, *arguments, sums)
    return sums


def _call(name: str, x: Tensor, *arguments: Argument) -> None:
    """Call the compiled function for x's channels and type, on PyTorch's number of threads."""
    function = getattr(library("fused", x.shape[1]), f"{name}_{_SUFFIX[x.dtype]}")
    function(*map(_argument, (x, *arguments, torch.get_num_threads())))


def _argument(value: Argument) -> object:
    if value is None or isinstance(value, Tensor):
        return ctypes.c_void_p(None if value is None else value.data_ptr())
    if isinstance(value, float):
        return ctypes.c_float(value)
    return ctypes.c_int(value) if isinstance(value, bool) else ctypes.c_int64(value)
