"""What follows every 3×3 convolution, in plain PyTorch or in one fused operator for CPUs."""

from __future__ import annotations

from torch import Tensor, nn

from secnn.kernels import fused, reference
from secnn.kernels.build import library
from secnn.kernels.depthwise import depthwise_convolution as depthwise_convolution

KERNELS = ("auto", "reference", "fused", "graph")


def resolve_kernel(name: str = "auto", device: str = "cpu") -> str:
    """What computes a network's layers: "fused" on a CPU where `name` allows it and it can be
    built, after one notice a process where not, else "reference"; "graph" replays the reference.

    Raises:
        ValueError: `name` is not in `KERNELS`.
    """
    if name not in KERNELS:
        raise ValueError(f"kernel: expected one of {', '.join(KERNELS)}, got {name!r}")
    fuse = device == "cpu" and name in ("auto", "fused") and library("fused", 16) is not None
    return "fused" if fuse else "reference"


def normalize_pool_activate(
    x: Tensor, mask: Tensor | None, norm: nn.BatchNorm2d, slope: float, pool: bool, kernel: str
) -> Tensor:
    """y = LeakyReLU(MaxPool2(BatchNorm(x · mask))).

    Args:
        x: N×C×H×W.
        mask: N×C factors (channel dropout), or None.
        norm: in training mode it uses the batch's statistics and updates its running ones.
        slope: of the LeakyReLU for negative inputs.
        pool: whether to max-pool 2×2, rounding down.
        kernel: "reference" or "fused", as `resolve_kernel` gives it.

    Returns:
        N×C×H×W or N×C×⌊H/2⌋×⌊W/2⌋, in x's type.
    """
    fuse = kernel == "fused" and fused.supports(x)
    compute = fused.normalize_pool_activate if fuse else reference.normalize_pool_activate
    return compute(x, mask, norm, slope, pool)
