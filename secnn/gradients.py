"""Where per-sample gradients were before they moved: `from secnn import per_sample_gradients`."""

from __future__ import annotations

from secnn.score.gradients import Recording, per_sample_gradients, record

__all__ = ["Recording", "per_sample_gradients", "record"]
