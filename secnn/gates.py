"""When a criterion is asked at all."""

from __future__ import annotations

from dataclasses import dataclass

from secnn.decision import Criterion, Decision, Growth


@dataclass(frozen=True)
class _Gate:
    """What stands before another criterion."""

    criterion: Criterion

    @property
    def scored(self) -> bool:
        """Whether the other one is."""
        return self.criterion.scored


@dataclass(frozen=True)
class Every(_Gate):
    """Another criterion, asked only after epochs 1, 1 + `interval`, …, the first of which is as
    early as a rule that reads scores; and only if something fits."""

    interval: int

    def decide(self, growth: Growth) -> Decision:
        if growth.epoch % self.interval != 1 % self.interval:
            return Decision(None, f"not due: every {self.interval} epochs")
        if not growth.candidates:
            return Decision(None, "nothing fits")
        return self.criterion.decide(growth)


@dataclass(frozen=True)
class AtPlateau(_Gate):
    """Another criterion, asked only when training has slowed: when the lowest validation loss of
    the last `patience` epochs is not below `SLOWED` times the lowest before."""

    patience: int

    def decide(self, growth: Growth) -> Decision:
        before, since = growth.losses[: -self.patience], growth.losses[-self.patience :]
        if not before or min(since) < SLOWED * min(before):
            return Decision(None, f"training has not slowed in {self.patience} epochs")
        return self.criterion.decide(growth)


SLOWED = 0.99
"""A fall of the validation loss by less than this factor counts as no progress."""
