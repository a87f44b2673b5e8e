"""Settings to start a study from."""

from __future__ import annotations

from dataclasses import dataclass, replace

from secnn.config import TrialConfig
from secnn.data import ImageData


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
LAMS = (0.0, 1e-8, 1e-7, 1e-6)

PRESETS = {
    "paper": Preset(
        "the paper's settings, word for word; its threshold of 2 hardly ever fires",
        TrialConfig(tau=2.0),
        TAUS,
        LAMS,
    ),
    "default": Preset(
        "the paper's settings with a threshold at which networks grow",
        TrialConfig(tau=1.1, channel_steps=(4,)),
        TAUS,
        LAMS,
    ),
    "quick": Preset(
        "minutes on a laptop: few epochs, short cooldown, small sweeps",
        TrialConfig(tau=1.02, channel_steps=(4,), epochs=8, cooldown=1, interval=2),
        (1.02, 2.0),
        (0.0, 1e-6),
    ),
}
