"""Blocks and head of the separable cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from secnn.kernels import normalize_pool_activate, residual_unit, separable_convolution
from secnn.network import cell
from secnn.network.spec import NetworkSpec
from secnn.network.surgery import Surgery
from secnn.score.gradients import Recording
from secnn.score.parts import BatchNorm, Part


class Separable(nn.Module):
    """1×1 convolution → depthwise 3×3 convolution → batch norm (→ 2×2 max-pooling) (→ LeakyReLU).

    Together the two convolutions are one 3×3 convolution of which each filter is one kernel times
    the weights of the channels (BSConv-U, arXiv:2003.13549): C(I + 11) parameters with the batch
    norm's, I channels in, C out.
    """

    def __init__(self, inputs: int, outputs: int, slope: float) -> None:
        super().__init__()
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.depthwise = nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.slope = slope

    @property
    def weights(self) -> tuple[Tensor, Tensor]:
        return self.pointwise.weight, self.depthwise.weight

    def forward(self, x: Tensor, pool: bool, kernel: str) -> Tensor:
        if kernel == "fused":
            x = separable_convolution(x, *self.weights, kernel)
        else:  # The scores record modules.
            x = self.depthwise(self.pointwise(x))
        return normalize_pool_activate(x, None, self.norm, self.slope, pool, kernel)

    def widen(self, surgery: Surgery, added: int) -> None:
        """`added` more channels out, whose filters are drawn as those that are there."""
        surgery.widen_outputs(self.pointwise, added, as_old=True)
        surgery.widen_depthwise(self.depthwise, added)
        surgery.widen_norm(self.norm, added)

    def widen_inputs(self, surgery: Surgery, added: int) -> None:
        surgery.widen_inputs(self.pointwise, added)


class Opening(nn.Module):
    """3×3 convolution of the image → batch norm → LeakyReLU."""

    def __init__(self, inputs: int, outputs: int, slope: float) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.slope = slope

    def forward(self, x: Tensor, pool: bool, kernel: str) -> Tensor:
        x = self.convolution(x)
        return normalize_pool_activate(x, None, self.norm, self.slope, pool, kernel)

    def widen(self, surgery: Surgery, added: int) -> None:
        surgery.widen_outputs(self.convolution, added, as_old=True)
        surgery.widen_norm(self.norm, added)

    def widen_inputs(self, surgery: Surgery, added: int) -> None:
        surgery.widen_inputs(self.convolution, added)


class Unit(nn.Module):
    """x + S₂(S₁(x)): two `Separable`, the first with LeakyReLU, the second with a batch norm whose
    weight starts at 0, so that a new unit is exactly the identity, in training too.

    A unit of width C has 2C(C + 11) parameters.
    """

    def __init__(self, width: int, slope: float) -> None:
        super().__init__()
        self.first = Separable(width, width, slope)
        self.second = Separable(width, width, 1.0)
        nn.init.zeros_(self.second.norm.weight)

    def forward(self, x: Tensor, kernel: str) -> Tensor:
        if kernel == "fused":
            weights, slope = (*self.first.weights, *self.second.weights), self.first.slope
            return residual_unit(x, weights, self.first.norm, self.second.norm, slope, kernel)
        return x + self.second(self.first(x, False, kernel), False, kernel)

    def widen(self, surgery: Surgery, added: int) -> None:
        for part in (self.first, self.second):
            part.widen(surgery, added)
            part.widen_inputs(surgery, added)
        with torch.no_grad():
            self.second.norm.weight[-added:] = 0


class Block(cell.Block):
    """An opening, in all blocks but the first with max-pooling, then units on a residual stream of
    one width: N×C×H×W → N×C'×H×W in the first block, N×C'×⌊H/2⌋×⌊W/2⌋ in others.

    `NetworkSpec.layers` counts the opening and the units. A new unit adds 2C(C + 11) parameters; k
    more channels with U units and C₀ channels in add k(9C₀ + 2) (first block) or k(C₀ + 11) in the
    opening and U·2k(2C + k + 11) in the units, and k·C' in the next block's opening or k·classes in
    the head.
    """

    def __init__(self, spec: NetworkSpec, index: int) -> None:
        super().__init__()
        width, slope = spec.channels[index], spec.negative_slope
        inputs = cell.inputs_of(spec, index)
        self.pooled = index > 0
        self.opening: Opening | Separable
        self.opening = (Separable if index else Opening)(inputs, width, slope)
        self.units: Any = nn.ModuleList(Unit(width, slope) for _ in range(spec.layers[index] - 1))

    @property
    def width(self) -> int:
        return self.opening.norm.num_features

    def forward(self, x: Tensor, kernel: str) -> Tensor:
        x = self.opening(x, self.pooled, kernel)
        for unit in self.units:
            x = unit(x, kernel)
        return x

    def deepen(self, surgery: Surgery) -> None:
        like = self.opening.norm.weight
        seed = torch.randint(2**62, (), generator=surgery.generator).item()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            unit = Unit(self.width, self.opening.slope)
        unit.to(like.device, like.dtype).to(memory_format=torch.channels_last).train(self.training)
        for part in (unit.first, unit.second):
            surgery.hand_over(part, beside=self.opening)
        self.units.append(unit)

    def widen(self, surgery: Surgery, added: int, filters: Sequence[Tensor] | None = None) -> None:
        if filters is not None:
            raise ValueError("filters: the separable cell takes no proposed filters; use none")
        self.opening.widen(surgery, added)
        for unit in self.units:
            unit.widen(surgery, added)

    def widen_inputs(self, surgery: Surgery, added: int) -> None:
        self.opening.widen_inputs(surgery, added)

    def layer_parts(self, grown: Any) -> cell.Attachment:
        """Of a new unit only the last batch norm has a gradient, as its weight is 0: what is before
        it adds nothing to η."""
        unit = grown.units[-1]

        def parts(recording: Recording) -> list[Part]:
            second = unit.second
            with torch.no_grad():
                inner = unit.first(recording.outputs[self], False, "reference")
                x = second.depthwise(second.pointwise(inner))
            return [BatchNorm.of(second.norm, x, recording.gradients[self], recording.kernel)]

        return parts


class Head(cell.Head):
    """Global average pooling of the last block → linear to the classes."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.output = nn.Linear(spec.channels[-1], spec.classes)
        self.last = len(spec.channels) - 1

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.output(features[-1].mean((2, 3)))

    def widen_inputs(self, surgery: Surgery, block: int, added: int) -> None:
        if block == self.last:
            surgery.widen_inputs(self.output, added)


SEPARABLE = cell.Cell(Block, Head)
"""With 16-16-16 channels and a unit in each block 4,090 parameters."""
