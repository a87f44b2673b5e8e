"""When to grow, where and by what: the paper's rule, and others that read scores.

A criterion looks at a `Growth` and returns a `Decision` with its reason. A new one is one class and
one line in `CRITERIA`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from secnn.growth.candidates import Candidate, ratio
from secnn.growth.controls import (
    ChannelsFirst,
    InTurn,
    LayersFirst,
    Never,
    Pyramid,
    Random,
    RandomPlace,
)
from secnn.growth.decision import Criterion, Decision, Growth
from secnn.growth.expansion import AddChannels, AddLayer, Expansion
from secnn.growth.settings import GrowthSettings
from secnn.registry import Registry


def best(candidates: Sequence[Candidate], kind: type[Expansion]) -> Candidate | None:
    """The candidate of `kind` with the highest η_reg; of equals the first, the lowest block."""
    of_kind = [c for c in candidates if isinstance(c.expansion, kind)]
    return max(of_kind, key=_regularized, default=None)


def _regularized(candidate: Candidate) -> float:
    return candidate.regularized


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
        # Of equals the first, a layer.
        winner = max(filter(None, (layer, channels)), key=_regularized, default=None)
        if winner is None:
            return Decision(None, "neither a layer nor channels fit")
        grows = winner.regularized > self.tau * growth.current
        relation = ">" if grows else "<="
        reason = f"eta/eta_c = {winner.ratio:.4g} {relation} tau = {self.tau:g}"
        return Decision(winner.expansion if grows else None, reason)


@dataclass(frozen=True)
class Density:
    """Gain for its price: the candidate with the highest (η_reg − η_c)/Δp, if that exceeds τ·η_c/p.

    A candidate whose parameters are worth as much as the network's own have on average has a
    density of 1, whatever its size, where the paper's ratio tends to 1 + Δp/p.
    """

    tau: float
    scored: ClassVar[bool] = True

    def decide(self, growth: Growth) -> Decision:
        return _most(growth, lambda c: c.density, self.tau, "density")


@dataclass(frozen=True)
class Balanced:
    """The score says whether, the turn says where: of the candidates with a density above τ (see
    `Density`) the one that `turn` would make. Nothing is made if none exceeds τ."""

    tau: float
    turn: Criterion = field(default_factory=InTurn)
    scored: ClassVar[bool] = True

    def decide(self, growth: Growth) -> Decision:
        highest = _most(growth, lambda c: c.density, self.tau, "density")
        if highest.expansion is None:
            return highest
        worthwhile = [c for c in growth.candidates if c.density > self.tau]
        next_one = self.turn.decide(replace(growth, candidates=worthwhile)).expansion
        reason = f"next in turn of {len(worthwhile)} with a density > tau = {self.tau:g}"
        return Decision(next_one, reason)


@dataclass(frozen=True)
class Confident:
    """The same for a gain that is beyond doubt: the candidate with the highest gain_low/(Δp·η_c/p),
    if above τ; gain_low is the lower bound of the 95 % interval of the gain without its sampling
    noise."""

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
    worths = [worth(c) for c in growth.candidates]
    if not all(map(math.isfinite, worths)):
        return Decision(None, "a score is not finite")
    highest = max(worths)
    winner = growth.candidates[worths.index(highest)]
    grows = highest > tau
    reason = f"{name} = {highest:.4g} {'>' if grows else '<='} tau = {tau:g}"
    return Decision(winner.expansion if grows else None, reason)


CRITERIA: Registry[Callable[[GrowthSettings], Criterion]] = Registry(
    "criterion",
    natural=lambda settings: Natural(settings.tau),
    density=lambda settings: Density(settings.tau),
    balanced=lambda settings: Balanced(settings.tau),
    confident=lambda settings: Confident(settings.tau),
    gain=lambda settings: Gain(settings.tau),
    never=lambda settings: Never(),
    random=lambda settings: Random(),
    schedule=lambda settings: InTurn(),
    pyramid=lambda settings: Pyramid(),
)
"""name → function of the trial's settings."""
CRITERIA["balanced-pyramid"] = lambda settings: Balanced(settings.tau, Pyramid())
CRITERIA["random-place"] = lambda settings: RandomPlace()
CRITERIA["layers-first"] = lambda settings: LayersFirst()
CRITERIA["channels-first"] = lambda settings: ChannelsFirst()

THRESHOLDS: Registry[float] = Registry(
    "threshold", natural=1.1, density=0.5, balanced=0.5, confident=0.5, gain=1.0
)
"""The criteria that read τ, and one at which each grows (docs/criterion.md); the paper's is 2 for
`natural`. λ is read by `natural`, `density` and both that are balanced."""
THRESHOLDS["balanced-pyramid"] = 0.01


def criterion_of(config: GrowthSettings) -> Criterion:
    """The criterion that `config` names, with its settings.

    Raises:
        ValueError: the entry of `CRITERIA` is none, or does not give a `Criterion`.
    """
    make = CRITERIA.find(config.criterion)
    try:
        found = make(config)
    except Exception as error:
        raise ValueError(_no_criterion(config, f"{type(error).__name__}: {error}")) from error
    if not hasattr(found, "scored") or not callable(getattr(found, "decide", None)):
        raise ValueError(_no_criterion(config, f"{type(found).__name__} without one of them"))
    return found


def _no_criterion(config: GrowthSettings, found: str) -> str:
    return (
        f"criterion {config.criterion}: expected a function of the settings that gives an object "
        f"with `scored` and `decide`, got {found}"
    )
