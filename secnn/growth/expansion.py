"""What can be added to a network, and adding it in place without changing its function."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from secnn.data.splits import described
from secnn.network.calibration import settle
from secnn.network.cell import Attachment
from secnn.network.network import SECNN, outline
from secnn.network.spec import NetworkSpec
from secnn.network.surgery import Surgery
from secnn.registry import Registry


@dataclass(frozen=True)
class Expansion(abc.ABC):
    """Something that can be added to a network: a frozen dataclass, so a value, whose fields are
    JSON types.

    A new kind implements `everywhere`, `grown` and `apply`, and is one entry in `EXPANSIONS`.
    """

    @classmethod
    @abc.abstractmethod
    def everywhere(cls, network: SECNN, channels: int) -> Sequence[Expansion]:
        """One for each place, lowest first; `channels` is how many a widening adds now."""

    @abc.abstractmethod
    def grown(self, spec: NetworkSpec) -> NetworkSpec:
        """The shape that this makes of `spec`."""

    @abc.abstractmethod
    def apply(
        self,
        network: SECNN,
        optimizer: Optimizer | None = None,
        images: Tensor | None = None,
        generator: torch.Generator | None = None,
        filters: Sequence[Tensor] | None = None,
    ) -> None:
        """Grow `network` in place, `network.spec` included.

        Args:
            optimizer: learns about the new parameters.
            images: normalised images N×C×H×W, from whose activations new batch norms take their
                statistics, so that the function is kept in training mode as well; without them it
                is kept in evaluation mode only.
            generator: source of the noise (CPU).
            filters: those that a proposal found for this expansion.

        Raises:
            ValueError: it does not fit.
        """

    def fits(self, network: SECNN) -> bool:
        """Whether it can be applied to `network`. Always, as a rule."""
        return True

    def added_parameters(self, network: SECNN) -> int:
        """Δp, the parameters that applying this to `network` adds."""
        return outline(self.grown(network.spec)).n_parameters - network.n_parameters

    def parts(self, network: SECNN, grown: SECNN) -> Attachment | None:
        """What tells the new parameters' gradients from a recording of `network`, `grown` being its
        grown copy (see `secnn.network.cell`); None has the copy itself recorded."""
        return None


@dataclass(frozen=True)
class AddLayer(Expansion):
    """Append a layer that passes on what it gets to `block` (arXiv:2401.05686, section 3.2)."""

    block: int

    @classmethod
    def everywhere(cls, network: SECNN, channels: int) -> Sequence[AddLayer]:
        return [cls(block) for block in range(len(network.blocks))]

    def fits(self, network: SECNN) -> bool:
        """Whether the block has fewer layers than the network's capacity."""
        network.block(self.block)
        return network.spec.layers[self.block] < network.spec.capacity

    def grown(self, spec: NetworkSpec) -> NetworkSpec:
        return replace(spec, layers=_plus(spec.layers, self.block, 1))

    def apply(
        self,
        network: SECNN,
        optimizer: Optimizer | None = None,
        images: Tensor | None = None,
        generator: torch.Generator | None = None,
        filters: Sequence[Tensor] | None = None,
    ) -> None:
        """See `Expansion.apply`; `filters` are of no use to a layer.

        Raises:
            ValueError: no such block, or the block is full; or as `expect_usable`.
        """
        if not self.fits(network):
            raise ValueError(
                f"block: {self.block} already has {network.spec.capacity} layers, its capacity; "
                f"choose another block or start with a larger capacity"
            )
        expect_usable(network, optimizer, images)
        surgery = Surgery(optimizer, generator)
        network.block(self.block).deepen(surgery)
        network.spec = self.grown(network.spec)
        settle(network, surgery.new, images)

    def parts(self, network: SECNN, grown: SECNN) -> Attachment | None:
        return network.block(self.block).layer_parts(grown.block(self.block))


@dataclass(frozen=True)
class AddChannels(Expansion):
    """Widen `block` by `channels` (arXiv:2401.05686, section 3.2): its output, and what reads it.

    New weights, in the block (but see `secnn.growth.proposal`) and in those who read its output,
    are Gaussian noise of 1e-4, so that the new channels hardly reach the logits at first.
    """

    block: int
    channels: int

    @classmethod
    def everywhere(cls, network: SECNN, channels: int) -> Sequence[AddChannels]:
        return [cls(block, channels) for block in range(len(network.blocks))]

    def fits(self, network: SECNN) -> bool:
        """Whether it adds a channel: a width has no bound of its own.

        Raises:
            ValueError: there is no such block.
        """
        network.block(self.block)
        return self.channels > 0

    def grown(self, spec: NetworkSpec) -> NetworkSpec:
        return replace(spec, channels=_plus(spec.channels, self.block, self.channels))

    def apply(
        self,
        network: SECNN,
        optimizer: Optimizer | None = None,
        images: Tensor | None = None,
        generator: torch.Generator | None = None,
        filters: Sequence[Tensor] | None = None,
    ) -> None:
        """See `Expansion.apply`. `filters` (see `secnn.growth.proposal`) holds for each site of the
        block the new channels' weights over its old inputs, `channels`×I×3×3; without them they
        are noise as well.

        Raises:
            ValueError: no such block, or `channels` below 1; or as `expect_usable`.
        """
        if self.channels < 1:
            raise ValueError(f"channels: expected at least 1, got {self.channels}")
        expect_usable(network, optimizer, images)
        surgery = Surgery(optimizer, generator)
        network.block(self.block).widen(surgery, self.channels, filters)
        if self.block + 1 < len(network.blocks):
            network.block(self.block + 1).widen_inputs(surgery, self.channels)
        network.head.widen_inputs(surgery, self.block, self.channels)
        network.spec = self.grown(network.spec)
        settle(network, surgery.new, images)

    def parts(self, network: SECNN, grown: SECNN) -> Attachment | None:
        return network.block(self.block).channel_parts(network, grown, self.block)


EXPANSIONS: Registry[type[Expansion]] = Registry(
    "expansion", AddLayer=AddLayer, AddChannels=AddChannels
)
"""name → class. `TrialConfig.expansions` says which of them are candidates, and in which order."""


def expect_usable(network: SECNN, optimizer: Optimizer | None, images: Tensor | None) -> None:
    """Raise ValueError, before anything has grown, if `optimizer` trains none of the network's
    parameters, or `images` are not normalised ones N×C×H×W that the network takes."""
    if optimizer is not None:
        trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if not any(id(p) in trained for p in network.parameters()):
            raise ValueError(
                "optimizer: expected one that trains this network, got one of other parameters; "
                "make it from network.parameters()"
            )
    channels = network.spec.input_channels
    if images is not None and not (
        images.is_floating_point()
        and images.dim() == 4
        and len(images)
        and images.shape[1] == channels
    ):
        raise ValueError(
            f"images: expected normalised floats N×{channels}×H×W, at least one image, got "
            f"{described(images)}"
        )


def to_dict(expansion: Expansion) -> dict[str, Any]:
    """JSON form, for example `{"kind": "AddLayer", "block": 0}`."""
    return {"kind": type(expansion).__name__, **dataclasses.asdict(expansion)}


def from_dict(fields: dict[str, Any]) -> Expansion:
    """The inverse of `to_dict`.

    Raises:
        ValueError: the kind is not in `EXPANSIONS`.
        TypeError: the fields are not those of its kind.
    """
    fields = dict(fields)
    return EXPANSIONS.find(fields.pop("kind"))(**fields)


def _plus(entries: tuple[int, ...], index: int, amount: int) -> tuple[int, ...]:
    if not 0 <= index < len(entries):
        raise ValueError(f"block: expected 0 to {len(entries) - 1}, got {index}")
    return tuple(entry + amount * (i == index) for i, entry in enumerate(entries))


def largest_logit_change(before: Tensor, after: Tensor) -> float:
    """max |after − before| / std(before) over logits N×classes: how far growth moved the function;
    0 where nothing moved, infinite where logits were all the same and are no more."""
    moved, spread = (after - before).abs().max().item(), before.std().item()
    if not moved:
        return 0.0
    return moved / spread if spread else math.inf
