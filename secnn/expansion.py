"""What can be added to a network, and adding it in place without changing its function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from secnn.network import SECNN, NetworkSpec, added_layer
from secnn.surgery import add_to_optimizer, noise, widen_inputs, widen_norm, widen_outputs


@dataclass(frozen=True)
class AddLayer:
    """Append an identity 3×3 convolution to `block` (arXiv:2401.05686, section 3.2).

    Its kernel is Dirac plus Gaussian noise of 1e-4; its batch norm passes its input through
    (weight = √(running variance + ε), bias = running mean); its LeakyReLU starts at slope 1 and is
    lowered while the network trains on (`SECNN.anneal_slopes`). Adds 9C² + 2C parameters to a block
    of width C.
    """

    block: int

    @classmethod
    def everywhere(cls, network: SECNN, channels: int) -> list[AddLayer]:
        """One for each block, lowest first."""
        return [cls(block) for block in range(len(network.blocks))]

    def added_parameters(self, network: SECNN) -> int:
        """Δp, the parameters that applying this to `network` adds."""
        width = _block(network, self.block).width
        return 9 * width**2 + 2 * width

    def fits(self, network: SECNN) -> bool:
        """Whether the block has fewer layers than the network's capacity."""
        return len(_block(network, self.block).layers) < network.spec.capacity

    def grown(self, spec: NetworkSpec) -> NetworkSpec:
        """The shape that this makes of `spec`."""
        return replace(spec, layers=_plus(spec.layers, self.block, 1))

    def apply(
        self,
        network: SECNN,
        optimizer: Optimizer | None = None,
        images: Tensor | None = None,
        generator: torch.Generator | None = None,
        filters: Sequence[Tensor] | None = None,
    ) -> None:
        """Grow `network` in place.

        Args:
            optimizer: learns about the new parameters.
            images: normalised images N×C×H×W, from whose activations the new batch norm takes its
                statistics, so that the function is kept in training mode as well; without them it
                is kept in evaluation mode only.
            generator: source of the noise (CPU).
            filters: of no use to a layer, which starts as the identity.

        Raises:
            ValueError: no such block, or the block is full.
        """
        if not self.fits(network):
            raise ValueError(
                f"block: {self.block} already has {network.spec.capacity} layers, its capacity; "
                f"choose another block or start with a larger capacity"
            )
        layers = _block(network, self.block).layers
        layer = _identity_layer(layers[-1].norm, generator)
        layer.train(network.training)
        layers.append(layer)
        add_to_optimizer(layer, optimizer)
        if images is not None:
            calibrate(network, self.block, {layer: 0}, images)
        pass_through(layer.norm)


@dataclass(frozen=True)
class AddChannels:
    """Widen every layer of `block` by `channels` (arXiv:2401.05686, section 3.2).

    New weights, in the block (but see `secnn.proposal`) and in those who read its output, are
    Gaussian noise of 1e-4, so that the new channels hardly reach the logits at first. With L layers
    of width C, C₀ input channels and k new ones this adds
    k(9C₀ + 3) + (L−1)(9(2Ck + k²) + 2k) parameters in the block, and to its consumers 9C'k for a
    following block of width C', or `maps`·k for the head.
    """

    block: int
    channels: int

    @classmethod
    def everywhere(cls, network: SECNN, channels: int) -> list[AddChannels]:
        """`channels` more for each block, lowest first."""
        return [cls(block, channels) for block in range(len(network.blocks))]

    def added_parameters(self, network: SECNN) -> int:
        """Δp, the parameters that applying this to `network` adds."""
        block, k = _block(network, self.block), self.channels
        first, width = block.layers[0].conv, block.width
        inside = k * (9 * first.in_channels + 3)
        inside += (len(block.layers) - 1) * (9 * (2 * width * k + k**2) + 2 * k)
        readers = network.consumers(self.block)
        return inside + sum(k * c.out_channels * c.kernel_size[0] ** 2 for c in readers)

    def fits(self, network: SECNN) -> bool:
        """Always, as a width has no bound of its own; ValueError if there is no such block."""
        return _block(network, self.block) is not None

    def grown(self, spec: NetworkSpec) -> NetworkSpec:
        """The shape that this makes of `spec`."""
        return replace(spec, channels=_plus(spec.channels, self.block, self.channels))

    def apply(
        self,
        network: SECNN,
        optimizer: Optimizer | None = None,
        images: Tensor | None = None,
        generator: torch.Generator | None = None,
        filters: Sequence[Tensor] | None = None,
    ) -> None:
        """Grow `network` in place; arguments as in `AddLayer.apply`.

        `filters` (see `secnn.proposal`) holds for each layer of the block the new channels' weights
        over its old inputs, `channels`×I×3×3; without them they are noise as well.

        Raises:
            ValueError: no such block, or `channels` below 1.
        """
        if self.channels < 1:
            raise ValueError(f"channels: expected at least 1, got {self.channels}")
        block = _block(network, self.block)
        old = block.width
        for layer in block.layers:
            widen_outputs(layer.conv, self.channels, optimizer, generator)
            widen_norm(layer.norm, self.channels, optimizer)
        for _, layer in pairwise(block.layers):
            widen_inputs(layer.conv, self.channels, optimizer, generator)
        for conv in network.consumers(self.block):
            widen_inputs(conv, self.channels, optimizer, generator)
        for layer, some in zip(block.layers, filters or (), strict=filters is not None):
            layer.conv.weight.data[old:, : some.shape[1]] = some
        if images is not None:
            calibrate(network, self.block, dict.fromkeys(block.layers, old), images)


Expansion = AddLayer | AddChannels

EXPANSIONS: dict[str, type[Expansion]] = {"AddLayer": AddLayer, "AddChannels": AddChannels}
"""name → class, in the order in which candidates are listed. `everywhere` names the candidates."""


def to_dict(expansion: Expansion) -> dict:
    """JSON form, for example `{"kind": "AddLayer", "block": 0}`."""
    return {"kind": type(expansion).__name__, **asdict(expansion)}


def from_dict(fields: dict) -> Expansion:
    """The inverse of `to_dict`."""
    fields = dict(fields)
    return EXPANSIONS[fields.pop("kind")](**fields)


def _block(network: SECNN, index: int) -> nn.Module:
    if not 0 <= index < len(network.blocks):
        raise ValueError(f"block: expected 0 to {len(network.blocks) - 1}, got {index}")
    return network.blocks[index]


def _plus(entries: tuple[int, ...], index: int, amount: int) -> tuple[int, ...]:
    return tuple(entry + amount * (i == index) for i, entry in enumerate(entries))


def _identity_layer(neighbour: nn.BatchNorm2d, generator: torch.Generator | None) -> nn.Module:
    """A layer of the neighbour's width, type and device whose convolution is Dirac plus noise."""
    # The default weights, which are replaced, shall not advance the global generator.
    with torch.random.fork_rng(devices=[]):
        layer = added_layer(neighbour.num_features, slope=1.0)
    layer.to(neighbour.weight.device, neighbour.weight.dtype, memory_format=torch.channels_last)
    weight = layer.conv.weight
    with torch.no_grad():
        nn.init.dirac_(weight)
        weight += noise(*weight.shape, like=weight, generator=generator)
    return layer


def pass_through(norm: nn.BatchNorm2d) -> None:
    """Set weight and bias so that `norm` is the identity on what has its running statistics."""
    with torch.no_grad():
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias.copy_(norm.running_mean)


@torch.no_grad()
def calibrate(network: SECNN, block: int, new: dict[nn.Module, int], images: Tensor) -> None:
    """Set the running statistics of new channels to those of `images`, N×C×H×W.

    `new` maps each changed layer of `block` to its first new channel. Runs in evaluation mode and
    layer by layer, as later new channels depend on the earlier ones.
    """
    training = network.training
    network.eval()
    x = images.contiguous(memory_format=torch.channels_last)
    for earlier in network.blocks[:block]:
        x = earlier(x, "reference")
    for layer in network.blocks[block].layers:
        if layer in new:
            set_statistics(layer.norm, layer.conv(x), new[layer])
        x = layer(x, pool=False, kernel="reference")
    network.train(training)


def set_statistics(norm: nn.BatchNorm2d, x: Tensor, first: int = 0) -> None:
    """Set the running statistics of the channels from `first` on to those of x, N×C×H×W."""
    # Several times as fast as torch.var_mean over three dimensions.
    values = x[:, first:].transpose(0, 1).flatten(1)
    mean = values.mean(1)
    norm.running_mean[first:] = mean
    norm.running_var[first:] = (values - mean[:, None]).square_().mean(1)


def largest_logit_change(before: Tensor, after: Tensor) -> float:
    """max |after − before| / std(before) over logits N×classes: how far growth moved the function;
    0 where nothing moved."""
    moved = (after - before).abs().max().item()
    return moved / before.std().item() if moved else 0.0
