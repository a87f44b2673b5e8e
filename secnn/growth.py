"""Considering an expansion: candidates within the budget, their scores, and the decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from secnn.config import TrialConfig
from secnn.criterion import CRITERIA
from secnn.decision import Decision, Growth
from secnn.expansion import AddChannels, AddLayer, Expansion
from secnn.network import SECNN, count_flops
from secnn.record import ExpansionRecord
from secnn.score import Candidate, propose, score_candidates

NOT_CONSIDERED = dict.fromkeys(
    ("expansion", "eta_current", "best_layer_ratio", "best_channels_ratio", "logit_change")
)
"""The columns of an `EpochRecord` whose epoch is in a cooldown, or the last."""


@dataclass(frozen=True)
class Considered:
    """η_c (None if not scored), every candidate, and what was decided."""

    current: float | None
    candidates: Sequence[Candidate]
    decision: Decision

    def columns(self, logit_change: float | None) -> dict:
        """The columns of the `EpochRecord`."""
        expansion = self.decision.expansion
        return {
            "expansion": None if expansion is None else str(expansion),
            "eta_current": self.current,
            "best_layer_ratio": self._best_ratio(AddLayer),
            "best_channels_ratio": self._best_ratio(AddChannels),
            "logit_change": logit_change,
        }

    def records(self, epoch: int, logit_change: float | None) -> list[ExpansionRecord]:
        """One record a candidate; none where nothing was scored and nothing chosen."""
        chosen = self.decision.expansion
        if self.current is None and chosen is None:
            return []
        return [
            ExpansionRecord(
                epoch=epoch,
                kind=type(c.expansion).__name__,
                block=c.expansion.block,
                channels=getattr(c.expansion, "channels", None),
                added_parameters=c.added_parameters,
                eta=c.score,
                eta_regularized=c.regularized,
                ratio=c.ratio,
                gain=c.gain,
                gain_unbiased=c.gain_unbiased,
                gain_low=c.gain_low,
                gain_high=c.gain_high,
                gain_per_parameter=c.gain_per_parameter,
                density=c.density,
                predicted_reduction=c.predicted_reduction,
                chosen=c.expansion == chosen,
                reason=self.decision.reason,
                logit_change=logit_change if c.expansion == chosen else None,
            )
            for c in self.candidates
        ]

    def _best_ratio(self, kind: type[Expansion]) -> float | None:
        ratios = [c.ratio for c in self.candidates if isinstance(c.expansion, kind)]
        return max((r for r in ratios if r is not None), default=None)


def with_reductions(
    considered: Sequence[ExpansionRecord], losses: Sequence[float], span: int
) -> list[ExpansionRecord]:
    """The records, the chosen ones with the fall of the validation loss in the `span` epochs before
    and after; `losses` are those of epochs 1, 2, … so far, before each epoch's expansion."""

    def fall(first: int, last: int) -> float | None:
        known = first >= 1 and last <= len(losses)
        return losses[first - 1] - losses[last - 1] if known else None

    return [
        replace(
            r,
            reduction_before=fall(r.epoch - span, r.epoch),
            realised_reduction=fall(r.epoch, r.epoch + span),
        )
        if r.chosen
        else r
        for r in considered
    ]


def consider(
    network: SECNN,
    config: TrialConfig,
    scoring_set: tuple[Tensor, Tensor],
    made: Sequence[Expansion],
    losses: Sequence[float],
    seed: int,
) -> Considered:
    """Ask the criterion of `config` what to do, having `made` expansions and measured the
    validation `losses`, one an epoch, so far.

    `scoring_set` holds normalised images and labels; `seed` decides all noise, so that the chosen
    expansion can be made as it was scored.
    """
    expansions = affordable(network, config, channel_step(config, made))
    if not expansions:
        return Considered(None, [], Decision(None, "nothing fits"))
    if config.plateau and not has_slowed(losses, config.plateau):
        reason = f"training has not slowed in {config.plateau} epochs"
        return Considered(None, [], Decision(None, reason))
    criterion = CRITERIA[config.criterion](config)
    if criterion.scored:
        current, candidates = score_candidates(
            network,
            *scoring_set,
            expansions,
            config.lam,
            config.fisher,
            config.damping,
            seed,
            config.proposal,
            config.penalty,
        )
    else:
        current = None
        candidates = [Candidate(e, e.added_parameters(network)) for e in expansions]
    generator = torch.Generator().manual_seed(seed)
    growth = Growth(losses, made, current, candidates, generator, network.n_parameters)
    decision = criterion.decide(growth)
    return Considered(current, candidates, decision)


SLOWED = 0.99
"""A fall of the validation loss by less than this factor counts as no progress."""


def has_slowed(losses: Sequence[float], patience: int) -> bool:
    """Whether the lowest validation loss of the last `patience` epochs is not below `SLOWED` times
    the lowest before; not where there is none before."""
    before, since = losses[:-patience], losses[-patience:]
    return bool(before) and min(since) >= SLOWED * min(before)


def channel_step(config: TrialConfig, made: Sequence[Expansion]) -> int:
    """Channels that the next `AddChannels` adds, by how many were made."""
    widened = sum(isinstance(expansion, AddChannels) for expansion in made)
    return config.channel_steps[min(widened, len(config.channel_steps) - 1)]


def affordable(network: SECNN, config: TrialConfig, step: int) -> list[Expansion]:
    """The expansions that fit the network and the budgets of `config`."""
    proposals = propose(network, step)
    if config.max_parameters is not None:
        room = config.max_parameters - network.n_parameters
        proposals = [e for e in proposals if e.added_parameters(network) <= room]
    if config.max_flops is not None:
        proposals = [e for e in proposals if _grown_flops(network, e) <= config.max_flops]
    return proposals


def _grown_flops(network: SECNN, expansion: Expansion) -> int:
    with torch.device("meta"):
        return count_flops(SECNN(expansion.grown(network.spec)))
