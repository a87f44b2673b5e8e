"""Where presets were before they moved to the library: `from secnn import PRESETS`."""

from secnn.training.presets import PRESETS, Preset

__all__ = ["PRESETS", "Preset"]
