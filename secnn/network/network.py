"""The self-expanding network: blocks in a row, and a head."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from secnn.network.cell import Block, Head
from secnn.network.cells import CELLS
from secnn.network.spec import NetworkSpec
from secnn.score.gradients import evaluating


class SECNN(nn.Module):
    """Self-expanding convolutional network (arXiv:2401.05686, sections 3 and 4).

    `SECNN()` has 9,024 parameters; `SECNN(spec)` any other shape; keywords change single fields:
    `SECNN(channels=(8, 8, 8), classes=100)`. Expansions grow it in place.

    Attributes:
        spec: its present shape.
        start: the shape that it was made with.
        kernel: "reference" or "fused", what computes batch norm, pooling and activation.
        data: what it was trained on, if it is a trial's or comes from a file that tells: name,
            class_names, and mean and std of the normalisation in units where 255 is 1.

    Raises:
        ValueError: a field is out of its range, or nothing is known by the name of the cell.
    """

    blocks: Any  # A ModuleList does not know the type of its modules.
    head: Head

    def __init__(self, spec: NetworkSpec | None = None, **fields) -> None:
        super().__init__()
        self.spec = self.start = dataclasses.replace(spec or NetworkSpec(), **fields)
        self.kernel = "reference"
        self.data: dict | None = None
        cell = CELLS.find(self.spec.cell)
        indices = range(len(self.spec.channels))
        self.blocks = nn.ModuleList(cell.block(self.spec, i) for i in indices)
        self.head = cell.head(self.spec)
        self.to(memory_format=torch.channels_last)

    @property
    def n_parameters(self) -> int:
        """Number of trainable scalars."""
        return sum(parameter.numel() for parameter in self.parameters())

    def block(self, index: int) -> Block:
        """Block `index`, counted from 0.

        Raises:
            ValueError: there is no such block.
        """
        if not 0 <= index < len(self.blocks):
            raise ValueError(f"block: expected 0 to {len(self.blocks) - 1}, got {index}")
        return self.blocks[index]

    def forward(self, images: Tensor) -> Tensor:
        """Logits N×classes of normalised float images N×C×H×W."""
        return self.head(list(self._features(images)))

    def _features(self, images: Tensor) -> Iterator[Tensor]:
        x = images.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x, self.kernel)
            yield x

    def anneal_slopes(self, epochs: int) -> None:
        """Bring what growth added 1/`epochs` nearer to its final form: in the paper's cell, lower
        each added layer's slope on its way from 1 to the network's."""
        for block in self.blocks:
            block.anneal(epochs)


def outline(spec: NetworkSpec) -> SECNN:
    """The network of that shape without its numbers, which could take all memory.

    Raises:
        RuntimeError: it has more of them than PyTorch can count.
    """
    with torch.device("meta"):
        return SECNN(spec)


def count_flops(network: SECNN) -> int:
    """Floating-point operations of one image's forward pass: 2 per multiply-add of convolutions
    and linear layers, by torch's own counter."""
    spec = network.spec
    image = next(network.parameters()).new_zeros(1, spec.input_channels, *spec.image_size)
    counter = FlopCounterMode(display=False)
    with evaluating(network, "reference"), torch.no_grad(), counter:
        network(image)
    return counter.get_total_flops()
