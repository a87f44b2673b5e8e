"""A depthwise 3×3 convolution: one pass forward and one back, compiled for the CPU."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor
from torch.nn import functional as F

from secnn.kernels.build import library

_SUFFIX = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


def depthwise_convolution(x: Tensor, weight: Tensor, kernel: str) -> Tensor:
    """y[n, c, i, j] = Σ_{k, l} x[n, c, i + k − 1, j + l − 1] · weight[c, 0, k, l], x is 0 outside.

    Args:
        x: N×C×H×W.
        weight: C×1×3×3; it is rounded to x's type, the sums and its gradient are of float32.
        kernel: "fused" uses compiled code where that is possible (on CPUs, in float32 and
            bfloat16), "reference" plain PyTorch. No result of the compiled code depends on the
            number of threads. It cannot be differentiated twice.

    Returns:
        N×C×H×W, in x's type.

    Raises:
        ValueError: x is not of four dimensions, or `weight` is not C×1×3×3.
    """
    if x.ndim != 4 or weight.shape != (x.shape[1], 1, 3, 3):
        raise ValueError(
            "weight: expected C×1×3×3 for x of N×C×H×W, "
            f"got {tuple(weight.shape)} for x of {tuple(x.shape)}"
        )
    if kernel == "fused" and _supports(x, weight):
        x = x.contiguous(memory_format=torch.channels_last)
        return torch.ops.secnn.depthwise_convolution(x, weight)
    return F.conv2d(x, weight.to(x.dtype), padding=1, groups=x.shape[1])


def _supports(x: Tensor, weight: Tensor) -> bool:
    on_cpu = x.device.type == weight.device.type == "cpu"
    return on_cpu and x.dtype in _SUFFIX and _is_built(weight.shape[0])


@torch.compiler.assume_constant_result
def _is_built(channels: int) -> bool:
    # `torch.compile` cannot look into this, and need not: it stays what it is.
    return library("depthwise", channels) is not None


@torch.library.custom_op("secnn::depthwise_convolution", mutates_args=())
def _forward(x: Tensor, weight: Tensor) -> Tensor:
    y = torch.empty_like(x, memory_format=torch.channels_last)
    _call(x, None, _taps(weight, x.dtype), y, None)
    return y


@_forward.register_fake
def _(x, weight):
    return torch.empty_like(x, memory_format=torch.channels_last)


@torch.library.custom_op("secnn::depthwise_convolution_backward", mutates_args=())
def _backward(dy: Tensor, x: Tensor | None, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """The gradients of x and of the weight, from one pass over dy. The first needs the weight, the
    second x; what lacks is None, and its gradient empty."""
    dy = dy.contiguous(memory_format=torch.channels_last)
    dx = taps = of_taps = None
    if weight is not None:
        dx = torch.empty_like(dy, memory_format=torch.channels_last)
        taps = _taps(weight.flip(2, 3), dy.dtype)
    if x is not None:
        of_taps = torch.empty(9, dy.shape[1])
    _call(dy, x, taps, dx, of_taps)
    none = dy.new_empty(0)
    d_weight = none if of_taps is None else of_taps.t().contiguous().view(-1, 1, 3, 3)
    return none.clone() if dx is None else dx, d_weight


@_backward.register_fake
def _(dy, x, weight):
    dx = dy.new_empty(0)
    if weight is not None:
        dx = torch.empty_like(dy, memory_format=torch.channels_last)
    d_weight = dy.new_empty(0)
    if x is not None:
        d_weight = dy.new_empty(dy.shape[1], 1, 3, 3, dtype=torch.float32)
    return dx, d_weight


def _setup_context(ctx, inputs: tuple, output: Tensor) -> None:
    x, weight = inputs
    needs_x, needs_weight = ctx.needs_input_grad[:2]
    ctx.save_for_backward(x if needs_weight else None, weight if needs_x else None)


def _differentiate(ctx, dy: Tensor) -> tuple:
    x, weight = ctx.saved_tensors
    dx, d_weight = torch.ops.secnn.depthwise_convolution_backward(dy, x, weight)
    return dx if weight is not None else None, d_weight if x is not None else None


_forward.register_autograd(_differentiate, setup_context=_setup_context)


def _taps(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """9×C, as the compiled code reads them."""
    return weight.reshape(-1, 9).t().to(dtype).contiguous()


def _call(source: Tensor, *others: Tensor | None) -> None:
    """Call the compiled function for the size and type of `source`, its `in`, on PyTorch's number
    of threads; its `x`, `taps`, `y` and `gradient` follow."""
    n, channels, *size = source.shape
    function = getattr(library("depthwise", channels), f"convolution_{_SUFFIX[source.dtype]}")
    x, taps, y, gradient = (ctypes.c_void_p(None if t is None else t.data_ptr()) for t in others)
    sizes = map(ctypes.c_int64, (n, *size))
    threads = ctypes.c_int(torch.get_num_threads())
    function(ctypes.c_void_p(source.data_ptr()), x, taps, *sizes, y, gradient, threads)
