"""Approximations of the empirical Fisher information matrix, and η in each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from secnn.registry import Registry
from secnn.score.gradients import chunks, record
from secnn.score.parts import Part, matrix


@dataclass(frozen=True, eq=False)
class Gradients:
    """The parameters of a part, for all samples.

    Attributes:
        samples: per-sample gradients N×O×J.
        factors: Ω G×J×J and Γ G×(O/G)×(O/G) of `Part.factors`, summed over the samples; None if
            there are none or were not asked for.
    """

    samples: Tensor
    factors: tuple[Tensor, Tensor] | None = None


def join(chunks: Iterable[Sequence[Gradients]]) -> list[Gradients]:
    """From the blocks of some samples after another those of all."""
    return [_join(blocks) for blocks in zip(*chunks, strict=True)]


def _join(blocks: Sequence[Gradients]) -> Gradients:
    samples = torch.cat([block.samples for block in blocks])
    factors = [block.factors for block in blocks if block.factors is not None]
    if not factors:
        return Gradients(samples)
    inputs, outputs = (torch.stack(found).sum(0) for found in zip(*factors, strict=True))
    return Gradients(samples, (inputs, outputs))


def without_own_pairs(total: Tensor, weights: Tensor, damping: float) -> Tensor:
    """η and η_U, 2×B, from the total of wᵀKw and Σ_n w_n² K_nn, 2×B: of every statistic that gives
    these two.

    Raises:
        ValueError: it does not.
    """
    if total.dim() != 2 or len(total) != 2:
        raise ValueError(
            f"fisher: expected a statistic of w'Kw and the sum of w_n^2 K_nn, 2 x {len(weights)}, "
            f"got {tuple(total.shape)}; or give secnn.Fisher a score of its own"
        )
    whole, own = total
    return torch.stack([whole, (whole - own) / (1 - weights.double().square().sum(1))])


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
    for F's dependence on the same samples, which `exact` leaves out pair by pair. It is exactly
    zero where g_n and −g_n are equally likely, as F does not change with the signs (that of `batch`
    does). η_U may be negative, and is nan where all weight lies on one sample.

    Attributes:
        statistic: of a block of parameters, the samples' weights B×N and the damping; as a rule
            wᵀKw and Σ_n w_n² K_nn, 2×B. F is that of equal weights.
        score: 2×B, η and η_U, from the (sum of) statistics, the weights and the damping. Each row
            of weights sums to 1: equal weights for η itself, resampled ones for its uncertainty.
        factored: whether `statistic` reads the blocks' factors.
        damping: what to add to F's diagonal where nobody says.
    """

    statistic: Callable[[Gradients, Tensor, float], Tensor]
    score: Callable[[Tensor, Tensor, float], Tensor] = without_own_pairs
    factored: bool = False
    damping: float = 1e-8

    def __call__(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        damping: float,
        unbiased: bool = False,
    ) -> float:
        recordings = (record(network, *chunk) for chunk in chunks(images, labels))
        blocks = join(self.keep(r.parts(network).values()) for r in recordings)
        weights = blocks[0].samples.new_full((1, len(images)), 1 / len(images))
        scores = self.score(self.total(blocks, weights, damping), weights, damping)
        return scores[int(unbiased), 0].item()

    def keep(self, parts: Iterable[Part]) -> list[Gradients]:
        """What `statistic` will read of each part."""
        return [Gradients(matrix(p), p.factors() if self.factored else None) for p in parts]

    def total(self, blocks: Sequence[Gradients], weights: Tensor, damping: float) -> Tensor:
        """The statistic of all blocks together."""
        return reduce(torch.add, (self.statistic(block, weights, damping) for block in blocks))


def _forms(samples: Tensor, weights: Tensor, fisher: Tensor) -> Tensor:
    """wᵀKw and Σ_n w_n² K_nn, 2×B, of gradients N×p, for a diagonal F of p entries, damping
    included."""
    inverse = 1 / fisher.double()
    whole = (weights.to(samples) @ samples).double().square() @ inverse
    own = (samples.square() @ inverse.to(samples)).double()
    return torch.stack([whole, weights.double().square() @ own])


def _diagonal(block: Gradients, weights: Tensor, damping: float) -> Tensor:
    samples = block.samples.flatten(1)
    return _forms(samples, weights, samples.square().mean(0).double() + damping)


def _batch(block: Gradients, weights: Tensor, damping: float) -> Tensor:
    samples = block.samples.flatten(1)
    fisher = samples.mean(0).double().square() + damping
    return _forms(samples, weights, fisher)


def _kronecker(block: Gradients, weights: Tensor, damping: float) -> Tensor:
    samples = block.samples.double()
    if block.factors is None:
        values, vectors = torch.linalg.eigh(torch.einsum("noj,nok->ojk", samples, samples))
        rotated = torch.einsum("noj,ojk->nok", samples, vectors)
        fisher = values / len(samples)
    else:
        inputs, outputs = (torch.linalg.eigh(f.double() / len(samples)) for f in block.factors)
        of_groups = samples.unflatten(1, (-1, outputs.eigenvalues.shape[-1]))
        rotated = outputs.eigenvectors.mT @ of_groups @ inputs.eigenvectors
        fisher = outputs.eigenvalues.unsqueeze(-1) * inputs.eigenvalues.unsqueeze(-2)
    # Of a matrix that is positive semi-definite but for rounding.
    return _forms(rotated.flatten(1), weights, fisher.clamp(min=0).flatten() + damping)


def _gram(block: Gradients, weights: Tensor, damping: float) -> Tensor:
    samples = block.samples.flatten(1)
    return (samples @ samples.T).double()


def _natural(gram: Tensor, weights: Tensor, damping: float) -> Tensor:
    # F = GᵀG/N, and with R = (GGᵀ/N + δI)⁻¹, N×N, K = G(F + δI)⁻¹Gᵀ = N(I − δR).
    count, weights, identity = len(gram), weights.double(), torch.eye(len(gram)).to(gram)
    inverse = torch.linalg.inv(gram / count + damping * identity)
    whole = torch.einsum("bn,nm,bm->b", weights, count * (identity - damping * inverse), weights)
    pairs = _left_out(inverse, damping)
    apart = torch.einsum("bn,nm,bm->b", weights, pairs, weights)
    return torch.stack([whole, apart / (1 - weights.square().sum(1))])


def _left_out(inverse: Tensor, damping: float) -> Tensor:
    """g_nᵀ(F' + δI)⁻¹g_m, N×N, zero for n = m, where F' is F without the samples n and m.

    From R by the Woodbury identity: −N R_nm / (δ (R_nn R_mm − R_nm²)).
    """
    own = inverse.diagonal()
    determinants = torch.outer(own, own) - inverse.square()
    return (-len(inverse) * inverse / (damping * determinants)).fill_diagonal_(0)


diagonal = Fisher(_diagonal)
"""η = Σ_p ḡ_p² / (F_pp + damping) with the diagonal of the empirical Fisher.

ḡ is the mean gradient over the N samples, F_pp = (1/N) Σ_n g_np² the mean of the squared
*per-sample* gradients (arXiv:2401.05686, section 3.1). 0 ≤ η ≤ number of parameters; sampling
noise alone contributes about 1/N for each parameter.
"""

batch = Fisher(_batch)
"""η = Σ_p ḡ_p² / (ḡ_p² + damping): the square of the mean gradient in place of the mean square.

For comparison only. Where ḡ_p² is well above the damping every term is 1, so that η counts
parameters and says nothing of their use.
"""

kfac = Fisher(_kronecker, factored=True, damping=1e-6)
"""η = Σ_l ḡ_lᵀ(F_l + damping·I)⁻¹ḡ_l, a block of F for each module l (KFC, arXiv:1602.01407).

For a convolution or a linear layer F_l = Γ_l ⊗ Ω_l with Ω = (1/N) Σ_n Σ_t a_nt a_ntᵀ and
Γ = (1/(NT)) Σ_n Σ_t s_nt s_ntᵀ: a_nt what the weights meet at output position t (1 for the bias),
s_nt the gradient of the sample's own loss for the output. That takes a and s as independent and s
as uncorrelated between positions. With Γ = Q_Γ Λ_Γ Q_Γᵀ and Ω likewise the damping is exact:

    η_l = Σ_ij (Q_Γᵀ Ḡ Q_Ω)_ij² / (λ_Γi λ_Ωj + damping).

The groups of a grouped convolution share neither inputs nor outputs: each has a block Γ_g ⊗ Ω_g of
its own (arXiv:2307.02275), in a depthwise convolution each channel one of its weights and bias. A
linear layer on N×T×I has T positions (arXiv:2311.00636).

A batch norm has the exact 2×2 block of each channel's weight and bias ("unit-wise",
arXiv:2002.06015): it is as cheap as the diagonal, and sees that the two go together. What an
expansion adds to a module makes blocks of its own. F_l need not equal the mean of g gᵀ, so that
noise does not make exactly p/N, and η may exceed p.
"""

exact = Fisher(_gram, _natural, damping=1e-2)
"""η = ḡᵀ(F + damping·I)⁻¹ḡ with the full empirical Fisher F = (1/N) Σ_n g_n g_nᵀ.

Computed from the N×N matrix of inner products of per-sample gradients; F, p×p, is never formed.
0 ≤ η ≤ 1, and η → 1 where the gradients are linearly independent (p ≥ N) and the damping vanishes:
then each sample can be fitted by itself. A damping of about 0.01·trace(F)/N, N the samples, keeps
away from there.

η_U takes F without the two samples of each pair, F' = (1/N) Σ_{k≠n,m} g_k g_kᵀ, so that the three
are independent and E[η_U] = E[g]ᵀ E[(F' + damping·I)⁻¹] E[g] ≥ 0 whatever the gradients'
distribution. With F of all samples it would be negative wherever p ≥ N.
"""

FISHERS: Registry[Fisher] = Registry(
    "fisher", diagonal=diagonal, batch=batch, kfac=kfac, exact=exact
)
"""name → approximation."""
