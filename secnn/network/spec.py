"""The shape of a network, as JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class NetworkSpec:
    """The shape of a `SECNN`: JSON-able through `to_dict` and `from_dict`.

    `channels` and `layers` hold one entry a block: how many channels it has, and how many layers.
    `capacity` is the most layers that a block may reach by growing (the paper's N). `cell`, a key
    of `secnn.network.cells.CELLS`, says what a block is made of; what `maps`, `units` and the rest
    mean is up to it. The defaults are the paper's network (arXiv:2401.05686, section 4) of 9,024
    parameters.

    Raises:
        ValueError: a field is out of its range.
    """

    input_channels: int = 3
    image_size: tuple[int, int] = (32, 32)
    classes: int = 10
    channels: tuple[int, ...] = (16, 16, 16)
    layers: tuple[int, ...] = (1, 1, 1)
    maps: int = 10
    units: int = 20
    capacity: int = 10
    dropout: float = 0.1
    head_dropout: float = 0.05
    negative_slope: float = 0.01
    cell: str = "conv"

    def __post_init__(self) -> None:
        for name in ("image_size", "channels", "layers"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _expect(len(self.channels) > 0, "channels", "at least one block", self.channels)
        _expect(
            len(self.layers) == len(self.channels),
            "layers",
            f"one entry for each of the {len(self.channels)} blocks of channels",
            self.layers,
        )
        for name in ("input_channels", "maps", "units", "capacity"):
            _expect(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        _expect(self.classes >= 2, "classes", "at least 2", self.classes)
        for name in ("channels", "layers"):
            entries = getattr(self, name)
            _expect(min(entries) >= 1, name, "entries of at least 1", entries)
        _expect(
            max(self.layers) <= self.capacity,
            "layers",
            f"at most capacity={self.capacity} in a block",
            self.layers,
        )
        _expect(len(self.image_size) == 2, "image_size", "height and width", self.image_size)
        smallest = 2 ** len(self.channels)
        _expect(
            min(self.image_size) >= smallest,
            "image_size",
            f"at least {smallest} pixels a side, as each block halves it",
            self.image_size,
        )
        for name in ("dropout", "head_dropout"):
            _expect(0 <= getattr(self, name) < 1, name, "in [0, 1)", getattr(self, name))
        _expect(0 < self.negative_slope <= 1, "negative_slope", "in (0, 1]", self.negative_slope)

    def to_dict(self) -> dict:
        """The fields as JSON types."""
        fields = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}

    @classmethod
    def from_dict(cls, fields: dict) -> NetworkSpec:
        """The inverse of `to_dict`."""
        return cls(**fields)


def _expect(condition: bool, name: str, expected: str, value: object) -> None:
    if not condition:
        raise ValueError(f"{name}: expected {expected}, got {value}")
