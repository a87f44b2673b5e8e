"""The control that growth must beat: its final networks, trained from scratch.

What such a trial trains is known once its source trial is done, so that it runs after it; its key
is known beforehand.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

from secnn.store import checkpoint
from secnn.study.store import StoreError, TrialStore
from secnn.training.config import TrialConfig

BUDGETS: dict[str, tuple[str, Callable[[list[int]], int]]] = {
    "epochs": ("retrain (epochs)", len),
    "flops": ("retrain (FLOPs)", lambda flops: max(1, sum(flops) // flops[-1])),
}
"""Name → the setting as outputs call it, and how many epochs the final network gets, from the FLOPs
of an image in each of the source trial's epochs: as many epochs, or as many as their sum pays for.
"""


def plan(trials: dict[str, TrialConfig], reference: TrialConfig) -> dict[str, dict]:
    """Key → its `source`, `budget` and `setting`, for each budget and each seed of `reference`."""
    sources = [
        key
        for key, config in trials.items()
        if dataclasses.replace(config, seed=reference.seed) == reference
    ]
    return {
        f"retrain={budget},seed={trials[source].seed}": {
            "source": source,
            "budget": budget,
            "setting": setting,
        }
        for budget, (setting, _) in BUDGETS.items()
        for source in sources
    }


def unresolved(trials: dict[str, TrialConfig], retrain: dict[str, dict]) -> dict[str, TrialConfig]:
    """Key → what is known before the source trial is done: all but the shape and the epochs."""
    return {
        key: dataclasses.replace(trials[about["source"]], criterion="never")
        for key, about in retrain.items()
    }


def resolved(out: Path, study: dict, keys: Iterable[str]) -> dict:
    """`study` with the retrained trials among `keys`, whose source trials are done, decided.

    Raises:
        StoreError: a source trial's last checkpoint cannot be read.
    """
    retrain = study.get("retrain", {})
    decided = {key: _decided(out, study, key) for key in keys if key in retrain}
    return study | {"trials": study["trials"] | decided}


def _decided(out: Path, study: dict, key: str) -> dict:
    about = study["retrain"][key]
    last = TrialStore(out, about["source"], {}).last
    try:
        content = checkpoint.read(last)
        shape = {name: content["spec"][name] for name in ("channels", "layers")}
        flops = [record["flops"] for record in content["training"]["records"]]
        epochs = BUDGETS[about["budget"]][1](flops)
    except (ValueError, OSError, LookupError) as error:
        raise StoreError(f"{key} needs the network in {last} ({error}); restore the file") from None
    return study["trials"][key] | shape | {"epochs": epochs}
