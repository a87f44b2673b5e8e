"""Self-expanding convolutional neural networks (arXiv:2401.05686).

The public names are imported at first use, so that reading records needs no PyTorch.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "SECNN": "network",
    "NetworkSpec": "network",
    "AddLayer": "expansion",
    "AddChannels": "expansion",
    "TrialConfig": "config",
    "run_trial": "trial",
    "Trial": "trial",
    "load_dataset": "data",
    "natural_expansion_score": "score",
    "score_candidates": "score",
    "load": "checkpoint",
    "replay": "checkpoint",
    "ladder": "rungs",
    "load_within": "rungs",
    "predict": "prediction",
}

__all__ = [*_HOME]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'secnn' has no attribute {name!r}")
    return getattr(import_module(f"secnn.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
