"""When to grow, where and by what: the paper's rule and the controls that it must beat.

A criterion looks at a `Growth` and returns a `Decision` with its reason. A new one is one class and
one line in `CRITERIA`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import torch

from secnn.expansion import AddChannels, AddLayer, Expansion
from secnn.score import Candidate, ratio

if TYPE_CHECKING:
    from secnn.config import TrialConfig


@dataclass(frozen=True)
class Growth:
    """What a criterion may look at.

    Attributes:
        losses: validation loss after each epoch so far.
        expansions: those made so far, in order.
        current: η_c of the network, None if the criterion does not ask for scores.
        candidates: every expansion that fits.
        generator: source of randomness.
        parameters: of the network, p.
    """

    losses: Sequence[float]
    expansions: Sequence[Expansion]
    current: float | None
    candidates: Sequence[Candidate]
    generator: torch.Generator
    parameters: int

    @property
    def epoch(self) -> int:
        """Epochs trained."""
        return len(self.losses)


@dataclass(frozen=True)
class Decision:
    """The expansion to make, or None, and why."""

    expansion: Expansion | None
    reason: str


class Criterion(Protocol):
    """`scored` tells whether `decide` reads scores, which cost a few forward passes."""

    scored: ClassVar[bool]

    def decide(self, growth: Growth) -> Decision:
        """Which expansion to make now. Not called during the cooldown."""
        ...


def best(candidates: Sequence[Candidate], kind: type[Expansion]) -> Candidate | None:
    """The candidate of `kind` with the highest η_reg; of equals the first, the lowest block."""
    of_kind = [c for c in candidates if isinstance(c.expansion, kind)]
    return max(of_kind, key=lambda c: c.regularized, default=None)


@dataclass(frozen=True)
class Natural:
    """The paper's rule (arXiv:2401.05686, sections 3.1 and 3.2).

    Let η_l be the highest regularised score of all layers that could be added, η_i that of all
    channels. The higher of the two is made if it exceeds τ·η_c; a layer if they are equal, and of
    equal blocks the lowest. With η_c = 0 any positive score exceeds it. Scores that are not finite
    change nothing.
    """

    tau: float
    scored: ClassVar[bool] = True

    def decide(self, growth: Growth) -> Decision:
        scores = [growth.current, *(c.regularized for c in growth.candidates)]
        if not all(map(math.isfinite, scores)):
            return Decision(None, "a score is not finite")
        layer, channels = (best(growth.candidates, k) for k in (AddLayer, AddChannels))
        if layer is None and channels is None:
            return Decision(None, "nothing fits")
        layer_wins = channels is None or (layer and layer.regularized >= channels.regularized)
        winner = layer if layer_wins else channels
        grows = winner.regularized > self.tau * growth.current
        relation = ">" if grows else "<="
        reason = f"eta/eta_c = {winner.ratio:.4g} {relation} tau = {self.tau:g}"
        return Decision(winner.expansion if grows else None, reason)


@dataclass(frozen=True)
class Density:
    """Gain for its price: the candidate with the highest (η − η_c)/Δp, if that exceeds τ·η_c/p.

    A candidate whose parameters are worth as much as the network's own have on average has a
    density of 1, whatever its size, where the paper's ratio tends to 1 + Δp/p.
    """

    tau: float
    scored: ClassVar[bool] = True

    def decide(self, growth: Growth) -> Decision:
        return _most(growth, lambda c: c.density, self.tau, "density")


@dataclass(frozen=True)
class Confident:
    """The same for a gain that is beyond doubt: the candidate whose gain, free of the bias by
    sampling noise, has the highest lower bound of its 95 % interval per Δp·η_c/p, if above τ."""

    tau: float
    scored: ClassVar[bool] = True

    def decide(self, growth: Growth) -> Decision:
        def bound(c: Candidate) -> float:
            return ratio(c.gain_low, c.added_parameters * growth.current / growth.parameters)

        return _most(growth, bound, self.tau, "certain density")


@dataclass(frozen=True)
class Gain:
    """The candidate with the highest gain free of the bias by sampling noise, whatever its size, if
    the gain exceeds τ·η_c/100."""

    tau: float
    scored: ClassVar[bool] = True

    def decide(self, growth: Growth) -> Decision:
        def share(c: Candidate) -> float:
            return ratio(100 * c.gain_unbiased, growth.current)

        return _most(growth, share, self.tau, "gain in % of eta_c")


def _most(growth: Growth, worth: Callable[[Candidate], float], tau: float, name: str) -> Decision:
    """The candidate of the highest worth, of equals the first, if that exceeds τ."""
    if not growth.candidates:
        return Decision(None, "nothing fits")
    worths = [worth(c) for c in growth.candidates]
    if not all(map(math.isfinite, worths)):
        return Decision(None, "a score is not finite")
    highest = max(worths)
    winner = growth.candidates[worths.index(highest)]
    grows = highest > tau
    reason = f"{name} = {highest:.4g} {'>' if grows else '<='} tau = {tau:g}"
    return Decision(winner.expansion if grows else None, reason)


@dataclass(frozen=True)
class AtPlateau:
    """Another criterion, asked only when training has slowed: when the lowest validation loss of
    the last `patience` epochs is not below `SLOWED` times the lowest before."""

    criterion: Criterion
    patience: int

    @property
    def scored(self) -> bool:
        """Whether the other one is."""
        return self.criterion.scored

    def decide(self, growth: Growth) -> Decision:
        before, since = growth.losses[: -self.patience], growth.losses[-self.patience :]
        if not before or min(since) < SLOWED * min(before):
            return Decision(None, f"training has not slowed in {self.patience} epochs")
        return self.criterion.decide(growth)


SLOWED = 0.99
"""A fall of the validation loss by less than this factor counts as no progress."""


@dataclass(frozen=True)
class Never:
    """Control: the starting network, trained on."""

    scored: ClassVar[bool] = False

    def decide(self, growth: Growth) -> Decision:
        return Decision(None, "never")


def _due(growth: Growth, interval: int) -> bool:
    """After epochs 1, 1 + `interval`, …: as early as a rule that reads scores."""
    return growth.epoch % interval == 1 % interval and len(growth.candidates) > 0


@dataclass(frozen=True)
class Random:
    """Control: every `interval` epochs one of the candidates, all equally likely."""

    interval: int
    scored: ClassVar[bool] = False

    def decide(self, growth: Growth) -> Decision:
        if not _due(growth, self.interval):
            return Decision(None, f"not due: every {self.interval} epochs")
        drawn = torch.randint(len(growth.candidates), (), generator=growth.generator).item()
        return Decision(growth.candidates[drawn].expansion, "drawn at random")


@dataclass(frozen=True)
class Schedule:
    """Control: every `interval` epochs the next in turn: a layer for each block, then channels for
    each block, and so on, from where the last expansion was; what does not fit is passed over."""

    interval: int
    scored: ClassVar[bool] = False

    def decide(self, growth: Growth) -> Decision:
        if not _due(growth, self.interval):
            return Decision(None, f"not due: every {self.interval} epochs")
        fitting = [c.expansion for c in growth.candidates]
        turns = sorted(fitting, key=_turn)
        later = (e for e in turns if growth.expansions and _turn(e) > _turn(growth.expansions[-1]))
        return Decision(next(later, turns[0]), "next in the schedule")


@dataclass(frozen=True)
class LayersFirst:
    """Control: every `interval` epochs a layer in the deepest block that is not full, where it
    costs the fewest multiply-adds; once no layer fits, channels in turn, deepest block first."""

    interval: int
    scored: ClassVar[bool] = False

    def decide(self, growth: Growth) -> Decision:
        if not _due(growth, self.interval):
            return Decision(None, f"not due: every {self.interval} epochs")
        widened = Counter(e.block for e in growth.expansions if isinstance(e, AddChannels))
        fitting = [c.expansion for c in growth.candidates]
        layers = [e for e in fitting if isinstance(e, AddLayer)]
        first = min(layers or fitting, key=lambda e: (not layers and widened[e.block], -e.block))
        return Decision(first, "layers first, deepest block first")


@dataclass(frozen=True)
class ChannelsFirst:
    """Control: every `interval` epochs channels, in turn, deepest block first; a layer only where
    no channels fit."""

    interval: int
    scored: ClassVar[bool] = False

    def decide(self, growth: Growth) -> Decision:
        if not _due(growth, self.interval):
            return Decision(None, f"not due: every {self.interval} epochs")
        made = Counter((type(e), e.block) for e in growth.expansions)
        fitting = [c.expansion for c in growth.candidates]
        channels = [e for e in fitting if isinstance(e, AddChannels)]
        first = min(channels or fitting, key=lambda e: (made[type(e), e.block], -e.block))
        return Decision(first, "channels in turn, deepest block first")


def _turn(expansion: Expansion) -> tuple[bool, int]:
    """Where the schedule has it: layers before channels, lower blocks first."""
    return isinstance(expansion, AddChannels), expansion.block


CRITERIA: dict[str, Callable[[TrialConfig], Criterion]] = {
    "natural": lambda config: Natural(config.tau),
    "density": lambda config: Density(config.tau),
    "confident": lambda config: Confident(config.tau),
    "gain": lambda config: Gain(config.tau),
    "never": lambda config: Never(),
    "random": lambda config: Random(config.interval),
    "schedule": lambda config: Schedule(config.interval),
    "layers-first": lambda config: LayersFirst(config.interval),
    "channels-first": lambda config: ChannelsFirst(config.interval),
}

THRESHOLDS = {"natural": 1.1, "density": 0.5, "confident": 0.5, "gain": 1.0}
"""The criteria that read scores and λ, and a τ at which each grows (docs/criterion.md); the paper's
is 2 for `natural`."""


def make_criterion(config: TrialConfig) -> Criterion:
    """The criterion that `config` names, gated by a plateau if it says so."""
    criterion = CRITERIA[config.criterion](config)
    return AtPlateau(criterion, config.plateau) if config.plateau else criterion
