"""Self-expanding convolutional neural networks (arXiv:2401.05686).

The rooms, each built on those before it:

`kernels`   what is compiled for CPUs
`score`     per-sample gradients, Fisher matrices, and the natural expansion score of any module
`data`      images: from files to resident tensors
`network`   what a network is made of, and how its tensors grow
`growth`    what could be added, what that is worth, and what is decided
`store`     files: checkpoints, ladders, records, other programs' formats
`training`  a trial: its settings, its epochs, its growth

`secnn.study` runs many trials on Ray, `secnn.analysis` reads what they leave.

The public names are imported at first use, so that reading records needs no PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.2.0"

if TYPE_CHECKING:
    from secnn.data.batches import normalize
    from secnn.data.dataset import DATASETS, ImageData, load_dataset
    from secnn.data.sources import Splits
    from secnn.growth.candidates import Candidate, score_candidates
    from secnn.growth.checks import check_growth
    from secnn.growth.criterion import CRITERIA, THRESHOLDS
    from secnn.growth.decision import Decision, Growth
    from secnn.growth.expansion import EXPANSIONS, AddChannels, AddLayer, Expansion
    from secnn.growth.proposal import PROPOSALS
    from secnn.growth.settings import SETTINGS
    from secnn.network.cell import Block, Cell, Head
    from secnn.network.cells import CELLS
    from secnn.network.network import SECNN, count_flops
    from secnn.network.prediction import predict
    from secnn.network.spec import NetworkSpec
    from secnn.network.surgery import Surgery
    from secnn.score.fisher import FISHERS, Fisher
    from secnn.score.gradients import per_sample_gradients
    from secnn.score.natural import natural_expansion_score
    from secnn.store.checkpoint import load, save
    from secnn.store.ladder import Folder, ladder, load_within
    from secnn.store.replay import replay
    from secnn.training.config import TrialConfig
    from secnn.training.presets import PRESETS, Preset
    from secnn.training.trial import Trial, run_trial

_HOME = {
    "data.batches": ("normalize",),
    "data.dataset": ("DATASETS", "ImageData", "load_dataset"),
    "data.sources": ("Splits",),
    "growth.candidates": ("Candidate", "score_candidates"),
    "growth.checks": ("check_growth",),
    "growth.criterion": ("CRITERIA", "THRESHOLDS"),
    "growth.decision": ("Decision", "Growth"),
    "growth.expansion": ("EXPANSIONS", "AddChannels", "AddLayer", "Expansion"),
    "growth.proposal": ("PROPOSALS",),
    "growth.settings": ("SETTINGS",),
    "network.cell": ("Block", "Cell", "Head"),
    "network.cells": ("CELLS",),
    "network.network": ("SECNN", "count_flops"),
    "network.prediction": ("predict",),
    "network.spec": ("NetworkSpec",),
    "network.surgery": ("Surgery",),
    "score.fisher": ("FISHERS", "Fisher"),
    "score.gradients": ("per_sample_gradients",),
    "score.natural": ("natural_expansion_score",),
    "store.checkpoint": ("load", "save"),
    "store.ladder": ("Folder", "ladder", "load_within"),
    "store.replay": ("replay",),
    "training.config": ("TrialConfig",),
    "training.presets": ("PRESETS", "Preset"),
    "training.trial": ("Trial", "run_trial"),
}
_MODULES = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "CELLS",
    "CRITERIA",
    "DATASETS",
    "EXPANSIONS",
    "FISHERS",
    "PRESETS",
    "PROPOSALS",
    "SECNN",
    "SETTINGS",
    "THRESHOLDS",
    "AddChannels",
    "AddLayer",
    "Block",
    "Candidate",
    "Cell",
    "Decision",
    "Expansion",
    "Fisher",
    "Folder",
    "Growth",
    "Head",
    "ImageData",
    "NetworkSpec",
    "Preset",
    "Splits",
    "Surgery",
    "Trial",
    "TrialConfig",
    "check_growth",
    "count_flops",
    "ladder",
    "load",
    "load_dataset",
    "load_within",
    "natural_expansion_score",
    "normalize",
    "per_sample_gradients",
    "predict",
    "replay",
    "run_trial",
    "save",
    "score_candidates",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'secnn' has no attribute {name!r}")
    return getattr(import_module(f"secnn.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
