"""Everything that decides a trial."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from secnn.growth.candidates import PENALTIES, SCORERS
from secnn.growth.criterion import CRITERIA
from secnn.growth.expansion import EXPANSIONS
from secnn.growth.proposal import PROPOSALS
from secnn.growth.settings import SETTINGS, GrowthSettings
from secnn.kernels import KERNELS
from secnn.network.cells import CELLS
from secnn.network.spec import NetworkSpec
from secnn.score.fisher import FISHERS
from secnn.training.recipe import Recipe
from secnn.training.schedule import SCHEDULES

PRECISIONS = ("auto", "float32", "bfloat16")
OPTIMIZERS = ("adam", "adamw")
BATCHES = ("equal", "full")

SMALLEST_BATCH = 3
"""An epoch is cut into equal batches: of 2 images at most, one could be left with 1 alone, of which
batch norm knows no variance."""


@dataclass(frozen=True)
class TrialConfig(GrowthSettings, Recipe):
    """A trial's settings; the defaults are the paper's (arXiv:2401.05686, section 4). How it grows
    is described in `GrowthSettings`, how it is trained in `Recipe`; the rest:

    Attributes:
        seed: decides the weights, the order of the images, dropout and the noise of growth.
        cell: a key of `secnn.network.cells.CELLS`, what blocks are made of.
        dropout, head_dropout, negative_slope, channels: the network's, see `NetworkSpec`.
        layers: of each block at the start; the last entry holds for all further blocks.
        capacity: the most layers in a block (the paper's N).
        kernel: "fused" on CPUs, "reference" (plain PyTorch), "graph": the reference, recorded once
            a size and replayed, on a GPU as a CUDA graph; or "auto": graph on a GPU, else fused
            where it can be built, else reference.
        precision: "float32", "bfloat16", or "auto".
        targets: validation accuracies, in per cent, at whose first reaching the network is kept.

    Raises:
        ValueError: a field is out of its range.
    """

    seed: int = 0
    cell: str = "conv"
    dropout: float = 0.1
    head_dropout: float = 0.05
    negative_slope: float = 0.01
    channels: tuple[int, ...] = (16, 16, 16)
    layers: tuple[int, ...] = (1,)
    capacity: int = 10
    kernel: str = "auto"
    precision: str = "auto"
    targets: tuple[float, ...] = (60, 65, 70, 75, 80, 85, 90)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            self._expect_type(field.name, *str(field.type).split(" | "))
        for name, known in _CHOICES.items():
            _expect(name, getattr(self, name) in known, f"one of {', '.join(known)}", self)
        known = ", ".join(EXPANSIONS)
        kinds = bool(self.expansions) and all(kind in EXPANSIONS for kind in self.expansions)
        _expect("expansions", kinds, f"some of {known}", self)
        for expected, (holds, names) in _RANGES.items():
            for name in names:
                _expect(name, holds(getattr(self, name)), expected, self)
        self._check_own()
        fits = len(self.layers) <= len(self.channels) and max(self.layers) <= self.capacity
        expected = f"at most {len(self.channels)} blocks of at most {self.capacity} layers"
        _expect("layers", fits, expected, self)

    def _expect_type(self, name: str, kind: str, *none: str) -> None:
        value = getattr(self, name)
        if value is None and none:
            return
        if kind.startswith("tuple"):
            listed = isinstance(value, Iterable) and not isinstance(value, str)
            _expect(name, listed, "a sequence", self)
            value = tuple(value)
        if kind in _TYPES:
            expected, holds = _TYPES[kind]
            _expect(name, holds(value), expected, self)
        object.__setattr__(self, name, _plain(value))

    def _check_own(self) -> None:
        taken = {field.name for field in dataclasses.fields(self)}
        for name in self.given:
            known = name in SETTINGS and name not in taken
            expected = f"settings that a module has added to SETTINGS ({', '.join(SETTINGS)})"
            _expect("own", known, f"{expected}; import it first", self)
            self.own_setting(name)

    def start(self, image_shape: tuple[int, int, int], classes: int) -> NetworkSpec:
        """The starting network's shape, for images C×H×W.

        Raises:
            ValueError: the images are too small for so many blocks.
        """
        further = len(self.channels) - len(self.layers)
        return NetworkSpec(
            input_channels=image_shape[0],
            image_size=image_shape[1:],
            classes=classes,
            channels=self.channels,
            layers=self.layers + self.layers[-1:] * further,
            capacity=self.capacity,
            dropout=self.dropout,
            head_dropout=self.head_dropout,
            negative_slope=self.negative_slope,
            cell=self.cell,
        )

    def to_dict(self) -> dict:
        """The fields as JSON types."""
        fields = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}

    @classmethod
    def from_dict(cls, fields: dict) -> TrialConfig:
        """The inverse of `to_dict`."""
        return cls(**fields)


# The registries themselves: what is added to them later counts.
_CHOICES: dict[str, Collection[str]] = {
    "criterion": CRITERIA,
    "scorer": SCORERS,
    "cell": CELLS,
    "fisher": FISHERS,
    "proposal": PROPOSALS,
    "penalty": PENALTIES,
    "kernel": KERNELS,
    "precision": PRECISIONS,
    "batches": BATCHES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}


def _plain(value: Any) -> Any:
    """NumPy's whole numbers are none to JSON."""
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else value


def _is_finite(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "int": ("a whole number", lambda v: isinstance(v, Integral) and not isinstance(v, bool)),
    "float": ("a finite number", _is_finite),
    "str": ("a string", lambda v: isinstance(v, str)),
    "tuple[float, ...]": ("finite numbers", lambda v: all(map(_is_finite, v))),
}
"""Type of a field → what is expected, and whether a value is that."""


def _are_counts(entries: Sequence[object]) -> bool:
    return bool(entries) and all(isinstance(n, int) and n >= 1 for n in entries)


_RANGES: dict[str, tuple[Callable[[Any], bool], tuple[str, ...]]] = {
    "a number above 0": (
        lambda v: v > 0,
        ("tau", "epochs", "capacity", "learning_rate", "patience", "rungs", "score_samples"),
    ),
    f"at least {SMALLEST_BATCH}": (lambda v: v >= SMALLEST_BATCH, ("batch_size",)),
    "0 or more": (
        lambda v: v >= 0,
        (
            *("lam", "seed", "cooldown", "l1", "plateau", "weight_decay", "warmup", "shift"),
            *("cutout", "cutout_from"),
        ),
    ),
    # Generators are seeded by it times a million and more.
    "at most 10^12": (lambda v: v <= 10**12, ("seed",)),
    "in [0, 1)": (
        lambda v: 0 <= v < 1,
        ("dropout", "head_dropout", "decay", "last", "label_smoothing"),
    ),
    "in (0, 1]": (lambda v: 0 < v <= 1, ("negative_slope", "fall")),
    "whole numbers of at least 1": (_are_counts, ("channel_steps", "channels", "layers")),
    "a number above 0, or none": (
        lambda v: v is None or v > 0,
        ("max_parameters", "max_flops", "damping"),
    ),
    "numbers above 0, or none": (lambda v: min(v or (1,)) > 0, ("image_std",)),
    "per cent in (0, 100]": (lambda v: all(0 < t <= 100 for t in v), ("targets",)),
}
"""What is expected → whether a value is that, and the settings that have to be."""


def _expect(name: str, condition: bool, expected: str, config: TrialConfig) -> None:
    if not condition:
        raise ValueError(f"{name}: expected {expected}, got {getattr(config, name)!r}")
