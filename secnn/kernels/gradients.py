"""Gradients of a convolution's weight, sample by sample."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor
from torch.nn import functional as F

from secnn.kernels.build import library

LANES = 16
"""The compiled function takes numbers of output channels that are multiples of this."""


def convolution_gradients(x: Tensor, gradient: Tensor, side: int, kernel: str) -> Tensor:
    """∂/∂W of each sample's loss, for a convolution of stride 1 that keeps the size.

    Args:
        x: its input, N×I×H×W.
        gradient: of the loss with respect to its output, N×O×H×W.
        side: the width of its square kernel, odd.
        kernel: "fused" uses compiled code where that is possible, "reference" plain PyTorch.

    Returns:
        N×O×I×side×side.
    """
    compiled = kernel == "fused" and x.device.type == "cpu" and x.dtype == torch.float32
    if compiled and library("gradients"):
        return _compiled(x, gradient, side)
    return unfolded_gradients(x, gradient, (side, side), padding=side // 2)


def unfolded_gradients(
    x: Tensor, gradient: Tensor, kernel_size: tuple[int, int], **geometry: object
) -> Tensor:
    """The same for any `geometry` that `torch.nn.functional.unfold` takes."""
    columns = F.unfold(x, kernel_size, **geometry)
    products = gradient.flatten(2) @ columns.transpose(1, 2)
    return products.view(len(x), gradient.shape[1], x.shape[1], *kernel_size)


def _compiled(x: Tensor, gradient: Tensor, side: int) -> Tensor:
    n, inputs, h, w = x.shape
    outputs = gradient.shape[1]
    x = x.contiguous(memory_format=torch.channels_last)
    if outputs % LANES:
        gradient = F.pad(gradient, (0, 0, 0, 0, 0, -outputs % LANES))
    gradient = gradient.to(torch.float32).contiguous(memory_format=torch.channels_last)
    out = torch.empty(n, side * side, inputs, gradient.shape[1])
    pointers = (ctypes.c_void_p(t.data_ptr()) for t in (x, gradient, out))
    sizes = (n, h, w, inputs, gradient.shape[1], side, torch.get_num_threads())
    library("gradients").convolution_gradients(*pointers, *map(ctypes.c_int64, sizes))
    out = out.view(n, side, side, inputs, -1)[..., :outputs]
    return out.permute(0, 4, 3, 1, 2)
