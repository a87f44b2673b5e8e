r"""A Fisher approximation of your own: one number for each parameter tensor.

secnn run --import examples.own_fisher --fisher layerwise \
    --preset quick --dataset digits --out runs/layerwise
"""

from __future__ import annotations

import torch
from torch import Tensor

from secnn import FISHERS, Fisher
from secnn.score.fisher import Gradients


def statistic(block: Gradients, weights: Tensor, damping: float) -> Tensor:
    """wᵀKw and Σ_n w_n² K_nn, 2×B, where K = GGᵀ/(f + damping).

    G, N×p, holds the gradients of each sample, f is the mean of their squares over samples and
    parameters of the block, and each row of `weights` B×N is a weighting w of the samples.
    """
    gradients = block.samples.flatten(1).double()
    scale = gradients.square().mean() + damping
    weights = weights.double()
    whole = (weights @ gradients).square().sum(1)
    own = weights.square() @ gradients.square().sum(1)
    return torch.stack([whole, own]) / scale


FISHERS["layerwise"] = Fisher(statistic)
