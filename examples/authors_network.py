"""The network of the authors' program, and how it grows: a part of `examples.authors_program`.

The network is that of cell `conv`, and what follows are other kinds of expansions for it, so that
each can be chosen beside the function-preserving `AddLayer` and `AddChannels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from secnn import CELLS, EXPANSIONS, SECNN, AddChannels, AddLayer, Cell, NetworkSpec, Surgery
from secnn.network.cell import Attachment
from secnn.network.conv.cell import Block, Head
from secnn.network.conv.layer import Layer, added_layer
from secnn.network.surgery import NOISE, gaussian, statistics


class JointHead(Head):
    """The head of cell `conv`, drawn as if its two 1×1 convolutions were one: over the last and the
    first block's channels together, so that the weights' bound is 1/√(C_last + C_first)."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec)
        last, first = spec.channels[-1], spec.channels[0]
        with torch.no_grad():
            for parameter in (self.last.weight, self.last.bias):
                parameter *= (last / (last + first)) ** 0.5
            self.skip.weight *= (first / (last + first)) ** 0.5


CELLS["authors"] = Cell(Block, JointHead)


@dataclass(frozen=True)
class DiracLayer(AddLayer):
    """A layer whose kernel is the identity with noise of 1e-4, but whose batch norm starts fresh
    (mean 0, variance 1) and whose LeakyReLU has the network's slope at once: neither passes on what
    it gets. In a full block nothing is added, though it may be chosen."""

    def fits(self, network: SECNN) -> bool:
        """Always: a full block does not refuse."""
        return network.block(self.block) is not None

    def grown(self, spec: NetworkSpec) -> NetworkSpec:
        return super().grown(spec) if spec.layers[self.block] < spec.capacity else spec

    def apply(
        self,
        network: SECNN,
        optimizer: Optimizer | None = None,
        images: Tensor | None = None,
        generator: torch.Generator | None = None,
        filters: Sequence[Tensor] | None = None,
    ) -> None:
        """See `secnn.Expansion.apply`; `images` and `filters` are not used.

        Raises:
            ValueError: the block is not one of 3×3 convolutions.
        """
        block = convolutions(network, self.block)
        if len(block.layers) < network.spec.capacity:
            with torch.random.fork_rng(devices=[]):  # The default weights are replaced.
                layer = added_layer(block.width, network.spec.negative_slope)
            layer.to(block.layers[0].conv.weight).to(memory_format=torch.channels_last)
            with torch.no_grad():
                layer.conv.weight.copy_(self.kernel(block.width, generator))
            Surgery(optimizer).hand_over(layer, beside=block.layers[-1])
            block.layers.append(layer.train(block.training))
            network.spec = self.grown(network.spec)

    def kernel(self, width: int, generator: torch.Generator | None) -> Tensor:
        """What a new convolution's weights C×C×3×3 are."""
        shape = (width, width, 3, 3)
        return nn.init.dirac_(torch.empty(shape)) + noise(shape, generator)

    def parts(self, network: SECNN, grown: SECNN) -> Attachment | None:
        """None: the function changes, so that the grown copy has to be scored."""
        return None


@dataclass(frozen=True)
class BoxLayer(DiracLayer):
    """The same with (identity + noise) of shape C×C×1×1, broadcast over the kernel's nine places:
    each output is the sum of the nine pixels around it."""

    def kernel(self, width: int, generator: torch.Generator | None) -> Tensor:
        pixel = torch.eye(width)[:, :, None, None] + noise((width, width, 1, 1), generator)
        return pixel.expand(-1, -1, 3, 3)


@dataclass(frozen=True)
class ResetChannels(AddChannels):
    """Channels whose coming resets what is trained and misplaces the head's columns.

    Filters of noise with bias 0 in the block's first convolution, whose batch norm has all weights
    and biases reset to 1 and 0, old channels too, and keeps their running statistics. Added layers
    are padded with zeros and get a fresh batch norm. The next block reads the new channels with
    weights of noise. For the head see `recut`. The optimizer forgets what it knew of every tensor
    that is touched.
    """

    def apply(
        self,
        network: SECNN,
        optimizer: Optimizer | None = None,
        images: Tensor | None = None,
        generator: torch.Generator | None = None,
        filters: Sequence[Tensor] | None = None,
    ) -> None:
        """See `secnn.Expansion.apply`; `images` and `filters` are not used.

        Raises:
            ValueError: the block is not one of 3×3 convolutions; or there are more new channels
                than columns of the head to take their places.
        """
        block, final = convolutions(network, self.block), len(network.blocks) - 1
        spec, surgery = self.grown(network.spec), Surgery(generator=generator)
        touched = [*block.parameters()]
        if self.block in (0, final):
            recut(network.head, last=spec.channels[final], first=spec.channels[0])
            touched += [*network.head.last.parameters(), *network.head.skip.parameters()]
        widen(block, self.channels, surgery)
        if self.block < final:
            reader = network.block(self.block + 1)
            reader.widen_inputs(surgery, self.channels)
            touched += [*reader.layers[0].conv.parameters()]
        network.spec = spec
        for parameter in touched if optimizer is not None else ():
            optimizer.state.pop(parameter, None)

    def parts(self, network: SECNN, grown: SECNN) -> Attachment | None:
        """None: the function changes, so that the grown copy has to be scored."""
        return None


def widen(block: Block, added: int, surgery: Surgery) -> None:
    """Give a block `added` more channels as `ResetChannels` says."""
    old = block.width
    for layer in block.layers:
        surgery.widen_outputs(layer.conv, added)
        surgery.widen_norm(layer.norm, added)
        nn.init.ones_(layer.norm.weight)
        nn.init.zeros_(layer.norm.bias)
    for _, layer in pairwise(block.layers):
        surgery.widen_inputs(layer.conv, added)
        pad_with_zeros(layer, old)


def pad_with_zeros(layer: Layer, old: int) -> None:
    """Let an added layer's channels from `old` on neither read nor be read, and its batch norm
    forget what it has met."""
    with torch.no_grad():
        layer.conv.weight[old:] = 0
        layer.conv.weight[:, old:] = 0
        mean, variance = statistics(layer.norm)
        mean.zero_()
        variance.fill_(1)
        layer.norm.num_batches_tracked.zero_()


def recut(head: Head, last: int, first: int) -> None:
    """Let the head read `last` and `first` channels of the last and the first block.

    Its columns are those of the last block, then those of the first, `W = [W_last | W_first]`. The
    new ones are cut as if they were the other way round: the first `first` columns of W, then its
    last `last`. Where the first block is widened by k, its channel j gets the weight of its channel
    j − k, if all widths were one; where it is the last block, its new channels get those of its k
    last old ones.

    Raises:
        ValueError: W has fewer columns than are to be cut from it.
    """
    whole = torch.cat([head.last.weight.detach(), head.skip.weight.detach()], 1)
    if max(last, first) > whole.shape[1]:
        raise ValueError(
            f"channels: expected blocks of at most {whole.shape[1]} channels, as many as the head "
            f"reads now, got {max(last, first)}; widen by fewer (--set channel_steps=4)"
        )
    cut = torch.cat([whole[:, :first], whole[:, whole.shape[1] - last :]], 1)
    fit = Surgery()  # Without an optimizer: its memory is dropped.
    fit.widen_inputs(head.last, last - head.last.in_channels)
    fit.widen_inputs(head.skip, first - head.skip.in_channels)
    with torch.no_grad():
        head.last.weight.copy_(cut[:, :last])
        head.skip.weight.copy_(cut[:, last:])


def convolutions(network: SECNN, index: int) -> Block:
    """Block `index`, one of 3×3 convolutions.

    Raises:
        ValueError: it is none.
    """
    block = network.block(index)
    if not isinstance(block, Block):
        raise ValueError(
            f"expansions: BoxLayer, DiracLayer and ResetChannels are for cells conv and authors, "
            f"got {network.spec.cell}; choose AddLayer and AddChannels"
        )
    return block


def noise(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """Gaussian of standard deviation 1e-4."""
    return gaussian(*shape, deviation=NOISE, like=torch.empty(0), generator=generator)


for kind in (BoxLayer, DiracLayer, ResetChannels):
    EXPANSIONS[kind.__name__] = kind
