"""The reference trial that a command line asks for: the preset's, with the options' changes."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable
from types import NoneType
from typing import get_args, get_origin, get_type_hints

from secnn.commands import MOST
from secnn.growth.settings import SETTINGS
from secnn.training.config import TrialConfig

OWN_OPTIONS = (
    *("seed", "epochs", "kernel", "precision", "max_parameters", "max_flops"),
    *("criterion", "proposal", "fisher"),
)
"""The settings that `--set` leaves to options of their own."""


REACH = 1e30
"""Real numbers beyond it, and below its inverse, would leave those of training, 32 bits."""


def option(name: str) -> str:
    """The option of one of `OWN_OPTIONS`."""
    return "--seed-offset" if name == "seed" else f"--{name.replace('_', '-')}"


def reference(asked: argparse.Namespace, preset: TrialConfig) -> TrialConfig:
    """The preset's reference trial with the options' changes.

    Raises:
        ValueError: `--set` names no setting, or one twice, or a value is out of its range.
    """
    changes = {"seed": asked.seed_offset, "kernel": asked.kernel, "precision": asked.precision}
    for name in ("epochs", "max_parameters", "max_flops", "proposal", "fisher"):
        if getattr(asked, name) is not None:
            changes[name] = getattr(asked, name)
    if taken := SETTINGS.keys() & {field.name for field in dataclasses.fields(TrialConfig)}:
        raise ValueError(f"SETTINGS: secnn has a setting {min(taken)} itself; choose another name")
    given: dict[str, object] = {}
    for name, value in map(setting, asked.set):
        if name in given:
            raise ValueError(f"--set: expected {name} once, got it twice")
        given[name] = value
    own = preset.given | {name: given.pop(name) for name in SETTINGS.keys() & given.keys()}
    changes |= given | {"own": tuple(f"{name}={own[name]}" for name in sorted(own))}
    return dataclasses.replace(preset, **changes)


def setting(text: str) -> tuple[str, object]:
    """The name and the value of `NAME=VALUE`, in the type that `TrialConfig` or the default in
    `SETTINGS` gives it.

    Raises:
        ValueError: there is no such setting, it has an option of its own, or the value is none.
    """
    kinds = get_type_hints(TrialConfig)
    name, _, value = text.partition("=")
    if name in OWN_OPTIONS:
        raise ValueError(
            f"--set: expected no setting that has an option of its own, got {text}; use "
            f"{option(name)}"
        )
    defaults = {f.name: f.default for f in dataclasses.fields(TrialConfig)} | SETTINGS
    kinds |= {own: type(default) for own, default in SETTINGS.items()}
    known = [n for n in defaults if n not in (*OWN_OPTIONS, "own")]
    if name not in known:
        raise ValueError(f"--set: expected NAME=VALUE with one of {', '.join(known)}, got {text}")
    try:
        return name, _parsed(kinds[name], value)
    except (ValueError, OverflowError):
        example = _example(defaults[name])
        raise ValueError(f"--set: expected a value like {name}={example}, got {text}") from None


def _example(default: object) -> str:
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return "0.01" if default is None else str(default)


def _parsed(kind: object, text: str) -> object:
    """`text` as a value of the type `kind`: a text, a number, a tuple of them, or nothing."""
    if kind is str:
        return text
    if get_origin(kind) is tuple:
        parts = text.strip("()[]").rstrip(",").split(",")
        return tuple(_parsed(get_args(kind)[0], part.strip()) for part in parts if parts != [""])
    if kind in (int, float):
        return _number(kind, text)
    (inner,) = (part for part in get_args(kind) if part is not NoneType)
    return None if text.lower() == "none" else _parsed(inner, text)


def _number(kind: Callable[[float], int | float], text: str) -> int | float:
    value = float(text)
    if not math.isfinite(value) or (kind is int and (value % 1 or abs(value) > MOST)):
        raise ValueError
    if value and not 1 / REACH <= abs(value) <= REACH:
        raise ValueError
    return kind(value)
