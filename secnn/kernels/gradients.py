"""Gradients of a convolution's weight, sample by sample."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor
from torch.nn import functional as F

from secnn.kernels.build import library


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
    fits = kernel == "fused" and x.device.type == "cpu" and x.dtype == torch.float32
    compiled = library("gradients") if fits else None
    if compiled is None:
        return unfolded_gradients(x, gradient, (side, side), padding=side // 2)
    if gradient.shape[1] < compiled.lanes() <= x.shape[1]:
        # What the inputs are to the outputs, these are to them from the other side of each tap.
        return _call(compiled, gradient, x, side).transpose(1, 2).flip(3, 4)
    return _call(compiled, x, gradient, side)


def unfolded_gradients(
    x: Tensor,
    gradient: Tensor,
    kernel_size: tuple[int, int],
    **geometry: int | tuple[int, int],
) -> Tensor:
    """The same for any `geometry` that `torch.nn.functional.unfold` takes."""
    columns = F.unfold(x, kernel_size, **geometry)
    products = gradient.flatten(2) @ columns.transpose(1, 2)
    return products.view(len(x), gradient.shape[1], x.shape[1], *kernel_size)


def _call(compiled: ctypes.CDLL, x: Tensor, gradient: Tensor, side: int) -> Tensor:
    n, inputs, h, w = x.shape
    outputs, lanes = gradient.shape[1], compiled.lanes()
    if outputs < lanes:
        gradient = F.pad(gradient, (0, 0, 0, 0, 0, lanes - outputs))
    x = x.contiguous(memory_format=torch.channels_last)
    gradient = gradient.to(torch.float32).contiguous(memory_format=torch.channels_last)
    out = torch.empty(n, side, side, inputs, gradient.shape[1])
    pointers = (ctypes.c_void_p(t.data_ptr()) for t in (x, gradient, out))
    sizes = (n, h, w, inputs, gradient.shape[1], side, torch.get_num_threads())
    compiled.convolution_gradients(*pointers, *map(ctypes.c_int64, sizes))
    return out[..., :outputs].permute(0, 4, 3, 1, 2)
