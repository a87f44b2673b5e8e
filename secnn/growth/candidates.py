"""What every expansion that a network could take is worth."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from secnn.growth.expansion import EXPANSIONS, Expansion
from secnn.growth.proposal import propose_filters
from secnn.growth.settings import GrowthSettings
from secnn.network.network import SECNN
from secnn.registry import Registry
from secnn.score.fisher import Fisher, Gradients, join
from secnn.score.gradients import CHUNK, evaluating, record
from secnn.score.natural import resolve


def regularize(score: float, lam: float, size: float) -> float:
    """η_reg = η·exp(−λ·size²) (arXiv:2401.05686, section 3.1).

    The paper's size is Δp, so that λ is in 1/parameters² and an expansion of 1/√λ parameters keeps
    1/e of its score, whatever the network. With Δp/p (`PENALTIES`) λ has no unit.
    """
    return score * math.exp(-lam * size**2)


PENALTIES: Registry[Callable[[int, int], float]] = Registry(
    "penalty",
    absolute=lambda added, parameters: added,
    relative=lambda added, parameters: added / parameters,
)
"""name → the size of an expansion by Δp and the network's p."""


# Typed as numbers, as a criterion that reads scores always gets them.
NOT_SCORED: Any = None


@dataclass(frozen=True)
class Candidate:
    """An expansion and its worth; all but the first two None if not computed.

    Attributes:
        added_parameters: Δp.
        score, regularized, ratio: η, η_reg and η_reg/η_c.
        gain: η − η_c, of which sampling noise alone makes about Δp/N.
        gain_unbiased: the same without the noise, from η_U of `secnn.score.fisher.Fisher`; may be
            negative.
        gain_low, gain_high: bounds of its 95 % interval, sampling error alone.
        density: ((η_reg − η_c)/Δp) / (η_c/p): worth of a new parameter in that of an old one.
    """

    expansion: Expansion
    added_parameters: int
    score: float = NOT_SCORED
    regularized: float = NOT_SCORED
    ratio: float = NOT_SCORED
    gain: float = NOT_SCORED
    gain_unbiased: float = NOT_SCORED
    gain_low: float = NOT_SCORED
    gain_high: float = NOT_SCORED
    density: float = NOT_SCORED

    @property
    def gain_per_parameter(self) -> float | None:
        """`gain_unbiased`/Δp; None where it was not scored, or adds nothing."""
        if self.gain_unbiased is None or not self.added_parameters:
            return None
        return self.gain_unbiased / self.added_parameters

    @property
    def predicted_reduction(self) -> float | None:
        """`gain_unbiased`/2, in nats: what one natural-gradient step would remove from the loss
        with the new parameters beyond what it would without them, were the loss quadratic with
        Hessian F."""
        return None if self.gain_unbiased is None else self.gain_unbiased / 2


def unscored(network: SECNN, expansions: Sequence[Expansion]) -> list[Candidate]:
    """What a criterion that reads no score gets to see of `expansions`."""
    return [Candidate(e, e.added_parameters(network)) for e in expansions]


def propose(
    network: SECNN, channels: int, kinds: Sequence[str] = ("AddLayer", "AddChannels")
) -> list[Expansion]:
    """Every expansion that fits, of each of the `kinds`, keys of `EXPANSIONS`: per block a layer,
    where it is not full, and `channels` more channels; layers first, lower blocks first."""
    proposals = [e for k in kinds for e in EXPANSIONS.find(k).everywhere(network, channels)]
    return [expansion for expansion in proposals if expansion.fits(network)]


def score_candidates(
    network: SECNN,
    images: Tensor,
    labels: Tensor,
    expansions: Sequence[Expansion],
    lam: float = 0.0,
    fisher: str = "diagonal",
    damping: float | None = None,
    seed: int = 0,
    proposal: str = "noise",
    penalty: str = "absolute",
) -> tuple[float, list[Candidate]]:
    """η_c of the network as it is, and a `Candidate` for each of `expansions`.

    All are scored from one forward and backward pass of the network as it is: a candidate's η is
    that of the old and the new parameters together, where the new ones' noise of 1e-4 does not move
    the old activations. That is exact as the noise tends to 0; with it, η differs from the grown
    copy's by a few per mille, which can matter where the gain is small. Expansions that cannot tell
    their `parts` are scored on their grown copy. The noise depends on `seed` alone; the images
    serve to calibrate new batch norms as well. `lam` and `penalty`, a key of `PENALTIES`,
    regularise. Other arguments as for `natural_expansion_score`.

    The interval of `gain_unbiased` is ± 1.96 standard deviations over `RESAMPLES` bootstrap
    resamples of the images, F staying that of all.

    Raises:
        ValueError: as `natural_expansion_score`; no SECNN; unknown `penalty`.
    """
    if not isinstance(network, SECNN):
        raise ValueError(
            f"network: expected a SECNN, which knows how to grow, got {type(network).__name__}; "
            "natural_expansion_score takes any module"
        )
    approximation, damping = resolve(images, fisher, damping)
    PENALTIES.find(penalty)
    weights = _weights(len(images), seed).to(images)
    given = approximation, network, images, labels
    old, new, copies = _blocks(*given, expansions, seed, proposal)
    before = approximation.total(old, weights, damping)
    current = approximation.score(before, weights, damping)
    candidates = []
    for expansion in expansions:
        if expansion in new:
            after = before + approximation.total(new[expansion], weights, damping)
        else:
            grown = approximation, copies[expansion], images, labels
            after = approximation.total(_blocks(*grown, [], seed, proposal)[0], weights, damping)
        scores = approximation.score(after, weights, damping)
        candidates.append(_candidate(network, expansion, scores, current, lam, penalty))
    return current[0, 0].item(), candidates


RESAMPLES = 20

Scorer = Callable[
    [SECNN, Tensor, Tensor, Sequence[Expansion], GrowthSettings, int],
    tuple[float, list[Candidate]],
]


def per_sample(
    network: SECNN,
    images: Tensor,
    labels: Tensor,
    expansions: Sequence[Expansion],
    settings: GrowthSettings,
    seed: int,
) -> tuple[float, list[Candidate]]:
    """`score_candidates` with what `settings` say."""
    return score_candidates(
        network,
        images,
        labels,
        expansions,
        settings.lam,
        settings.fisher,
        settings.damping,
        seed,
        settings.proposal,
        settings.penalty,
    )


SCORERS: Registry[Scorer] = Registry("scorer")
SCORERS["per-sample"] = per_sample
"""name → function (network, normalised images, labels, expansions, settings, seed) → η_c and a
`Candidate` for each expansion. The seed decides all noise; the network stays as it is."""


def _weights(count: int, seed: int) -> Tensor:
    """Equal weights of all samples, and those of each resample, (1 + RESAMPLES)×N."""
    generator = _generator(seed)
    drawn = torch.randint(count, (RESAMPLES, count), generator=generator)
    counts = [torch.bincount(row, minlength=count) for row in drawn]
    return torch.stack([torch.ones(count), *counts]).double() / count


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _blocks(
    fisher: Fisher,
    network: SECNN,
    images: Tensor,
    labels: Tensor,
    expansions: Sequence[Expansion],
    seed: int,
    proposal: str,
) -> tuple[list[Gradients], dict[Expansion, list[Gradients]], dict[Expansion, SECNN]]:
    """The parameters in blocks; those that each expansion would add, where it can tell; and the
    grown copies of those that cannot."""
    old: list[list[Gradients]] = []
    with evaluating(network):
        filters = propose_filters(proposal, network, expansions, images, labels, seed)
        grown = {e: grown_copy(network, e, images, seed, filters[e]) for e in expansions}
        told = {e: e.parts(network, grown[e]) for e in expansions}
        attached = {e: parts for e, parts in told.items() if parts is not None}
        new: dict[Expansion, list[list[Gradients]]] = {e: [] for e in attached}
        for some, theirs in zip(images.split(CHUNK), labels.split(CHUNK), strict=True):
            recording = record(network, some, theirs)
            old.append(fisher.keep(recording.parts(network).values()))
            for expansion, parts in attached.items():
                new[expansion].append(fisher.keep(parts(recording)))
    copies = {e: made for e, made in grown.items() if e not in attached}
    return join(old), {e: join(chunks) for e, chunks in new.items()}, copies


def grown_copy(
    network: SECNN,
    expansion: Expansion,
    images: Tensor,
    seed: int,
    filters: Sequence[Tensor] | None = None,
) -> SECNN:
    """A copy of `network` to which the expansion is applied as it would be in a trial."""
    grown = copy.deepcopy(network)
    expansion.apply(grown, None, images, _generator(seed), filters)
    return grown


def _candidate(
    network: SECNN,
    expansion: Expansion,
    scores: Tensor,
    current: Tensor,
    lam: float,
    penalty: str,
) -> Candidate:
    """From η and η_U, 2×B, with equal weights (first) and with resampled ones."""
    added, gains = expansion.added_parameters(network), scores - current
    score, eta = scores[0, 0].item(), current[0, 0].item()
    gain, unbiased = gains[:, 0].tolist()
    margin = 1.96 * gains[1, 1:].std().item()
    regularized = regularize(score, lam, PENALTIES[penalty](added, network.n_parameters))
    return Candidate(
        expansion,
        added,
        score,
        regularized,
        ratio(regularized, eta),
        gain,
        unbiased,
        unbiased - margin,
        unbiased + margin,
        density(regularized, eta, added, network.n_parameters),
    )


def density(regularized: float, current: float, added: int, parameters: int) -> float:
    """((η_reg − η_c)/Δp)/(η_c/p): the worth of a new parameter in that of an old one; none of what
    adds no parameter."""
    each = (regularized - current) / added if added else 0.0
    return ratio(each, current / parameters)


def ratio(score: float, current: float) -> float:
    """score / current; if `current` is 0, 1 if both are, else infinite with the sign of `score`."""
    if current == 0:
        return score * math.inf if score else 1.0
    return score / current
