"""A 1×1 and a depthwise 3×3 convolution, and the residual unit of two such pairs: each image in one
go forward and one back, compiled for the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from secnn.kernels import norms
from secnn.kernels.build import library
from secnn.kernels.call import TYPES, call, size_of
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
    x, both = x.contiguous(memory_format=torch.channels_last), (first, second)
    parameters = [*weights, *(p for norm in both for p in (norm.weight, norm.bias))]
    shifts, eps = [norm.running_mean for norm in both], [norm.eps for norm in both]
    y, *_, statistics = torch.ops.secnn.residual_unit(x, parameters, shifts, slope, eps)
    count = x.numel() // x.shape[1]
    for norm, (mean, variance) in zip(both, statistics.split(2), strict=True):
        norms.remember(norm, mean, variance, count)
    return y


# ---- One pair --------------------------------------------------------------------------------


@torch.library.custom_op("secnn::separable_convolution", mutates_args=())
def _forward(x: Tensor, pointwise: Tensor, depthwise: Tensor) -> Tensor:
    shift = torch.zeros(len(pointwise))
    return _convolve(x, None, (pointwise, depthwise), shift)[0]


@_forward.register_fake
def _(x, pointwise, depthwise):
    return _like(x, len(pointwise))


@torch.library.custom_op("secnn::separable_convolution_backward", mutates_args=())
def _backward(
    dy: Tensor, x: Tensor, pointwise: Tensor, depthwise: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    dy = dy.to(x.dtype).contiguous(memory_format=torch.channels_last)
    return _differentiate(_Behind(dy), x, None, (pointwise, depthwise))[:3]


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
    x: Tensor, parameters: list[Tensor], shifts: list[Tensor], slope: float, eps: list[float]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y, what the two norms read, and their means and variances in turn, 4×C. The parameters are
    the four weights of the convolutions, then weight and bias of each norm."""
    count = x.numel() // x.shape[1]
    inner, sums = _convolve(x, None, parameters[:2], shifts[0])
    moments1 = norms.moments(sums, shifts[0], count)
    norm1 = _Norm.of(moments1, parameters[4:6], eps[0], slope)
    outer, sums = _convolve(inner, norm1, parameters[2:4], shifts[1])
    moments2 = norms.moments(sums, shifts[1], count)
    norm2 = _Norm.of(moments2, parameters[6:], eps[1], 1.0)
    y = torch.empty_like(x, memory_format=torch.channels_last)
    size = x.shape[1], x.shape[1]
    call("separable", size, "add", x, outer, norm2.scale, norm2.offset, count, y)
    return y, inner, outer, torch.stack([*moments1, *moments2])


@_unit.register_fake
def _(x, parameters, *_):
    same = _like(x, x.shape[1])
    return same, same.clone(), same.clone(), parameters[0].new_empty(4, x.shape[1])


@torch.library.custom_op("secnn::residual_unit_backward", mutates_args=())
def _unit_backward(
    dy: Tensor,
    x: Tensor,
    inner: Tensor,
    outer: Tensor,
    statistics: Tensor,
    parameters: list[Tensor],
    slope: float,
    eps: list[float],
) -> list[Tensor]:
    """The gradients of x and of the eight parameters."""
    dy = dy.to(x.dtype).contiguous(memory_format=torch.channels_last)
    moments1, moments2 = statistics.split(2)
    norm1 = _Norm.of(moments1.unbind(), parameters[4:6], eps[0], slope)
    norm2 = _Norm.of(moments2.unbind(), parameters[6:], eps[1], 1.0)
    count = x.numel() // x.shape[1]
    behind, of_norm2 = norm2.behind(dy, outer, gradient_sums(outer, norm2.mean, dy), count)
    dz, *of_second, sums = _differentiate(behind, inner, norm1, parameters[2:4])
    behind, of_norm1 = norm1.behind(dz, inner, sums, count)
    dx, *of_first, _ = _differentiate(behind, x, None, parameters[:2], dy)
    return [dx, *of_first, *of_second, *of_norm1, *of_norm2]


@_unit_backward.register_fake
def _(dy, x, inner, outer, statistics, parameters, *_):
    return [torch.empty_like(t) for t in (x, *parameters)]


def _save_unit(ctx, inputs: tuple, output: tuple) -> None:
    x, parameters, _, *settings = inputs
    ctx.save_for_backward(x, *output[1:], *parameters)
    ctx.settings = settings
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _pull_back_unit(ctx, dy: Tensor, *_: Tensor) -> tuple:
    x, inner, outer, statistics, *parameters = ctx.saved_tensors
    given = dy, x, inner, outer, statistics, parameters, *ctx.settings
    dx, *gradients = torch.ops.secnn.residual_unit_backward(*given)
    return dx, gradients, [None, None], None, None


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
        cls, statistics: Sequence[Tensor], parameters: Sequence[Tensor], eps: float, slope: float
    ) -> _Norm:
        """Of its mean and variance, and its weight and bias."""
        (mean, variance), (weight, bias) = statistics, parameters
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
    x: Tensor, before: _Norm | None, weights: Sequence[Tensor], shift: Tensor
) -> tuple[Tensor, Tensor]:
    """The pair's output on `before` of x, and the sums of v and v², v = output − shift, 2×C."""
    channels, inputs = weights[0].shape[:2]
    y, sums = _like(x, channels), torch.empty(2, channels, dtype=torch.float64)
    read = before.reading[:3] if before else (None, None, 1.0)
    given = x, *read, *(w.contiguous() for w in weights), shift, *size_of(x)
    call("separable", (channels, inputs), "forward", *given, y, sums)
    return y, sums


def _differentiate(
    behind: _Behind,
    x: Tensor,
    before: _Norm | None,
    weights: Sequence[Tensor],
    skipped: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x, or of the output of the norm before, plus `skipped`, and of both weights,
    and 2×I sums for that norm, see `norms.line`."""
    pointwise, depthwise = (w.contiguous() for w in weights)
    dx = torch.empty_like(x, memory_format=torch.channels_last)
    d_pointwise, d_depthwise = torch.empty_like(pointwise), torch.empty_like(depthwise)
    sums = torch.zeros(2, x.shape[1], dtype=torch.float64)
    read = before.reading if before else (None, None, 1.0, None)
    given = *behind, x, *read, pointwise, depthwise, skipped, *size_of(x)
    call("separable", pointwise.shape[:2], "backward", *given, dx, d_pointwise, d_depthwise, sums)
    return dx, d_pointwise, d_depthwise, sums


def _like(x: Tensor, channels: int) -> Tensor:
    shape = (x.shape[0], channels, *x.shape[2:])
    return torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
