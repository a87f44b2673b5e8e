"""A layer of the paper's cell."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secnn.kernels import normalize_pool_activate
from secnn.network.surgery import noise


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

    def anneal(self, epochs: int, final: float) -> None:
        """Lower the slope by 1/`epochs` of its way from 1 to `final`."""
        self.slope = max(final, self.slope - (1 - final) / max(epochs, 1))


def added_layer(width: int, slope: float) -> Layer:
    """A layer behind a block's first: no bias and no dropout (arXiv:2401.05686, section 3.2)."""
    return Layer(width, width, bias=False, dropout=0.0, slope=slope)


def identity_layer(neighbour: nn.BatchNorm2d, generator: torch.Generator | None) -> Layer:
    """A layer of the neighbour's width, type and device whose convolution is Dirac plus noise."""
    # The default weights, which are replaced, shall not advance the global generator.
    with torch.random.fork_rng(devices=[]):
        layer = added_layer(neighbour.num_features, slope=1.0)
    layer.to(neighbour.weight.device, neighbour.weight.dtype)
    layer.to(memory_format=torch.channels_last)
    weight = layer.conv.weight
    with torch.no_grad():
        nn.init.dirac_(weight)
        weight += noise(*weight.shape, like=weight, generator=generator)
    return layer
