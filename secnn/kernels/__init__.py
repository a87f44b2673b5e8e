"""What costs most of a training step, in plain PyTorch or compiled for CPUs: what follows every 3×3
convolution of the paper's cell, and the pairs of convolutions of the separable one."""

from __future__ import annotations

from torch import Tensor, nn

from secnn.kernels import fused, reference, separable
from secnn.kernels.build import library

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


def separable_convolution(x: Tensor, pointwise: Tensor, depthwise: Tensor, kernel: str) -> Tensor:
    """y[n, c, i, j] = Σ_{k, l} (Σ_m x[n, m, i + k − 1, j + l − 1] · pointwise[c, m]) ·
    depthwise[c, k, l]; x is 0 outside (BSConv-U, arXiv:2003.13549).

    Args:
        x: N×I×H×W.
        pointwise, depthwise: C×I×1×1 and C×1×3×3.
        kernel: "reference" or "fused", as `resolve_kernel` gives it. The compiled code rounds the
            weights, and what is between the convolutions, to x's type, float32 or bfloat16; sums
            are of float32. No result of it depends on the number of threads.

    Returns:
        N×C×H×W, in x's type.
    """
    fuse = kernel == "fused" and separable.supports(x, pointwise, depthwise)
    return (separable if fuse else reference).separable_convolution(x, pointwise, depthwise)


def residual_unit(
    x: Tensor,
    weights: tuple[Tensor, Tensor, Tensor, Tensor],
    first: nn.BatchNorm2d,
    second: nn.BatchNorm2d,
    slope: float,
    kernel: str,
) -> Tensor:
    """y = x + second(S₂(LeakyReLU(first(S₁(x))))), S₁ and S₂ as `separable_convolution`.

    Args:
        x: N×C×H×W.
        weights: of S₁ and of S₂, C×C×1×1 and C×1×3×3 each.
        first, second: in training mode they use the batch's statistics and update their own.
        slope: of the LeakyReLU for negative inputs.
        kernel: see `separable_convolution`.

    Returns:
        N×C×H×W, in x's type.
    """
    fuse = kernel == "fused" and first.training and second.training
    if fuse and separable.supports(x, *weights[:2]):
        return separable.residual_unit(x, weights, first, second, slope)
    inner = separable_convolution(x, *weights[:2], kernel)
    inner = normalize_pool_activate(inner, None, first, slope, False, kernel)
    outer = separable_convolution(inner, *weights[2:], kernel)
    return x + normalize_pool_activate(outer, None, second, 1.0, False, kernel)
