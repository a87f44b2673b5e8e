"""Experiment trackers: Ray's own callbacks for TensorBoard, Weights & Biases and MLflow."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # Ray takes seconds to import.
    from ray.tune import Callback

NEEDS = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}
"""Option → the package that it needs, and, of the same name, the extra that brings it."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What to tell while trials run, and whom."""
    group = parser.add_argument_group("what to tell")
    group.add_argument("--verbose", action="store_true", help="Ray's own status tables too")
    group.add_argument(
        "--tensorboard", action="store_true", help="write events below OUT/ray for TensorBoard"
    )
    group.add_argument(
        "--wandb", metavar="PROJECT", help="log to Weights & Biases (WANDB_MODE=offline: to files)"
    )
    group.add_argument(
        "--mlflow", metavar="URI", help="log to an MLflow server, or to files: sqlite:///runs.db"
    )


def expect_installed(asked: argparse.Namespace) -> None:
    """Raise ValueError if a tracker is asked for whose package is not there."""
    for option, package in NEEDS.items():
        if getattr(asked, option) and find_spec(package) is None:
            raise ValueError(
                f"--{option}: expected the package {package}, which is not installed; "
                f"pip install 'secnn[{option}]'"
            )


def trackers(asked: argparse.Namespace, out: Path) -> list[Callback]:
    """The callbacks that are asked for, of the study in `out`."""
    found: list[Callback] = []
    if asked.tensorboard:
        from ray.tune.logger import TBXLoggerCallback

        found.append(TBXLoggerCallback())
    if asked.wandb:
        from ray.air.integrations.wandb import WandbLoggerCallback

        found.append(WandbLoggerCallback(project=asked.wandb, group=out.name, dir=str(out)))
    if asked.mlflow:
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        found.append(MLflowLoggerCallback(tracking_uri=asked.mlflow, experiment_name=out.name))
    return found
