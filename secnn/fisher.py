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

    With per-sample gradients G, N×p, and ḡ = Gᵀw, η = wᵀKw where K = GF⁻¹Gᵀ, N×N. Sampling noise
    alone makes that tr(K)/N², about p/N. The mean over pairs of different samples,

        η_U = (wᵀKw − Σ_n w_n² K_nn) / (1 − Σ_n w_n²),

    a U-statistic, is free of it: where the expected gradient is zero so is its expectation, but
    for F's dependence on the same samples. It is exactly zero where g_n and −g_n are equally
    likely, as F does not change with the signs (that of `batch` does). η_U may be negative, and is
    nan where all weight lies on one sample.

    Attributes:
        statistic: of per-sample gradients N×p, the samples' weights B×N and the damping. F is that
            of equal weights.
        score: 2×B, η and η_U, from the (sum of) statistics, the weights and the damping. Each row
            of weights sums to 1: equal weights for η itself, resampled ones for its uncertainty.
    """

    statistic: Callable[[Tensor, Tensor, float], Tensor]
    score: Callable[[Tensor, Tensor, float], Tensor]

    def __call__(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        damping: float,
        unbiased: bool = False,
    ) -> float:
        chunks = [flatten(g.values()) for g in gradient_chunks(network, images, labels)]
        samples = torch.cat(chunks)
        weights = samples.new_full((1, len(samples)), 1 / len(samples))
        scores = self.score(self.statistic(samples, weights, damping), weights, damping)
        return scores[int(unbiased), 0].item()


def _without_pairs_of_one(forms: Tensor, weights: Tensor, damping: float) -> Tensor:
    """η and η_U from wᵀKw and Σ_n w_n² K_nn, 2×B."""
    whole, own = forms
    return torch.stack([whole, (whole - own) / (1 - weights.double().square().sum(1))])


def _forms(samples: Tensor, squares: Tensor, weights: Tensor, fisher: Tensor) -> Tensor:
    """wᵀKw and Σ_n w_n² K_nn, 2×B, for a diagonal F of p entries, damping included."""
    inverse = 1 / fisher.double()
    whole = (weights.to(samples) @ samples).double().square() @ inverse
    own = (squares @ inverse.to(squares)).double()
    return torch.stack([whole, weights.double().square() @ own])


def _diagonal(samples: Tensor, weights: Tensor, damping: float) -> Tensor:
    squares = samples.square()
    return _forms(samples, squares, weights, squares.mean(0).double() + damping)


def _batch(samples: Tensor, weights: Tensor, damping: float) -> Tensor:
    fisher = samples.mean(0).double().square() + damping
    return _forms(samples, samples.square(), weights, fisher)


def _gram(samples: Tensor, weights: Tensor, damping: float) -> Tensor:
    return (samples @ samples.T).double()


def _natural(gram: Tensor, weights: Tensor, damping: float) -> Tensor:
    # F = GᵀG/N, and G(GᵀG/N + δI)⁻¹ = (GGᵀ/N + δI)⁻¹G.
    damped = gram / len(gram) + damping * torch.eye(len(gram)).to(gram)
    pairs, weights = torch.linalg.solve(damped, gram), weights.double()
    whole = torch.einsum("bn,nm,bm->b", weights, pairs, weights)
    forms = torch.stack([whole, weights.square() @ pairs.diagonal()])
    return _without_pairs_of_one(forms, weights, damping)


diagonal = Fisher(_diagonal, _without_pairs_of_one)
"""η = Σ_p ḡ_p² / (F_pp + damping) with the diagonal of the empirical Fisher.

ḡ is the mean gradient over the N samples, F_pp = (1/N) Σ_n g_np² the mean of the squared
*per-sample* gradients (arXiv:2401.05686, section 3.1). 0 ≤ η ≤ number of parameters; sampling
noise alone contributes about 1/N for each parameter.
"""

batch = Fisher(_batch, _without_pairs_of_one)
"""η = Σ_p ḡ_p² / (ḡ_p² + damping): the square of the mean gradient in place of the mean square.

For comparison only. Where ḡ_p² is well above the damping every term is 1, so that η counts
parameters and says nothing of their use.
"""

exact = Fisher(_gram, _natural)
"""η = ḡᵀ(F + damping·I)⁻¹ḡ with the full empirical Fisher F = (1/N) Σ_n g_n g_nᵀ.

Computed from the N×N matrix of inner products of per-sample gradients; F, p×p, is never formed.
0 ≤ η ≤ 1, and η → 1 where the gradients are linearly independent (p ≥ N) and the damping vanishes:
then each sample can be fitted by itself, and η_U says more of how F depends on the samples than of
ḡ. A damping of about 0.01·trace(F)/N, N the samples, keeps away from there.
"""

FISHERS: dict[str, Fisher] = {"diagonal": diagonal, "batch": batch, "exact": exact}
"""name → approximation."""
