"""The score of the authors' program: a part of `examples.authors_program`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from secnn import SECNN, Candidate, Expansion, per_sample_gradients
from secnn.growth.candidates import PENALTIES, SCORERS, density, grown_copy, ratio, regularize
from secnn.growth.settings import GrowthSettings
from secnn.score.gradients import chunks, evaluating

DAMPING = 1e-5


@dataclass(frozen=True)
class TwoPasses:
    """Scores of a network and its grown copies, each in two passes over the images:

        η = Σ_p g_p² / (F_pp + damping)  (/ p, if `mean`),

    F from the first pass, g, the gradient of the mean loss, from the second, both in evaluation
    mode. With `fisher` "batch" F is the square of the first pass's own g: on the same images η is
    a count of parameters, and no more than p. With "diagonal" it is the mean of the squares of
    single images' gradients. An expansion's Δp and `lam` reduce its η as elsewhere.

    Attributes:
        fresh: mirror each image with probability ½ anew in every pass; otherwise once a network.
        mean: divide by the network's number of parameters.
    """

    fresh: bool
    mean: bool

    def __call__(
        self,
        network: SECNN,
        images: Tensor,
        labels: Tensor,
        expansions: Sequence[Expansion],
        settings: GrowthSettings,
        seed: int,
    ) -> tuple[float, list[Candidate]]:
        """η_c of `network`, and a candidate for each of `expansions`.

        Raises:
            ValueError: the Fisher matrix is not one of the two, or filters are to be proposed, or
                the criterion reads what these scores do not tell.
        """
        expect_simple(settings)
        generator = torch.Generator().manual_seed(seed)
        found = [self.score(network, images, labels, settings, generator)]
        for expansion in expansions:
            grown = grown_copy(network, expansion, images, seed)
            found.append(self.score(grown, images, labels, settings, generator))
        current, *scores = torch.stack(found).tolist()  # The only wait for the device.
        candidates = [
            candidate(network, expansion, score, current, settings)
            for expansion, score in zip(expansions, scores, strict=True)
        ]
        return current, candidates

    def score(
        self,
        network: SECNN,
        images: Tensor,
        labels: Tensor,
        settings: GrowthSettings,
        generator: torch.Generator,
    ) -> Tensor:
        """η of one network, a scalar on its device."""
        damping = DAMPING if settings.damping is None else settings.damping
        first = mirrored(images, generator)
        second = mirrored(images, generator) if self.fresh else first
        fisher = FISHERS[settings.fisher](network, first, labels)
        eta = (gradient(network, second, labels).square() / (fisher + damping)).double().sum()
        return eta / network.n_parameters if self.mean else eta


def mirrored(images: Tensor, generator: torch.Generator) -> Tensor:
    """The images N×C×H×W, each mirrored left to right with probability ½."""
    chosen = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def gradient(network: SECNN, images: Tensor, labels: Tensor) -> Tensor:
    """That of the mean cross-entropy, as a vector of p."""
    with evaluating(network, "reference"), torch.enable_grad():
        loss = F.cross_entropy(network(images), labels)
        found = torch.autograd.grad(loss, list(network.parameters()))
    return torch.cat([part.flatten() for part in found])


def of_the_batch(network: SECNN, images: Tensor, labels: Tensor) -> Tensor:
    """F as the square of the mean loss's gradient, p."""
    return gradient(network, images, labels).square()


def of_each_image(network: SECNN, images: Tensor, labels: Tensor) -> Tensor:
    """F as the mean of the squares of each image's own gradient, p."""
    total: float | Tensor = 0.0
    for some in chunks(images, labels):
        samples = per_sample_gradients(network, *some).values()
        total = total + torch.cat([g.square().sum(0).flatten() for g in samples])
    return total / len(images)


FISHERS = {"batch": of_the_batch, "diagonal": of_each_image}


def expect_simple(settings: GrowthSettings) -> None:
    """Raise ValueError for settings that these scores do not know."""
    scorer = f"scorer {settings.scorer}"
    if settings.fisher not in FISHERS:
        known = " or ".join(FISHERS)
        raise ValueError(f"fisher: expected {known} for {scorer}, got {settings.fisher}")
    if settings.proposal != "noise":
        raise ValueError(f"proposal: expected noise for {scorer}, got {settings.proposal}")
    if settings.criterion in ("confident", "gain"):
        raise ValueError(
            f"criterion: expected one that reads no sampling noise for {scorer}, got "
            f"{settings.criterion}; choose natural, density or balanced, or --set scorer=per-sample"
        )


def candidate(
    network: SECNN, expansion: Expansion, score: float, current: float, settings: GrowthSettings
) -> Candidate:
    """The worth of an expansion whose grown copy has the score η, beside the network's own."""
    added, parameters = expansion.added_parameters(network), network.n_parameters
    regularized = regularize(score, settings.lam, PENALTIES[settings.penalty](added, parameters))
    return Candidate(
        expansion,
        added,
        score,
        regularized,
        ratio(regularized, current),
        gain=score - current,
        density=density(regularized, current, added, parameters),
    )


for name, scorer in {
    "fresh-flips": TwoPasses(fresh=True, mean=True),
    "same-flips": TwoPasses(fresh=False, mean=True),
    "fresh-flips-sum": TwoPasses(fresh=True, mean=False),
    "same-flips-sum": TwoPasses(fresh=False, mean=False),
}.items():
    SCORERS[name] = scorer
