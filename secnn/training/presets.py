"""Settings to start a study from."""

from __future__ import annotations

from dataclasses import dataclass, replace

from secnn.data.dataset import ImageData
from secnn.registry import Registry
from secnn.training.config import SMALLEST_BATCH, TrialConfig


@dataclass(frozen=True)
class Preset:
    """The reference trial, and what is swept around it, one at a time."""

    summary: str
    reference: TrialConfig
    taus: tuple[float, ...]
    lams: tuple[float, ...]

    def for_data(self, data: ImageData) -> Preset:
        """The same preset with settings for small data, where an epoch has too few steps for large
        batches and scores cost more than training."""
        if len(data.train_images) >= SMALL:
            return self
        own = self.reference
        reference = replace(
            own,
            epochs=min(own.epochs, SMALL_EPOCHS),
            batch_size=max(SMALLEST_BATCH, own.batch_size // 4),
            score_samples=min(own.score_samples, 256),
            shift=min(own.shift, 2),
            cutout=0,
        )
        return replace(self, reference=reference)


SMALL = 5_000
"""Training images below which data counts as small."""

SMALL_EPOCHS = 90

TAUS = (1.02, 1.1, 1.5, 2.0, 4.0)
"""On η/η_c."""

DENSITIES = (0.5, 0.8, 1.0, 1.2, 1.5)
"""On the worth of a new parameter in that of an old one."""

LAMS = (0.0, 1e-8, 1e-7, 1e-6)

FINISHED = TrialConfig(
    schedule="rungs",
    optimizer="adamw",
    weight_decay=0.02,
    learning_rate=8e-3,
    batch_size=256,
    shift=4,
    l1=0.0,
    dropout=0.0,
    head_dropout=0.0,
)
"""A recipe for small networks, which finishes each of them; see docs/training.md."""

CONV = replace(FINISHED, criterion="balanced", tau=0.5, channel_steps=(12,), max_parameters=60_000)
"""The criterion was chosen by benchmarks/growth_quality.py; see docs/criterion.md. Twelve channels
cost about what a layer does, so that the two compete at one size."""

SEPARABLE = replace(
    FINISHED,
    cell="separable",
    criterion="balanced-pyramid",
    tau=0.01,
    layers=(2,),
    channel_steps=(8,),
    rungs=17,
    last=0.4,
    epochs=400,
    max_parameters=60_000,
    cutout=8,
    cutout_from=25_000,
)
"""Of a new unit a score sees one parameter in C + 11 (docs/cells.md), hence the low τ: it refuses
nothing on CIFAR-10."""

PRESETS: Registry[Preset] = Registry(
    "preset",
    paper=Preset(
        "the paper's settings; its threshold of 2 never fired in five runs of 300 epochs",
        TrialConfig(tau=2.0),
        TAUS,
        LAMS,
    ),
    default=Preset(
        "residual units of pointwise and depthwise convolutions, from 4,090 to 60,000 parameters, "
        "each size finished before the next: a unit and channels by turns, towards blocks each "
        "twice as wide as the one before, as long as the score calls them worth it",
        SEPARABLE,
        (0.01, 0.02, 0.03, 0.1, 0.5),
        LAMS,
    ),
    conv=Preset(
        "the paper's cell, up to 60,000 parameters, each size finished before the next: the score "
        "says whether a block is worth growing, and the blocks take turns",
        CONV,
        DENSITIES,
        LAMS,
    ),
    quick=Preset(
        "the paper's cell in minutes on a laptop: four sizes, few epochs, small sweeps",
        replace(CONV, epochs=30, rungs=4, last=0.4, max_parameters=20_000),
        (0.5, 1.0),
        (0.0, 1e-6),
    ),
)
"""name → preset."""
