"""A 1×1 and a depthwise 3×3 convolution, and the residual unit of two such pairs: each image in one
go forward and one back, compiled for the CPU."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from secnn.kernels import norms
from secnn.kernels.build import library
from secnn.kernels.call import TYPES, call
from secnn.kernels.fused import gradient_sums


def supports(x: Tensor, pointwise: Tensor, depthwise: Tensor) -> bool:
    """Whether the compiled operators can take x and the weights of a pair."""
    outputs, inputs = pointwise.shape[:2]
    fit = x.ndim == 4 and x.shape[1] == inputs and pointwise.shape[2:] == (1, 1)
    fit = fit and depthwise.shape == (outputs, 1, 3, 3)
    known = x.dtype in TYPES and pointwise.dtype == depthwise.dtype == torch.float32
    return fit and known and x.device.type == "cpu" and _is_built(outputs, inputs)


@torch.compiler.assume_constant_result
def _is_built(outputs: int, inputs: int) -> bool:
    # `torch.compile` cannot look into this, and need not: it stays what it is.
    return library("separable", outputs, inputs) is not None


def separable_convolution(x: Tensor, pointwise: Tensor, depthwise: Tensor) -> Tensor:
    """See `secnn.kernels.separable_convolution`."""
    x = x.contiguous(memory_format=torch.channels_last)
    return torch.ops.secnn.separable_convolution(x, pointwise, depthwise)


def residual_unit(
    x: Tensor,
    weights: tuple[Tensor, ...],
    first: nn.BatchNorm2d,
    second: nn.BatchNorm2d,
    slope: float,
) -> Tensor:
    """See `secnn.kernels.residual_unit`."""
    x = x.contiguous(memory_format=torch.channels_last)
    shifts = first.running_mean, second.running_mean
    y, *_, statistics = torch.ops.secnn.residual_unit(
        x,
        *weights,
        first.weight,
        first.bias,
        second.weight,
        second.bias,
        *shifts,
        slope,
        first.eps,
        second.eps,
    )
    count = x.numel() // x.shape[1]
    for norm, (mean, variance) in zip((first, second), statistics.split(2), strict=True):
        norms.remember(norm, mean, variance, count)
    return y


# ---- One pair --------------------------------------------------------------------------------


@torch.library.custom_op("secnn::separable_convolution", mutates_args=())
def _forward(x: Tensor, pointwise: Tensor, depthwise: Tensor) -> Tensor:
    shift = torch.zeros(len(pointwise))
    return _convolve(x, None, pointwise, depthwise, shift)[0]


@_forward.register_fake
def _(x, pointwise, depthwise):
    return _like(x, len(pointwise))


@torch.library.custom_op("secnn::separable_convolution_backward", mutates_args=())
def _backward(
    dy: Tensor, x: Tensor, pointwise: Tensor, depthwise: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    dy = dy.to(x.dtype).contiguous(memory_format=torch.channels_last)
    return _differentiate(_Behind(dy), x, None, pointwise, depthwise)[:3]


@_backward.register_fake
def _(dy, x, pointwise, depthwise):
    return torch.empty_like(x), torch.empty_like(pointwise), torch.empty_like(depthwise)


def _save(ctx, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _pull_back(ctx, dy: Tensor) -> tuple:
    return torch.ops.secnn.separable_convolution_backward(dy, *ctx.saved_tensors)


_forward.register_autograd(_pull_back, setup_context=_save)


# ---- A residual unit -------------------------------------------------------------------------


@torch.library.custom_op("secnn::residual_unit", mutates_args=())
def _unit(
    x: Tensor,
    pointwise1: Tensor,
    depthwise1: Tensor,
    pointwise2: Tensor,
    depthwise2: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    shift1: Tensor,
    shift2: Tensor,
    slope: float,
    eps1: float,
    eps2: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y, what the two norms read, and their means and variances in turn, 4×C."""
    count = x.numel() // x.shape[1]
    inner, sums = _convolve(x, None, pointwise1, depthwise1, shift1)
    moments1 = norms.moments(sums, shift1, count)
    norm1 = _Norm.of(*moments1, weight1, bias1, eps1, slope)
    outer, sums = _convolve(inner, norm1, pointwise2, depthwise2, shift2)
    moments2 = norms.moments(sums, shift2, count)
    norm2 = _Norm.of(*moments2, weight2, bias2, eps2, 1.0)
    y = torch.empty_like(x, memory_format=torch.channels_last)
    size = pointwise2.shape[:2]
    call("separable", size, "add", x, outer, norm2.scale, norm2.offset, count, y)
    return y, inner, outer, torch.stack([*moments1, *moments2])


@_unit.register_fake
def _(x, pointwise1, *_):
    same = _like(x, x.shape[1])
    return same, same.clone(), same.clone(), pointwise1.new_empty(4, x.shape[1])


@torch.library.custom_op("secnn::residual_unit_backward", mutates_args=())
def _unit_backward(
    dy: Tensor,
    x: Tensor,
    inner: Tensor,
    outer: Tensor,
    statistics: Tensor,
    pointwise1: Tensor,
    depthwise1: Tensor,
    pointwise2: Tensor,
    depthwise2: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    slope: float,
    eps1: float,
    eps2: float,
) -> list[Tensor]:
    """The gradients of x and of the eight parameters."""
    dy = dy.to(x.dtype).contiguous(memory_format=torch.channels_last)
    mean1, variance1, mean2, variance2 = statistics
    norm1 = _Norm.of(mean1, variance1, weight1, bias1, eps1, slope)
    norm2 = _Norm.of(mean2, variance2, weight2, bias2, eps2, 1.0)
    count = x.numel() // x.shape[1]
    behind, of_norm2 = norm2.behind(dy, outer, gradient_sums(outer, norm2.mean, dy), count)
    dz, dp2, dd2, sums = _differentiate(behind, inner, norm1, pointwise2, depthwise2)
    behind, of_norm1 = norm1.behind(dz, inner, sums, count)
    dx, dp1, dd1, _ = _differentiate(behind, x, None, pointwise1, depthwise1, dy)
    return [dx, dp1, dd1, dp2, dd2, *of_norm1, *of_norm2]


@_unit_backward.register_fake
def _(dy, x, inner, outer, statistics, *parameters):
    return [torch.empty_like(t) for t in (x, *parameters[:8])]


def _save_unit(ctx, inputs: tuple, output: tuple) -> None:
    ctx.save_for_backward(inputs[0], *output[1:], *inputs[1:9])
    ctx.settings = inputs[11:]
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _pull_back_unit(ctx, dy: Tensor, *_: Tensor) -> tuple:
    given = torch.ops.secnn.residual_unit_backward(dy, *ctx.saved_tensors, *ctx.settings)
    return *given, *(None,) * 5


_unit.register_autograd(_pull_back_unit, setup_context=_save_unit)


# ---- The compiled functions ------------------------------------------------------------------


class _Behind(NamedTuple):
    """The gradient of a pair's output: factor · dz + constant + linear · out, or dz itself."""

    dz: Tensor
    out: Tensor | None = None
    factor: Tensor | None = None
    constant: Tensor | None = None
    linear: Tensor | None = None


class _Norm(NamedTuple):
    """LeakyReLU(x · scale + offset), of a batch norm with these statistics."""

    mean: Tensor
    inverse_deviation: Tensor
    scale: Tensor
    offset: Tensor
    slope: float

    @classmethod
    def of(
        cls, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float
    ) -> _Norm:
        inverse = (variance + eps).rsqrt()
        scale = weight * inverse
        return cls(mean, inverse, scale, bias - mean * scale, slope)

    @property
    def reading(self) -> tuple[Tensor, Tensor, float, Tensor]:
        return self.scale, self.offset, self.slope, self.mean

    def behind(
        self, dz: Tensor, x: Tensor, sums: Tensor, count: int
    ) -> tuple[_Behind, tuple[Tensor, Tensor]]:
        """The gradient of the norm's input, x, and those of its weight and bias."""
        d_weight, d_bias, constant, linear = norms.line(
            self.scale, self.inverse_deviation, self.mean, sums, count
        )
        return _Behind(dz, x, self.scale, constant, linear), (d_weight, d_bias)


def _convolve(
    x: Tensor, before: _Norm | None, pointwise: Tensor, depthwise: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """The pair's output on `before` of x, and the sums of v and v², v = output − shift, 2×C."""
    y, sums = _like(x, len(pointwise)), torch.empty(2, len(pointwise), dtype=torch.float64)
    read = before.reading[:3] if before else (None, None, 1.0)
    weights = pointwise.contiguous(), depthwise.contiguous()
    size = pointwise.shape[:2]
    call("separable", size, "forward", x, *read, *weights, shift, *_size(x), y, sums)
    return y, sums


def _differentiate(
    behind: _Behind,
    x: Tensor,
    before: _Norm | None,
    pointwise: Tensor,
    depthwise: Tensor,
    skipped: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x, or of the output of the norm before, plus `skipped`, and of both weights,
    and 2×I sums for that norm, see `norms.line`."""
    weights = pointwise.contiguous(), depthwise.contiguous()
    dx = torch.empty_like(x, memory_format=torch.channels_last)
    d_pointwise, d_depthwise = map(torch.empty_like, weights)
    sums = torch.zeros(2, x.shape[1], dtype=torch.float64)
    read = before.reading if before else (None, None, 1.0, None)
    given = *behind, x, *read, *weights, skipped, *_size(x)
    call("separable", pointwise.shape[:2], "backward", *given, dx, d_pointwise, d_depthwise, sums)
    return dx, d_pointwise, d_depthwise, sums


def _like(x: Tensor, channels: int) -> Tensor:
    shape = (x.shape[0], channels, *x.shape[2:])
    return torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)


def _size(x: Tensor) -> tuple[int, int, int]:
    return x.shape[0], x.shape[2], x.shape[3]
