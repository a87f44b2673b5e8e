"""What a criterion may look at, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch

from secnn.growth.candidates import Candidate
from secnn.growth.expansion import Expansion
from secnn.network.spec import NetworkSpec


@dataclass(frozen=True)
class Growth:
    """What a criterion may look at.

    Attributes:
        losses: validation loss after each epoch so far.
        expansions: those made so far, in order.
        current: η_c of the network, None if the criterion does not ask for scores.
        candidates: every expansion that fits, at least one.
        generator: source of randomness.
        parameters: of the network, p.
        spec: its shape.
        grown_after: the epochs, counted from 1, after which `expansions` were made.
    """

    losses: Sequence[float]
    expansions: Sequence[Expansion]
    current: float  # Typed as a number, as a criterion that reads scores always gets one.
    candidates: Sequence[Candidate]
    generator: torch.Generator
    parameters: int
    spec: NetworkSpec
    grown_after: Sequence[int] = ()


@dataclass(frozen=True)
class Decision:
    """The expansion to make, or None, and why."""

    expansion: Expansion | None
    reason: str


class Criterion(Protocol):
    """Made anew for each decision, which so depends on `Growth` alone: an interrupted trial decides
    as one that ran through. `scored` tells whether `decide` reads scores, which cost about four
    forward and backward passes over the images that are scored."""

    scored: ClassVar[bool]

    def decide(self, growth: Growth) -> Decision:
        """Which expansion to make now. Called where the schedule asks
        (`secnn.training.schedule`), unless nothing fits."""
        ...
