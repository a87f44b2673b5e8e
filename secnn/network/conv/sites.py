"""Where proposals may put new filters: what a filter sees, and who reads its channel."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from secnn.network.conv.layer import Layer


@dataclass(frozen=True)
class Reader:
    """A convolution that reads a channel.

    Attributes:
        pooling: the max-pooling between the two.
        side: its kernel size.
        delta: gradient of the loss for its output, N×O×H×W.
    """

    pooling: int
    side: int
    delta: Tensor

    def pool(self, x: Tensor) -> Tensor:
        """What it sees of the channels x."""
        return F.max_pool2d(x, self.pooling) if self.pooling > 1 else x

    def gradients(self, seen: Tensor) -> Tensor:
        """∂L/∂Ω, O×C×side×side, of its weights on what it sees, N×C×H×W."""
        shape = (self.delta.shape[1], seen.shape[1], self.side, self.side)
        return conv2d_weight(seen, shape, self.delta, padding=self.side // 2)


@dataclass(frozen=True)
class Site:
    """Where new channels would be: a layer, its input N×I×H×W, and who would read them."""

    layer: Layer
    x: Tensor
    readers: list[Reader]

    def activations(self, filters: Tensor) -> Tensor:
        """The channels of the filters, at unit variance before the activation."""
        z = F.conv2d(self.x, filters, padding=1)
        z = F.batch_norm(z, None, None, training=True, eps=self.layer.norm.eps)
        return F.leaky_relu(z, self.layer.slope)
