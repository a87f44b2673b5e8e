"""Approximations of the empirical Fisher information matrix, and η in each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from secnn import gradients
from secnn.gradients import per_sample_gradients


def gradient_chunks(
    network: nn.Module, images: Tensor, labels: Tensor
) -> Iterator[dict[str, Tensor]]:
    """`per_sample_gradients` of `secnn.gradients.CHUNK` samples after another."""
    size = gradients.CHUNK
    for some, theirs in zip(images.split(size), labels.split(size), strict=True):
        yield per_sample_gradients(network, some, theirs)


def flatten(parts: Iterable[Tensor]) -> Tensor:
    """Per-sample gradients of some parameters, each N×shape, as one matrix N×p."""
    return torch.cat([part.flatten(1) for part in parts], dim=1)


@dataclass(frozen=True)
class Fisher:
    """η = ḡᵀF⁻¹ḡ in one approximation of F, by way of a statistic that adds up over parameters.

    Called with (network, images, labels, damping) it gives η. Because an expansion that keeps the
    function leaves the old parameters' gradients alone, η of a grown network is the score of
    statistic(old) + statistic(new).

    Attributes:
        statistic: of per-sample gradients N×p, the samples' weights B×N and the damping.
        score: B values of η, from the (sum of) statistics, the weights and the damping. Each row of
            weights sums to 1: equal weights for η itself, resampled ones for its uncertainty.
    """

    statistic: Callable[[Tensor, Tensor, float], Tensor]
    score: Callable[[Tensor, Tensor, float], Tensor]

    def __call__(self, network: nn.Module, images: Tensor, labels: Tensor, damping: float) -> float:
        chunks = [flatten(g.values()) for g in gradient_chunks(network, images, labels)]
        samples = torch.cat(chunks)
        weights = samples.new_full((1, len(samples)), 1 / len(samples))
        return self.score(self.statistic(samples, weights, damping), weights, damping).item()


def _as_it_is(statistic: Tensor, weights: Tensor, damping: float) -> Tensor:
    return statistic


def _diagonal(samples: Tensor, weights: Tensor, damping: float) -> Tensor:
    mean, square = (weights @ samples).double(), (weights @ samples.square()).double()
    return (mean.square() / (square + damping)).sum(1)


def _batch(samples: Tensor, weights: Tensor, damping: float) -> Tensor:
    square = (weights @ samples).double().square()
    return (square / (square + damping)).sum(1)


def _gram(samples: Tensor, weights: Tensor, damping: float) -> Tensor:
    return (samples @ samples.T).double()


def _natural(gram: Tensor, weights: Tensor, damping: float) -> Tensor:
    # With S = diag(√w)·G: ḡ = Sᵀ√w, F = SᵀS, and (SᵀS + δI)⁻¹Sᵀ = Sᵀ(SSᵀ + δI)⁻¹.
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    scores = []
    for root in weights.double().sqrt():
        inner = root[:, None] * gram * root
        scores.append(root @ inner @ torch.linalg.solve(inner + damping * identity, root))
    return torch.stack(scores)


diagonal = Fisher(_diagonal, _as_it_is)
"""η = Σ_p ḡ_p² / (F_pp + damping) with the diagonal of the empirical Fisher.

ḡ is the mean gradient over the N samples, F_pp = (1/N) Σ_n g_np² the mean of the squared
*per-sample* gradients (arXiv:2401.05686, section 3.1). 0 ≤ η ≤ number of parameters; sampling
noise alone contributes about 1/N for each parameter.
"""

batch = Fisher(_batch, _as_it_is)
"""η = Σ_p ḡ_p² / (ḡ_p² + damping): the square of the mean gradient in place of the mean square.

For comparison only. Where ḡ_p² is well above the damping every term is 1, so that η counts
parameters and says nothing of their use.
"""

exact = Fisher(_gram, _natural)
"""η = ḡᵀ(F + damping·I)⁻¹ḡ with the full empirical Fisher F = (1/N) Σ_n g_n g_nᵀ.

Computed from the N×N matrix of inner products of per-sample gradients; F, p×p, is never formed.
0 ≤ η ≤ 1, and η → 1 where the gradients are linearly independent (p ≥ N) and the damping vanishes:
then each sample can be fitted by itself. A damping of about 0.01·trace(F)/N keeps away from there.
"""

FISHERS: dict[str, Fisher] = {"diagonal": diagonal, "batch": batch, "exact": exact}
"""name → approximation."""
