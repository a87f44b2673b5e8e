"""Considering an expansion: candidates within the budget, their scores, and the decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from secnn.growth.candidates import NOT_SCORED, SCORERS, Candidate, propose, unscored
from secnn.growth.checks import expect_grown
from secnn.growth.criterion import criterion_of
from secnn.growth.decision import Decision, Growth
from secnn.growth.expansion import AddChannels, Expansion, largest_logit_change
from secnn.growth.proposal import propose_filters
from secnn.growth.settings import GrowthSettings
from secnn.network.network import SECNN, count_flops, outline


@dataclass(frozen=True)
class Considered:
    """η_c (None if not scored), every candidate, and what was decided."""

    current: float | None
    candidates: Sequence[Candidate]
    decision: Decision


def consider(
    network: SECNN,
    config: GrowthSettings,
    scoring_set: tuple[Tensor, Tensor],
    made: Sequence[Expansion],
    losses: Sequence[float],
    seed: int,
    grown_after: Sequence[int] = (),
) -> Considered:
    """Ask the criterion of `config` what to do, having `made` expansions after the epochs
    `grown_after` and measured the validation `losses`, one an epoch, so far.

    `scoring_set` holds normalised images and labels; `seed` decides all noise, so that the chosen
    expansion can be made as it was scored.

    Raises:
        ValueError: the criterion is none, or its answer no decision on one of the candidates.
    """
    expansions = affordable(network, config, channel_step(config, made))
    if not expansions:
        return Considered(None, [], Decision(None, "nothing fits"))
    if config.plateau and not has_slowed(losses, config.plateau):
        reason = f"training has not slowed in {config.plateau} epochs"
        return Considered(None, [], Decision(None, reason))
    criterion = criterion_of(config)
    if criterion.scored:
        score = SCORERS.find(config.scorer)
        answer = score(network, *scoring_set, expansions, config, seed)
        current, candidates = expect_scored(answer, expansions, config.scorer)
    else:
        current = NOT_SCORED
        candidates = unscored(network, expansions)
    generator = torch.Generator().manual_seed(seed)
    state = network.n_parameters, network.spec, grown_after
    growth = Growth(losses, made, current, candidates, generator, *state)
    decision = expect_decided(criterion.decide(growth), expansions, config.criterion)
    return Considered(current, candidates, decision)


def expect_decided(answer: object, expansions: Sequence[Expansion], criterion: str) -> Decision:
    """`answer`, if it is a `Decision` on one of `expansions` or none; else ValueError: what is not
    among the candidates would exceed the budgets, and be missing from the logs."""
    if not isinstance(answer, Decision):
        raise ValueError(
            f"criterion {criterion}: expected decide to return a secnn.Decision, got {answer!r}"
        )
    if answer.expansion is not None and answer.expansion not in expansions:
        raise ValueError(
            f"criterion {criterion}: expected the expansion of one of growth.candidates, or None, "
            f"got {answer.expansion!r}"
        )
    if not isinstance(answer.reason, str):
        raise ValueError(
            f"criterion {criterion}: expected a Decision with its reason in words, got "
            f"{answer.reason!r}"
        )
    return answer


def expect_scored(
    answer: Any, expansions: Sequence[Expansion], scorer: str
) -> tuple[float, list[Candidate]]:
    """`answer`, if it is η_c and a `Candidate` for each of `expansions`; else ValueError."""
    current, candidates = answer if isinstance(answer, tuple) and len(answer) == 2 else (None, ())
    scored = isinstance(candidates, Sequence) and all(
        isinstance(c, Candidate) and isinstance(c.score, float) for c in candidates
    )
    if (
        isinstance(current, float)
        and scored
        and [c.expansion for c in candidates] == list(expansions)
    ):
        return current, list(candidates)
    raise ValueError(
        f"scorer {scorer}: expected the network's eta and a secnn.Candidate with a score for each "
        f"of the {len(expansions)} expansions, in their order, got {answer!r:.200}"
    )


def can_grow(network: SECNN, config: GrowthSettings, made: Sequence[Expansion]) -> bool:
    """Whether the criterion may ever grow, and an expansion fits now."""
    return grows(config) and bool(affordable(network, config, channel_step(config, made)))


def grows(config: GrowthSettings) -> bool:
    """Whether the criterion ever grows a network."""
    return getattr(criterion_of(config), "grows", True)


def expand(
    network: SECNN,
    optimizer: Optimizer,
    expansion: Expansion,
    proposal: str,
    scoring_set: tuple[Tensor, Tensor],
    seed: int,
) -> float:
    """Make `expansion` as it was scored with `seed`; how far the logits of the scoring set moved,
    by `largest_logit_change`.

    Raises:
        ValueError: it did not add what it had said, or the optimizer does not train what it added.
    """
    images, labels = scoring_set
    filters = propose_filters(proposal, network, [expansion], images, labels, seed)[expansion]
    generator = torch.Generator().manual_seed(seed)
    expected = network.n_parameters + expansion.added_parameters(network)
    with torch.no_grad():
        before = network.eval()(images)
        expansion.apply(network, optimizer, images, generator, filters)
        expect_grown(network, optimizer, expansion, expected)
        return largest_logit_change(before, network.eval()(images))


SLOWED = 0.99
"""A fall of the validation loss by less than this factor counts as no progress."""


def has_slowed(losses: Sequence[float], patience: int) -> bool:
    """Whether the lowest validation loss of the last `patience` epochs is not below `SLOWED` times
    the lowest before; not where there is none before."""
    before, since = losses[:-patience], losses[-patience:]
    return bool(before) and min(since) >= SLOWED * min(before)


def channel_step(config: GrowthSettings, made: Sequence[Expansion]) -> int:
    """Channels that the next `AddChannels` adds, by how many were made."""
    widened = sum(isinstance(expansion, AddChannels) for expansion in made)
    return config.channel_steps[min(widened, len(config.channel_steps) - 1)]


def affordable(network: SECNN, config: GrowthSettings, step: int) -> list[Expansion]:
    """The expansions that fit the network and the budgets of `config`."""
    proposals = propose(network, step, config.expansions)
    if config.max_parameters is not None:
        room = config.max_parameters - network.n_parameters
        proposals = [e for e in proposals if e.added_parameters(network) <= room]
    if config.max_flops is not None:
        proposals = [e for e in proposals if _grown_flops(network, e) <= config.max_flops]
    return proposals


def _grown_flops(network: SECNN, expansion: Expansion) -> int:
    return count_flops(outline(expansion.grown(network.spec)))
