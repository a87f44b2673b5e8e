"""The natural expansion score of a network and of every expansion it could take."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from secnn.expansion import AddChannels, AddLayer, Expansion
from secnn.fisher import FISHERS
from secnn.network import SECNN


def natural_expansion_score(
    network: SECNN,
    images: Tensor,
    labels: Tensor,
    fisher: str = "diagonal",
    damping: float = 1e-8,
) -> float:
    """η = gᵀF⁻¹g (arXiv:2401.05686, section 3.1).

    g is the mean gradient of the cross-entropy over the N images, F the empirical Fisher
    information in the named approximation, the network in evaluation mode. η has no unit: half of
    it is the loss that one natural-gradient step would remove, were the loss quadratic with
    Hessian F.

    Args:
        images: normalised images N×C×H×W.
        labels: class indices N.
        fisher: a key of `secnn.fisher.FISHERS`.
        damping: added to F's diagonal, in its unit (squared loss per squared parameter).

    Raises:
        ValueError: unknown `fisher`, no images, or `damping` not above 0.
    """
    if fisher not in FISHERS:
        raise ValueError(f"fisher: expected one of {', '.join(FISHERS)}, got {fisher!r}")
    if len(images) == 0 or damping <= 0:
        raise ValueError(
            f"images, damping: expected at least one image and damping above 0, "
            f"got {len(images)} images and {damping}"
        )
    return FISHERS[fisher](network, images, labels, damping)


def regularize(score: float, lam: float, added_parameters: int) -> float:
    """η_reg = η·exp(−λ·Δp²) (arXiv:2401.05686, section 3.1).

    λ is in 1/parameters²: an expansion of Δp = 1/√λ parameters keeps 1/e of its score.
    """
    return score * math.exp(-lam * added_parameters**2)


@dataclass(frozen=True)
class Candidate:
    """An expansion and its worth: Δp, η, η_reg and η_reg/η_c, the scores None if not computed."""

    expansion: Expansion
    added_parameters: int
    score: float | None = None
    regularized: float | None = None
    ratio: float | None = None


def propose(network: SECNN, channels: int) -> list[Expansion]:
    """Every expansion that fits: per block a layer, where it is not full, and `channels` more
    channels; layers first, lower blocks first."""
    blocks = range(len(network.blocks))
    proposals = [AddLayer(b) for b in blocks] + [AddChannels(b, channels) for b in blocks]
    return [expansion for expansion in proposals if expansion.fits(network)]


def score_candidates(
    network: SECNN,
    images: Tensor,
    labels: Tensor,
    expansions: Sequence[Expansion],
    lam: float = 0.0,
    fisher: str = "diagonal",
    damping: float = 1e-8,
    seed: int = 0,
) -> tuple[float, list[Candidate]]:
    """η_c of the network as it is, and a `Candidate` for each of `expansions`.

    Each is applied to a copy, with noise that depends on `seed` alone. The images serve to
    calibrate new batch norms as well.
    """
    current = natural_expansion_score(network, images, labels, fisher, damping)
    candidates = []
    for expansion in expansions:
        grown = copy.deepcopy(network)
        expansion.apply(grown, images=images, generator=torch.Generator().manual_seed(seed))
        added = expansion.added_parameters(network)
        score = natural_expansion_score(grown, images, labels, fisher, damping)
        regularized = regularize(score, lam, added)
        candidates.append(
            Candidate(expansion, added, score, regularized, ratio(regularized, current))
        )
    return current, candidates


def ratio(score: float, current: float) -> float:
    """score / current; infinite if only `current` is 0, and 1 if both are."""
    if current == 0:
        return math.inf if score > 0 else 1.0
    return score / current
