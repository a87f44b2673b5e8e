"""Controls: criteria that read no scores, which any score must beat.

All but `Never` grow whenever they are asked: at the end of every rung, or, with `schedule` plateau,
after the first epoch and after every cooldown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from secnn.growth.decision import Decision, Growth
from secnn.growth.expansion import AddChannels, AddLayer, Expansion
from secnn.network.spec import NetworkSpec


@dataclass(frozen=True)
class Never:
    """The starting network, trained on."""

    scored: ClassVar[bool] = False
    grows: ClassVar[bool] = False

    def decide(self, growth: Growth) -> Decision:
        return Decision(None, "never")


@dataclass(frozen=True)
class Random:
    """One of the candidates, all equally likely."""

    scored: ClassVar[bool] = False

    def decide(self, growth: Growth) -> Decision:
        return Decision(drawn([c.expansion for c in growth.candidates], growth), "drawn at random")


@dataclass(frozen=True)
class RandomPlace:
    """As many layers and as many channels as `Schedule` makes, in its order, each for a block drawn
    from those where it fits: only the place is left to chance. The other kind where none fits."""

    scored: ClassVar[bool] = False

    def decide(self, growth: Growth) -> Decision:
        fitting = [c.expansion for c in growth.candidates]
        blocks = 1 + max(block_of(e) for e in (*growth.expansions, *fitting))
        kind = (AddLayer, AddChannels)[len(growth.expansions) // blocks % 2]
        of_kind = [e for e in fitting if isinstance(e, kind)]
        return Decision(drawn(of_kind or fitting, growth), "the schedule's kind, a block at random")


def drawn(fitting: Sequence[Expansion], growth: Growth) -> Expansion:
    """One of `fitting`, all equally likely."""
    return fitting[int(torch.randint(len(fitting), (), generator=growth.generator))]


@dataclass(frozen=True)
class InTurn:
    """The next in turn: a layer for each block, then channels for each block, and so on, from where
    the last expansion was; what does not fit is passed over."""

    scored: ClassVar[bool] = False

    def decide(self, growth: Growth) -> Decision:
        fitting = [c.expansion for c in growth.candidates]
        return Decision(next_in_turn(fitting, growth.expansions), "next in the schedule")


def next_in_turn(fitting: Sequence[Expansion], made: Sequence[Expansion]) -> Expansion:
    """The first of `fitting` behind the last one made, or the very first."""
    turns = sorted(fitting, key=_turn)
    later = (e for e in turns if made and _turn(e) > _turn(made[-1]))
    return next(later, turns[0])


def _turn(expansion: Expansion) -> tuple[int, int]:
    """Where the schedule has it: layers before channels, other kinds last; lower blocks first."""
    kinds = (AddLayer, AddChannels)
    kind = next((i for i, k in enumerate(kinds) if isinstance(expansion, k)), len(kinds))
    return kind, block_of(expansion)


def block_of(expansion: Expansion) -> int:
    """Its block; 0 for what is not of a block."""
    return getattr(expansion, "block", 0)


@dataclass(frozen=True)
class LayersFirst:
    """A layer in the deepest block that is not full, where it costs the fewest multiply-adds; once
    no layer fits, channels in turn, deepest block first."""

    scored: ClassVar[bool] = False

    def decide(self, growth: Growth) -> Decision:
        widened = Counter(e.block for e in growth.expansions if isinstance(e, AddChannels))
        fitting = [c.expansion for c in growth.candidates]
        layers = [e for e in fitting if isinstance(e, AddLayer)]

        def turn(e: Expansion) -> tuple[int, int]:
            return 0 if layers else widened[block_of(e)], -block_of(e)

        first = min(layers or fitting, key=turn)
        return Decision(first, "layers first, deepest block first")


@dataclass(frozen=True)
class ChannelsFirst:
    """Channels, in turn, deepest block first; a layer only where no channels fit."""

    scored: ClassVar[bool] = False

    def decide(self, growth: Growth) -> Decision:
        made = Counter((type(e), block_of(e)) for e in growth.expansions)
        fitting = [c.expansion for c in growth.candidates]
        channels = [e for e in fitting if isinstance(e, AddChannels)]
        first = min(channels or fitting, key=lambda e: (made[type(e), block_of(e)], -block_of(e)))
        return Decision(first, "channels in turn, deepest block first")


@dataclass(frozen=True)
class Pyramid:
    """A layer and channels by turns, towards blocks each twice as wide as the one before: the layer
    where there are fewest, the channels in the deepest block that is not twice as wide as the one
    before it, else in the first; of equals the deepest. The other kind where none fits."""

    scored: ClassVar[bool] = False

    def decide(self, growth: Growth) -> Decision:
        fitting = [c.expansion for c in growth.candidates]
        kind = (AddLayer, AddChannels)[len(growth.expansions) % 2]
        of_kind = [e for e in fitting if isinstance(e, kind)] or fitting
        first = min(of_kind, key=lambda e: (self._behind(e, growth.spec), -block_of(e)))
        return Decision(first, "a layer and channels by turns, towards twice the width")

    def _behind(self, expansion: Expansion, spec: NetworkSpec) -> int:
        """What comes first has the least."""
        block, widths = block_of(expansion), spec.channels
        if isinstance(expansion, AddChannels):
            return 1 if block == 0 else 2 * (widths[block] >= 2 * widths[block - 1])
        return spec.layers[block] if isinstance(expansion, AddLayer) else 0
