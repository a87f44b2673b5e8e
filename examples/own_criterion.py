r"""A criterion of your own: grow where the network is narrowest.

secnn run --import examples.own_criterion --criterion narrowest \
    --preset quick --dataset digits --out runs/narrowest
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from secnn import CRITERIA, AddChannels, Decision, Growth


@dataclass(frozen=True)
class Narrowest:
    """Channels for the narrowest block; of equals the first. Nothing once all are `width` wide."""

    width: int = 48
    scored: ClassVar[bool] = False  # It reads no scores, so that none are computed.

    def decide(self, growth: Growth) -> Decision:
        """One of `growth.candidates`, or nothing, and why."""
        widths = growth.spec.channels
        fitting = [c.expansion for c in growth.candidates if isinstance(c.expansion, AddChannels)]
        narrowest = min(fitting, key=lambda e: widths[e.block], default=None)
        if narrowest is None or widths[narrowest.block] >= self.width:
            return Decision(None, f"every block has {self.width} channels, or nothing fits")
        return Decision(narrowest, f"the narrowest block has {widths[narrowest.block]} channels")


CRITERIA["narrowest"] = lambda settings: Narrowest()
