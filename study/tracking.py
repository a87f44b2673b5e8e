"""Experiment trackers: Ray's own callbacks for TensorBoard, Weights & Biases and MLflow."""

from __future__ import annotations

import argparse
import socket
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:  # Ray takes seconds to import.
    from ray.tune import Callback

NEEDS = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}
"""Option → the package that it needs, and, of the same name, the extra that brings it."""
REMEDIES = {
    "wandb": "log in (wandb login), or set WANDB_MODE=offline to log to files",
    "mlflow": "give the address of an MLflow server, or a file as sqlite:///runs.db",
}
PORTS = {"http": 80, "https": 443}


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
    """Raise ValueError if a tracker is asked for whose package is not there, or, unless nothing is
    going to run, whose server does not answer: its own client would try for minutes."""
    for option, package in NEEDS.items():
        if getattr(asked, option) and find_spec(package) is None:
            raise ValueError(
                f"--{option}: expected the package {package}, which is not installed; "
                f"pip install {package}"
            )
    if asked.mlflow and not (asked.dry_run or asked.status):
        expect_listener(asked.mlflow)


def expect_listener(uri: str) -> None:
    """Raise ValueError if `uri` is that of a server, and nothing listens there."""
    try:
        parts = urlsplit(uri)
        if parts.scheme in PORTS:
            port = parts.port or PORTS[parts.scheme]
            socket.create_connection((parts.hostname or "", port), timeout=10).close()
    except (OSError, ValueError) as error:
        raise ValueError(
            f"--mlflow: nothing answers at {uri} ({error}); {REMEDIES['mlflow']}"
        ) from None


@contextmanager
def told(option: str) -> Iterator[None]:
    """What goes wrong inside is a ValueError of one line that names the option."""
    try:
        yield
    except Exception as error:  # Of kinds of the tracker's own.
        why = textwrap.shorten(str(error) or type(error).__name__, 300, placeholder=" …")
        raise ValueError(f"--{option}: {why}; {REMEDIES[option]}") from None


def trackers(asked: argparse.Namespace, out: Path) -> list[Callback]:
    """The callbacks that are asked for, of the study in `out`.

    Their `setup` raises ValueError if the tracker refuses."""
    found: list[Callback] = []
    if asked.tensorboard:
        from ray.tune.logger import TBXLoggerCallback

        found.append(TBXLoggerCallback())
    if asked.wandb:
        from ray.air.integrations.wandb import WandbLoggerCallback

        given = {"project": asked.wandb, "group": out.name, "dir": str(out)}
        found.append(_telling("wandb", WandbLoggerCallback)(**given))
    if asked.mlflow:
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        given = {"tracking_uri": asked.mlflow, "experiment_name": out.name}
        found.append(_telling("mlflow", MLflowLoggerCallback)(**given))
    return found


def _telling(option: str, kind: Any) -> Any:
    """The callback `kind`, what goes wrong in whose `setup` is `told`."""

    class Told(kind):
        def setup(self, *args: object, **kwargs: object) -> None:
            with told(option):
                super().setup(*args, **kwargs)

    return Told
