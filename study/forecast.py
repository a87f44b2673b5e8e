"""How long trials will take, from training steps timed at the sizes to come."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from secnn.data.dataset import ImageData
from secnn.files import FileError
from secnn.network.network import SECNN, count_flops, outline
from secnn.network.spec import NetworkSpec
from secnn.store.record import EpochRecord, read
from secnn.training.config import TrialConfig
from secnn.training.course import course
from secnn.training.learner import Learner

PATIENCE = 2.0
"""Seconds a training step may take to be timed; larger networks are reckoned by their FLOPs."""


def costs_of(
    study: dict, keys: Iterable[str], data: ImageData, threads: int | None
) -> dict[str, list[float]]:
    """For each of the trials `keys` what its epochs cost: `seconds` on as many threads of this
    machine, or, with None, FLOPs. Seeds, thresholds and penalties do not change it."""

    @functools.cache
    def cost(config: TrialConfig) -> list[float]:
        return flops(config, data) if threads is None else seconds(config, data, threads)

    configs = {key: TrialConfig.from_dict(study["trials"][key]) for key in keys}
    return {k: cost(dataclasses.replace(c, seed=0, tau=1.0, lam=0.0)) for k, c in configs.items()}


def trained(out: Path, key: str) -> int:
    """Epochs of a trial that its log has; 0 if it cannot be read, which its worker will tell."""
    try:
        return len(read(out / "logs" / "epochs" / f"{key}.parquet", EpochRecord))
    except (OSError, FileError):
        return 0


def flops(config: TrialConfig, data: ImageData) -> list[float]:
    """For each epoch of a trial the FLOPs an image of its network, see `course`."""
    return [float(_flops(spec)) for spec in course(config, data.image_shape, data.classes)]


def seconds(config: TrialConfig, data: ImageData, threads: int) -> list[float]:
    """For each epoch of a trial what training and evaluating take on this machine's CPU: steps of
    the first, a middle and the last network are timed, the others lie between by their FLOPs."""
    whole = course(config, data.image_shape, data.classes)
    shapes = list(dict.fromkeys(whole))
    timed: dict[int, float] = {}
    for spec in (shapes[0], shapes[len(shapes) // 2], shapes[-1]):
        cost, last = _flops(spec), max(timed, default=0)
        if not last or timed[last] * cost / last < PATIENCE:
            timed[cost] = timed.get(cost) or _step_seconds(spec, config, data, threads)
    steps = len(data.train_images) / config.batch_size
    # A forward pass is a third of a step.
    steps += len(data.validation_images) / config.batch_size / 3
    return [steps * _between(timed, cost) for cost in map(_flops, whole)]


def _between(timed: dict[int, float], cost: float) -> float:
    known = sorted(timed)
    beyond = max(1.0, cost / known[-1])
    return beyond * float(np.interp(cost, known, [timed[f] for f in known]))


@functools.cache
def _flops(spec: NetworkSpec) -> int:
    return count_flops(outline(spec))


def _step_seconds(spec: NetworkSpec, config: TrialConfig, data: ImageData, threads: int) -> float:
    """The shorter of two training steps after a first one."""
    before, count = torch.get_num_threads(), config.batch_size
    batch = dataclasses.replace(
        data, train_images=data.train_images[:count], train_labels=data.train_labels[:count]
    )
    torch.set_num_threads(threads)
    try:
        learner = Learner(SECNN(spec), config, torch.device("cpu"))
        return min([_timed(learner, batch) for _ in range(3)][1:])
    finally:
        torch.set_num_threads(before)


def _timed(learner: Learner, batch: ImageData) -> float:
    started = time.perf_counter()
    learner.train(batch, lambda through: learner.config.learning_rate)
    return time.perf_counter() - started
