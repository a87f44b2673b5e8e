"""What decides a network's growth."""

from __future__ import annotations

import math
from dataclasses import dataclass

from secnn.registry import Registry

SETTINGS: Registry[float | str] = Registry("setting")
"""name → default, a number or a text, of the settings of criteria, scorers, … of one's own:
`SETTINGS["margin"] = 0.5` makes `--set margin=0.1` possible, and `settings.own_setting("margin")`
reads it."""


@dataclass(frozen=True)
class GrowthSettings:
    """When, where and by what a network grows; the defaults are the paper's (arXiv:2401.05686,
    sections 3 and 4).

    Attributes:
        criterion: a key of `secnn.growth.criterion.CRITERIA`.
        tau: threshold τ of the criterion, for `natural` on η/η_c.
        lam: size penalty λ, in 1/parameters²; without a unit if `penalty` is "relative". Read by
            `natural`, `density`, `balanced` and `balanced-pyramid`.
        penalty: a key of `secnn.growth.candidates.PENALTIES`, what λ is a price of.
        expansions: keys of `secnn.growth.expansion.EXPANSIONS`: the kinds that are candidates, in
            the order in which they are listed.
        cooldown: for `schedule` "plateau", epochs after an expansion in which none is considered,
            and over which an added layer's slope is lowered from 1; the controls
            (`secnn.growth.controls`) grow whenever it is over.
        channel_steps: channels that the first, second, … `AddChannels` adds; the last entry holds
            for all further ones.
        plateau: if above 0, the criterion is asked only when validation loss has not fallen for so
            many epochs (`secnn.growth.consideration.has_slowed`).
        score_samples: training images that scores are computed from, N.
        scorer: a key of `secnn.growth.candidates.SCORERS`: how a candidate's worth is computed.
        fisher: a key of `secnn.score.fisher.FISHERS`.
        damping: see `natural_expansion_score`; None for that of the `fisher`.
        proposal: a key of `secnn.growth.proposal.PROPOSALS`: the filters of new channels.
        max_parameters, max_flops: expansions that would exceed them are not considered.
        own: `NAME=VALUE`, what differs from the defaults of `SETTINGS`.
    """

    criterion: str = "natural"
    tau: float = 2.0
    lam: float = 0.0
    penalty: str = "absolute"
    expansions: tuple[str, ...] = ("AddLayer", "AddChannels")
    cooldown: int = 10
    channel_steps: tuple[int, ...] = (2, 4)
    plateau: int = 0
    score_samples: int = 512
    scorer: str = "per-sample"
    fisher: str = "diagonal"
    damping: float | None = None
    proposal: str = "noise"
    max_parameters: int | None = None
    max_flops: int | None = None
    own: tuple[str, ...] = ()

    @property
    def given(self) -> dict[str, str]:
        """`own` as name → value."""
        return {name: text for name, _, text in (entry.partition("=") for entry in self.own)}

    def own_setting(self, name: str) -> float | str:
        """The value of a setting of `SETTINGS`, in the type of its default.

        Raises:
            ValueError: there is no such setting, or its value is none of that type.
        """
        default = SETTINGS.find(name)
        try:
            value = type(default)(self.given.get(name, default))
        except ValueError:
            value = math.nan
        if isinstance(value, float) and not math.isfinite(value):
            found = f"{name}={self.given[name]}"
            raise ValueError(f"own: expected a value like {name}={default}, got {found}")
        return value
