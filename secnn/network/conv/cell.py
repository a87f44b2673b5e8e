"""Blocks and head of the paper's cell (arXiv:2401.05686, sections 3.2 and 4)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from secnn.network import cell
from secnn.network.conv.layer import Layer, added_layer, identity_layer
from secnn.network.conv.parts import Branch, Flow, layer_parts
from secnn.network.conv.sites import Reader, Site
from secnn.network.spec import NetworkSpec
from secnn.network.surgery import Surgery
from secnn.score.gradients import Recording


class Block(cell.Block):
    """Convolutions of one width, then max-pooling: N×C×H×W → N×C'×⌊H/2⌋×⌊W/2⌋.

    A new layer is the identity: its kernel is Dirac plus Gaussian noise of 1e-4, its batch norm
    passes its input through (weight = √(running variance + ε), bias = running mean), and its
    LeakyReLU starts at slope 1, which is lowered while the network trains on. It has 9C² + 2C
    parameters in a block of width C.

    New channels have filters of noise too, unless a proposal gives others. With L layers of width
    C, C₀ input channels and k new ones they take k(9C₀ + 3) + (L−1)(9(2Ck + k²) + 2k) parameters in
    the block, and in who reads it 9C'k for a following block of width C', or `maps`·k in the head.
    """

    def __init__(self, spec: NetworkSpec, index: int) -> None:
        super().__init__()
        self.slope, width = spec.negative_slope, spec.channels[index]
        inputs = cell.inputs_of(spec, index)
        first = Layer(inputs, width, bias=True, dropout=spec.dropout, slope=self.slope)
        added = (added_layer(width, self.slope) for _ in range(spec.layers[index] - 1))
        self.layers: Any = nn.ModuleList([first, *added])

    @property
    def width(self) -> int:
        return self.layers[0].conv.out_channels

    def forward(self, x: Tensor, kernel: str) -> Tensor:
        for layer in self.layers[:-1]:
            x = layer(x, pool=False, kernel=kernel)
        return self.layers[-1](x, pool=True, kernel=kernel)

    def deepen(self, surgery: Surgery) -> None:
        neighbour = self.layers[-1]
        layer = identity_layer(neighbour.norm, surgery.generator).train(self.training)
        self.layers.append(layer)
        surgery.hand_over(layer, neighbour, passes=True)

    def widen(self, surgery: Surgery, added: int, filters: Sequence[Tensor] | None = None) -> None:
        old = self.width
        for layer in self.layers:
            surgery.widen_outputs(layer.conv, added)
            surgery.widen_norm(layer.norm, added)
        for _, layer in pairwise(self.layers):
            surgery.widen_inputs(layer.conv, added)
        for layer, some in zip(self.layers, filters or (), strict=filters is not None):
            layer.conv.weight.data[old:, : some.shape[1]] = some

    def widen_inputs(self, surgery: Surgery, added: int) -> None:
        surgery.widen_inputs(self.layers[0].conv, added)

    def anneal(self, epochs: int) -> None:
        for layer in self.layers:
            layer.anneal(epochs, self.slope)

    def layer_parts(self, grown: Any) -> cell.Attachment:
        return layer_parts(self.layers[-1], grown.layers[-1].norm)

    def channel_parts(self, network: Any, grown: Any, index: int) -> cell.Attachment | None:
        wide = grown.blocks[index]
        if not isinstance(network.head, Head):
            return None
        branch = Branch(self.layers, wide.layers)
        flows = [
            Flow(conv, wider.weight[:, self.width :].detach(), len(self.layers) - 1, pooling)
            for (conv, pooling), (wider, _) in zip(
                readers(network, index), readers(grown, index), strict=True
            )
        ]
        inside = zip(self.layers[1:], wide.layers[1:], strict=True)
        flows += [
            Flow(a.conv, b.conv.weight[: self.width, self.width :].detach(), i, 1)
            for i, (a, b) in enumerate(inside)
        ]
        return lambda recording: branch.attached(recording, flows)

    def sites(self, network: Any, index: int, recording: Recording) -> Iterable[Site]:
        for layer, following in zip(self.layers, [*self.layers[1:], None], strict=True):
            if following is not None:
                found = [(following.conv, 1)]
            else:
                found = [(conv, 2 * pooling) for conv, pooling in readers(network, index)]
            yield Site(
                layer,
                recording.inputs[layer.conv],
                [Reader(p, c.kernel_size[0], recording.gradients[c]) for c, p in found],
            )


def readers(network: Any, index: int) -> list[tuple[nn.Conv2d, int]]:
    """The convolutions outside block `index` that read its output, each with the side of the
    max-pooling between the two."""
    last = index == len(network.blocks) - 1
    next_one = network.head.last if last else network.blocks[index + 1].layers[0].conv
    skip = [(network.head.skip, network.head.skip_pooling)] if index == 0 else []
    return [(next_one, 1), *skip]


class Head(cell.Head):
    """1×1 convolution of the last and the first block's output to `maps` maps → LeakyReLU →
    linear to `units` → batch norm → LeakyReLU → dropout → batch norm → linear to the classes.

    The first block's output is max-pooled to the size of the last one's. Concatenating the two and
    convolving them 1×1 equals two 1×1 convolutions added up (`last`, with the bias, and `skip`);
    kept apart, widening a block only ever appends.
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
        # Each later block halves the size, rounding down; so does this pooling of the first's.
        self.skip_pooling = 2 ** (len(spec.channels) - 1)
        self.final = len(spec.channels) - 1

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        first = F.max_pool2d(features[0], self.skip_pooling)
        x = F.leaky_relu(self.last(features[-1]) + self.skip(first), self.slope)
        x = self.hidden_norm(self.hidden(x.flatten(1)))
        x = self.output_norm(self.dropout(F.leaky_relu(x, self.slope)))
        return self.output(x)

    def widen_inputs(self, surgery: Surgery, block: int, added: int) -> None:
        if block == self.final:
            surgery.widen_inputs(self.last, added)
        if block == 0:
            surgery.widen_inputs(self.skip, added)


CONV = cell.Cell(Block, Head)
"""The paper's cell: 9,024 parameters at the start, 11,360 and 13,696 with one and two layers."""
