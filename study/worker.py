"""One trial inside a Ray Tune function."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from ray import tune

from secnn import plugins
from secnn.data.dataset import ImageData
from secnn.kernels.gpu import repeat_exactly
from secnn.kernels.memory import keep_freed_memory
from secnn.store.checkpoint import CheckpointError
from secnn.study.store import StoreError, TrialStore, is_full
from secnn.training.config import TrialConfig
from secnn.training.trial import Trial, TrialDiverged

TAKEOVER_SECONDS = 180
"""How long to wait for the workers of a study that was just killed to go; an NFS server keeps the
lock of a machine that vanished until its lease ends, 90 seconds by default on Linux."""

PAUSE = {"cuda": 3.0}
"""Seconds between two epochs that are stored: on a GPU one can take less than to store it."""

FUTILE = (TrialDiverged, StoreError, CheckpointError, plugins.PluginError)
"""Errors that another attempt would meet again."""


def run(
    parameters: dict,
    arrays: dict,
    study: dict,
    out: str,
    threads: int,
    folders: Sequence[str] = (),
) -> None:
    """Run the trial `parameters["key"]` of `study` from where it stands to its end.

    `arrays` come from Ray's object store and are shared by all trials of a machine; `folders` are
    where this machine finds what the study imports. A trial that cannot be finished leaves its
    reason in `ERROR`; Tune tries it again, unless it is bound to fail again: it diverged, a plugin
    cannot be imported, its files are damaged, or there is no room for them.
    """
    key = parameters["key"]
    store = TrialStore(Path(out), key, {})
    try:
        keep_freed_memory()
        repeat_exactly()
        torch.set_num_threads(threads)
        plugins.load(study["imports"], folders)
        config = TrialConfig.from_dict(study["trials"][key])
        store = TrialStore(Path(out), key, identity(study, key, config))
        run_fenced(config, arrays, store)
    except Exception as error:
        store.fail(error)
        if not (isinstance(error, FUTILE) or is_full(error)):
            raise


def run_fenced(config: TrialConfig, arrays: dict, store: TrialStore) -> None:
    """Run the trial of `store` as its only owner, unless it is done."""
    store.fence.acquire(wait=TAKEOVER_SECONDS)
    try:
        if not store.done:
            run_stored(Trial(config, ImageData.from_arrays(arrays), ladder=store.ladder), store)
    finally:
        store.fence.release()


def run_stored(trial: Trial, store: TrialStore) -> None:
    """Train `trial` from its last stored epoch to its end, storing and reporting each epoch; on a
    GPU no more often than every `PAUSE` seconds."""
    store.resume(trial)
    pause, stored = PAUSE.get(trial.device.type, 0.0), -math.inf
    while not trial.done:
        record = trial.step()
        if trial.done or time.monotonic() - stored >= pause:
            store.save(trial)
            tune.report(dataclasses.asdict(record))
            stored = time.monotonic()
    store.finish(trial.config, trial.finish())


def identity(study: dict, key: str, config: TrialConfig) -> dict:
    """The columns that tell a trial's rows from those of other trials and studies."""
    retrained = study.get("retrain", {}).get(key)
    return {
        "preset": study["preset"],
        "criterion": retrained["setting"] if retrained else config.criterion,
        "tau": float(config.tau),
        "lam": float(config.lam),
        "seed": config.seed,
        "dataset": study["dataset"]["name"],
        "validation": study["dataset"]["validation"],
    }
