"""What a batch norm computes from a batch's sums, and the gradient that passes through it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def moments(sums: Tensor, shift: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel, from 2×C sums of v and v² over `count` values,
    v = x − shift."""
    first, second = sums / count
    return (first + shift).float(), (second - first.square()).clamp_(min=0).float()


@torch.no_grad()
def remember(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int) -> None:
    """Update the running statistics as PyTorch does, with the unbiased variance."""
    running_mean, running_var, seen = norm.running_mean, norm.running_var, norm.num_batches_tracked
    assert running_mean is not None and running_var is not None and seen is not None
    assert norm.momentum is not None, "the norms here average with a momentum"
    seen += 1
    running_mean.lerp_(mean, norm.momentum)
    running_var.lerp_(variance * (count / max(count - 1, 1)), norm.momentum)


def line(
    scale: Tensor, inverse_deviation: Tensor, mean: Tensor, sums: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of a norm's weight and bias, and constant and linear of its input's gradient,
    scale · dz + constant + linear · x, from 2×C sums of dz and of dz · (x − mean), dz the gradient
    of its output: what the batch's mean and deviation pass on is a line in x."""
    d_bias, d_weight = sums[0].float(), (sums[1] * inverse_deviation).float()
    linear = -scale * inverse_deviation * d_weight / count
    return d_weight, d_bias, -scale * d_bias / count - linear * mean, linear
