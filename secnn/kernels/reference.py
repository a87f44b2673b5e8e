"""The operators in plain PyTorch, on any device."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def normalize_pool_activate(
    x: Tensor, mask: Tensor | None, norm: nn.BatchNorm2d, slope: float, pool: bool
) -> Tensor:
    """See `secnn.kernels.normalize_pool_activate`."""
    if mask is not None:
        x = x * mask[:, :, None, None].to(x.dtype)
    x = norm(x)
    # Pooling before the LeakyReLU is exact, as it is monotone, and leaves it a quarter of the work.
    return F.leaky_relu(F.max_pool2d(x, 2) if pool else x, slope)


def separable_convolution(x: Tensor, pointwise: Tensor, depthwise: Tensor) -> Tensor:
    """See `secnn.kernels.separable_convolution`."""
    x = F.conv2d(x, pointwise)
    return F.conv2d(x, depthwise, padding=1, groups=len(depthwise))
