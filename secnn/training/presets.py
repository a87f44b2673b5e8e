"""Settings to start a study from."""

from __future__ import annotations

from dataclasses import dataclass, replace

from secnn.data.dataset import ImageData
from secnn.training.config import TrialConfig


@dataclass(frozen=True)
class Preset:
    """The reference trial, and what is swept around it, one at a time."""

    summary: str
    reference: TrialConfig
    taus: tuple[float, ...]
    lams: tuple[float, ...]

    def for_data(self, data: ImageData) -> Preset:
        """The same preset with settings for small data, where an epoch has too few steps for
        batches of 512 and scores cost more than training."""
        if len(data.train_images) >= SMALL:
            return self
        epochs = min(self.reference.epochs, SMALL_EPOCHS)
        reference = replace(self.reference, epochs=epochs, batch_size=128, score_samples=256)
        return replace(self, reference=reference)


SMALL = 5_000
"""Training images below which data counts as small."""

SMALL_EPOCHS = 30

TAUS = (1.02, 1.1, 1.5, 2.0, 4.0)
"""On η/η_c."""

DENSITIES = (0.5, 0.8, 1.0, 1.2, 1.5)
"""On the worth of a new parameter in that of an old one."""

LAMS = (0.0, 1e-8, 1e-7, 1e-6)

DEFAULT = TrialConfig(
    criterion="balanced",
    tau=0.5,
    channel_steps=(12,),
    max_parameters=30_000,
    decay=0.25,
    patience=75,
)
"""Chosen by benchmarks/growth_quality.py; see docs/criterion.md. Twelve channels cost about what a
layer does, so that the two compete at one size. The learning rate falls over the last quarter; that
it halves before is for trials that have not improved for as long."""

PRESETS = {
    "paper": Preset(
        "the paper's settings, word for word; its threshold of 2 hardly ever fires",
        TrialConfig(tau=2.0),
        TAUS,
        LAMS,
    ),
    "default": Preset(
        "what measured best, up to 30,000 parameters: the score says whether a block is worth "
        "growing, and the blocks take turns",
        DEFAULT,
        DENSITIES,
        LAMS,
    ),
    "quick": Preset(
        "the default in minutes on a laptop: few epochs, short cooldown, small sweeps",
        replace(DEFAULT, epochs=8, cooldown=1),
        (0.5, 1.0),
        (0.0, 1e-6),
    ),
}
