"""The separable cell with one thing changed; for fixed networks only."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secnn import Cell, NetworkSpec
from secnn.network.separable.cell import Block, Head, Separable


class ByModules(Separable):
    """The same in plain PyTorch, with whatever depthwise convolution it has been given."""

    def forward(self, x: Tensor, pool: bool, kernel: str) -> Tensor:
        x = self.norm(self.depthwise(self.pointwise(x)))
        return F.leaky_relu(F.max_pool2d(x, 2) if pool else x, self.slope)


def by_modules(block: Block) -> list[Separable]:
    """The separable convolutions of a block, now `ByModules`."""
    parts = [module for module in block.modules() if isinstance(module, Separable)]
    for part in parts:
        part.__class__ = ByModules
    return parts


class PreActivated(Block):
    """LeakyReLU before every unit and at the end, instead of behind the opening."""

    def __init__(self, spec: NetworkSpec, index: int) -> None:
        super().__init__(spec, index)
        self.slope, self.opening.slope = self.opening.slope, 1.0

    def forward(self, x: Tensor, kernel: str) -> Tensor:
        x = self.opening(x, self.pooled, kernel)
        for unit in self.units:
            inner = unit.first(F.leaky_relu(x, self.slope), False, kernel)
            x = x + unit.second(inner, False, kernel)
        return F.leaky_relu(x, self.slope)


class Activated(Block):
    """LeakyReLU behind every unit too."""

    def forward(self, x: Tensor, kernel: str) -> Tensor:
        x = self.opening(x, self.pooled, kernel)
        for unit in self.units:
            x = F.leaky_relu(unit(x, kernel), self.opening.slope)
        return x


class OneDepthwise(Block):
    """The unit's second half without a depthwise convolution."""

    def __init__(self, spec: NetworkSpec, index: int) -> None:
        super().__init__(spec, index)
        by_modules(self)
        for unit in self.units:
            unit.second.depthwise = nn.Identity()


class Excited(Block):
    """Squeeze-and-excitation (arXiv:1709.01507) at the end of every unit, a quarter as wide."""

    def __init__(self, spec: NetworkSpec, index: int) -> None:
        super().__init__(spec, index)
        self.gates = nn.ModuleList(_gate(self.width) for _ in self.units)

    def forward(self, x: Tensor, kernel: str) -> Tensor:
        x = self.opening(x, self.pooled, kernel)
        for unit, gate in zip(self.units, self.gates, strict=True):
            inner = unit.second(unit.first(x, False, kernel), False, kernel)
            x = x + inner * gate(inner.mean((2, 3)))[:, :, None, None]
        return x


def _gate(width: int) -> nn.Module:
    inner = max(4, width // 4)
    return nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width), nn.Sigmoid())


class Strided(Block):
    """The depthwise convolution of an opening takes every second pixel, instead of pooling."""

    def __init__(self, spec: NetworkSpec, index: int) -> None:
        super().__init__(spec, index)
        if self.pooled:
            by_modules(self)
            self.opening.depthwise.stride = (2, 2)
            self.pooled = False


class PooledFirst(Block):
    """An opening's convolutions work on what is pooled already."""

    def forward(self, x: Tensor, kernel: str) -> Tensor:
        if self.pooled:
            x = F.max_pool2d(x, 2)
        x = self.opening(x, False, kernel)
        for unit in self.units:
            x = unit(x, kernel)
        return x


class LargeKernel(Block):
    """Depthwise 5×5 in the last block."""

    def __init__(self, spec: NetworkSpec, index: int) -> None:
        super().__init__(spec, index)
        if index == len(spec.channels) - 1:
            for part in by_modules(self):
                width = part.depthwise.out_channels
                part.depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width, bias=False)


class SmallStart(Block):
    """A unit's last batch norm starts at 0.1."""

    def __init__(self, spec: NetworkSpec, index: int) -> None:
        super().__init__(spec, index)
        for unit in self.units:
            nn.init.constant_(unit.second.norm.weight, 0.1)


class FullStart(Block):
    """A unit's last batch norm starts at 1."""

    def __init__(self, spec: NetworkSpec, index: int) -> None:
        super().__init__(spec, index)
        for unit in self.units:
            nn.init.ones_(unit.second.norm.weight)


class SkipHead(Head):
    """The head reads all blocks, each averaged over its pixels."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec)
        self.output = nn.Linear(sum(spec.channels), spec.classes)

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.output(torch.cat([x.mean((2, 3)) for x in features], 1))


class MaxHead(Head):
    """Mean and maximum over the pixels."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec)
        self.output = nn.Linear(2 * spec.channels[-1], spec.classes)

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.output(torch.cat([features[-1].mean((2, 3)), features[-1].amax((2, 3))], 1))


VARIANTS = {
    "pre-activated": Cell(PreActivated, Head),
    "activated-stream": Cell(Activated, Head),
    "one-depthwise": Cell(OneDepthwise, Head),
    "excited": Cell(Excited, Head),
    "strided": Cell(Strided, Head),
    "pooled-first": Cell(PooledFirst, Head),
    "large-kernel": Cell(LargeKernel, Head),
    "small-start": Cell(SmallStart, Head),
    "full-start": Cell(FullStart, Head),
    "skip-head": Cell(Block, SkipHead),
    "max-head": Cell(Block, MaxHead),
}
