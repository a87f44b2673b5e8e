"""What a trial's records tell of an expansion that was considered."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

from secnn.growth.consideration import Considered
from secnn.growth.expansion import AddChannels, AddLayer, Expansion, to_dict
from secnn.store.record import ExpansionRecord

NOT_CONSIDERED = dict.fromkeys(
    ("expansion", "eta_current", "best_layer_ratio", "best_channels_ratio", "logit_change")
)
"""The columns of an `EpochRecord` after which nothing was asked: within a rung or a cooldown, and
at the end."""


def columns(considered: Considered, logit_change: float | None) -> dict:
    """The columns of the `EpochRecord`."""
    expansion = considered.decision.expansion
    return {
        "expansion": None if expansion is None else str(expansion),
        "eta_current": considered.current,
        "best_layer_ratio": _best_ratio(considered, AddLayer),
        "best_channels_ratio": _best_ratio(considered, AddChannels),
        "logit_change": logit_change,
    }


def _best_ratio(considered: Considered, kind: type[Expansion]) -> float | None:
    ratios = [c.ratio for c in considered.candidates if isinstance(c.expansion, kind)]
    return max((r for r in ratios if r is not None), default=None)


def records(
    considered: Considered, epoch: int, logit_change: float | None
) -> list[ExpansionRecord]:
    """One record a candidate."""
    chosen = considered.decision.expansion
    return [
        ExpansionRecord(
            epoch=epoch,
            kind=type(c.expansion).__name__,
            block=getattr(c.expansion, "block", None),
            channels=getattr(c.expansion, "channels", None),
            expansion=json.dumps(to_dict(c.expansion)),
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
            reason=considered.decision.reason,
            logit_change=logit_change if c.expansion == chosen else None,
        )
        for c in considered.candidates
    ]


def with_reductions(
    considered: Sequence[ExpansionRecord],
    losses: Sequence[float],
    around: Callable[[int], tuple[int, int]],
) -> list[ExpansionRecord]:
    """The records, the chosen ones with the fall of the validation loss from the epoch before
    (`around`) and to the one after; `losses` are those of epochs 1, 2, … so far, before each
    epoch's expansion."""

    def fall(first: int, last: int) -> float | None:
        known = first >= 1 and last <= len(losses)
        return losses[first - 1] - losses[last - 1] if known else None

    return [
        replace(
            r,
            reduction_before=fall(around(r.epoch)[0], r.epoch),
            realised_reduction=fall(r.epoch, around(r.epoch)[1]),
        )
        if r.chosen
        else r
        for r in considered
    ]
