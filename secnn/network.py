"""The self-expanding network: three blocks of convolutions, a skip and a small head."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from secnn.kernels import normalize_pool_activate


@dataclass(frozen=True)
class NetworkSpec:
    """The shape of a `SECNN`: JSON-able through `to_dict` and `from_dict`.

    `channels` and `layers` hold one entry a block: the width of each of its convolutions, and how
    many it has. `capacity` is the most layers that a block may reach by growing (the paper's N).
    The defaults are the paper's network (arXiv:2401.05686, section 4) of 9,024 parameters.

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


class Layer(nn.Module):
    """3×3 convolution → (channel dropout) → batch norm → (2×2 max-pooling) → LeakyReLU.

    Pooling before the LeakyReLU equals pooling after it, which is monotone, on a quarter of the
    elements. Dropout (only a block's first layer has it) zeroes whole channels, since neighbouring
    pixels of a map are too alike for element-wise dropout to matter (arXiv:1411.4280).

    Attributes:
        slope: the LeakyReLU's slope for negative inputs. A layer added by growth starts at 1, where
            it is the identity, and is lowered to the network's slope epoch by epoch.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool, dropout: float, slope: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(outputs)
        self.dropout = dropout
        self.slope = slope

    def forward(self, x: Tensor, pool: bool, kernel: str) -> Tensor:
        """N×C×H×W → N×C'×H×W, or N×C'×⌊H/2⌋×⌊W/2⌋ if `pool`."""
        x = self.conv(x)
        mask = None
        if self.training and self.dropout > 0:
            mask = F.dropout(x.new_ones(x.shape[:2], dtype=torch.float32), self.dropout)
        return normalize_pool_activate(x, mask, self.norm, self.slope, pool, kernel)

    # The slope changes while training, so that it belongs to the state, but is no tensor.
    def get_extra_state(self) -> dict:
        return {"slope": self.slope}

    def set_extra_state(self, state: dict) -> None:
        self.slope = float(state["slope"])


class Block(nn.Module):
    """`layers` convolutions of one width, then max-pooling: N×C×H×W → N×C'×⌊H/2⌋×⌊W/2⌋."""

    def __init__(self, inputs: int, width: int, layers: int, dropout: float, slope: float) -> None:
        super().__init__()
        first = Layer(inputs, width, bias=True, dropout=dropout, slope=slope)
        added = (added_layer(width, slope) for _ in range(layers - 1))
        self.layers = nn.ModuleList([first, *added])

    @property
    def width(self) -> int:
        """Channels of each of its layers."""
        return self.layers[0].conv.out_channels

    def forward(self, x: Tensor, kernel: str) -> Tensor:
        for layer in self.layers[:-1]:
            x = layer(x, pool=False, kernel=kernel)
        return self.layers[-1](x, pool=True, kernel=kernel)


def added_layer(width: int, slope: float) -> Layer:
    """A layer behind a block's first: no bias and no dropout (arXiv:2401.05686, section 3.2)."""
    return Layer(width, width, bias=False, dropout=0.0, slope=slope)


class Head(nn.Module):
    """1×1 convolution of the last and the first block's output to `maps` maps → LeakyReLU →
    linear to `units` → batch norm → LeakyReLU → dropout → batch norm → linear to the classes.

    Concatenating the two blocks' outputs and convolving them 1×1 equals two 1×1 convolutions added
    up (`last`, with the bias, and `skip`); kept apart, widening a block only ever appends.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        pixels = math.prod(side // 2 ** len(spec.channels) for side in spec.image_size)
        self.last = nn.Conv2d(spec.channels[-1], spec.maps, 1)
        self.skip = nn.Conv2d(spec.channels[0], spec.maps, 1, bias=False)
        self.hidden = nn.Linear(spec.maps * pixels, spec.units)
        self.hidden_norm = nn.BatchNorm1d(spec.units)
        self.dropout = nn.Dropout(spec.head_dropout)
        self.output_norm = nn.BatchNorm1d(spec.units)
        self.output = nn.Linear(spec.units, spec.classes)
        self.slope = spec.negative_slope

    def forward(self, last: Tensor, first: Tensor) -> Tensor:
        x = F.leaky_relu(self.last(last) + self.skip(first), self.slope)
        x = self.hidden_norm(self.hidden(x.flatten(1)))
        x = self.output_norm(self.dropout(F.leaky_relu(x, self.slope)))
        return self.output(x)


class SECNN(nn.Module):
    """Self-expanding convolutional network (arXiv:2401.05686, sections 3 and 4).

    `SECNN()` has 9,024 parameters; `SECNN(spec)` any other shape; keywords change single fields:
    `SECNN(channels=(8, 8, 8), classes=100)`. Expansions grow it in place.

    Attributes:
        kernel: "reference" or "fused", what computes batch norm, pooling and activation.
        data: what it was trained on, if it comes from a file that tells: name, class_names, and
            mean and std of the normalisation in units where 255 is 1.
    """

    def __init__(self, spec: NetworkSpec | None = None, **fields) -> None:
        super().__init__()
        spec = dataclasses.replace(spec or NetworkSpec(), **fields)
        self._start = spec
        self.kernel = "reference"
        self.data: dict | None = None
        inputs = (spec.input_channels, *spec.channels)
        self.blocks = nn.ModuleList(
            Block(inputs[i], width, layers, spec.dropout, spec.negative_slope)
            for i, (width, layers) in enumerate(zip(spec.channels, spec.layers, strict=True))
        )
        self.head = Head(spec)
        self.to(memory_format=torch.channels_last)

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> SECNN:
        """The network in a checkpoint file, in evaluation mode; see `secnn.checkpoint.load`."""
        from secnn.checkpoint import load  # It imports this module.

        return load(path)

    @property
    def spec(self) -> NetworkSpec:
        """The present shape, read off the modules."""
        return dataclasses.replace(
            self._start,
            channels=tuple(block.width for block in self.blocks),
            layers=tuple(len(block.layers) for block in self.blocks),
        )

    @property
    def n_parameters(self) -> int:
        """Number of trainable scalars."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, images: Tensor) -> Tensor:
        """Logits N×classes of normalised float images N×C×H×W."""
        x = images.contiguous(memory_format=torch.channels_last)
        first = None
        for block in self.blocks:
            x = block(x, self.kernel)
            first = x if first is None else first
        return self.head(x, F.max_pool2d(first, self.skip_pooling))

    @property
    def skip_pooling(self) -> int:
        """Each later block halves the size, rounding down; so does this pooling of the first's."""
        return 2 ** (len(self.blocks) - 1)

    def consumers(self, block: int) -> list[nn.Conv2d]:
        """The convolutions outside `block` that read its output."""
        last = block == len(self.blocks) - 1
        readers = [self.head.last if last else self.blocks[block + 1].layers[0].conv]
        return [*readers, self.head.skip] if block == 0 else readers

    def anneal_slopes(self, epochs: int) -> None:
        """Lower each added layer's slope by 1/`epochs` of its way from 1 to the network's slope."""
        final = self._start.negative_slope
        for layer in (layer for block in self.blocks for layer in block.layers):
            layer.slope = max(final, layer.slope - (1 - final) / max(epochs, 1))


def count_flops(network: SECNN) -> int:
    """Floating-point operations of one image's forward pass: 2 per multiply-add of convolutions
    and linear layers, by torch's own counter."""
    spec = network.spec
    image = network.head.output.weight.new_zeros(1, spec.input_channels, *spec.image_size)
    training, kernel = network.training, network.kernel
    network.eval().kernel = "reference"
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    network.train(training).kernel = kernel
    return counter.get_total_flops()
