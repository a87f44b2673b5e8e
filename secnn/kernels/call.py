"""Calling what is compiled."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from secnn.kernels.build import library

Argument = Tensor | float | int | None

TYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
"""What the compiled functions take, and how their names end."""


def call(source: str, sizes: tuple[int, ...], name: str, x: Tensor, *arguments: Argument) -> None:
    """Call `name` of `source`, compiled for `sizes`, in x's type and on PyTorch's number of
    threads."""
    function = getattr(library(source, *sizes), f"{name}_{TYPES[x.dtype]}")
    function(*map(_argument, (x, *arguments, torch.get_num_threads())))


def size_of(x: Tensor) -> tuple[int, int, int]:
    """N, H and W of N×C×H×W."""
    return x.shape[0], x.shape[2], x.shape[3]


def _argument(value: Argument) -> object:
    if value is None or isinstance(value, Tensor):
        return ctypes.c_void_p(None if value is None else value.data_ptr())
    if isinstance(value, float):
        return ctypes.c_float(value)
    return ctypes.c_int(value) if isinstance(value, bool) else ctypes.c_int64(value)
