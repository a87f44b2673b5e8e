"""What a block of the network is made of, and how it grows: the protocol that a cell follows.

A cell of your own is a subclass of `Block`, one of `Head` (or that of another cell), and one entry
in `CELLS`, which `NetworkSpec.cell` names. Nothing else of the project knows what is inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from secnn.network.spec import NetworkSpec
from secnn.network.surgery import Surgery
from secnn.score.gradients import Recording
from secnn.score.parts import Part

Attachment = Callable[[Recording], list[Part]]
"""From a recording of some samples to the parameters that an expansion would add, in parts."""


class Block(nn.Module):
    """A stage of the network: N×C×H×W → N×`width`×H'×W'. `NetworkSpec` counts on no more than one
    halving a block.

    Growth keeps the function: a block computes the same after `deepen`, and after `widen` the same
    in its old channels, while whoever reads the new ones starts with weights of noise.
    """

    @property
    def width(self) -> int:
        """Channels of its output."""
        raise NotImplementedError

    def forward(self, x: Tensor, kernel: str) -> Tensor:
        """`kernel` is "fused" or "reference", see `secnn.kernels`; a block may ignore it."""
        raise NotImplementedError

    def deepen(self, surgery: Surgery) -> None:
        """Append a layer (or a unit) that passes on what it gets."""
        raise NotImplementedError

    def widen(self, surgery: Surgery, added: int, filters: Sequence[Tensor] | None = None) -> None:
        """Add `added` channels to the output, behind the old ones. `filters`, if there are any, are
        those that a proposal found at the block's `sites`."""
        raise NotImplementedError

    def widen_inputs(self, surgery: Surgery, added: int) -> None:
        """Read `added` more channels, behind the old ones, with weights of noise."""
        raise NotImplementedError

    def anneal(self, epochs: int) -> None:
        """Bring what was added 1/`epochs` nearer to its final form. Nothing, as a rule."""

    # The rest is for speed and for research: what follows is always right.

    def layer_parts(self, grown: Any) -> Attachment | None:
        """The parameters that are in `grown` after `deepen`, from a recording of the network as it
        is; None has the candidate scored on its grown copy, slower, with the same result."""
        return None

    def channel_parts(self, network: Any, grown: Any, index: int) -> Attachment | None:
        """The same for `widen`; this is block `index` of `network`, and `grown` its grown copy."""
        return None

    def sites(self, network: Any, index: int, recording: Recording) -> Iterable[Any]:
        """Where proposals (`secnn.growth.proposal`) may put filters.

        Raises:
            ValueError: the cell has no such places.
        """
        raise ValueError(
            f"proposal: {type(self).__name__}, block {index}, takes no proposed filters; use noise"
        )


class Head(nn.Module):
    """From the blocks' outputs to the logits."""

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits N×classes of what each of the blocks gave."""
        raise NotImplementedError

    def widen_inputs(self, surgery: Surgery, block: int, added: int) -> None:
        """Block `block` has `added` more channels: read them, with weights of noise, if the head
        reads that block."""
        raise NotImplementedError


class BlockMaker(Protocol):
    """Makes block `index` of a network of shape `spec`."""

    def __call__(self, spec: NetworkSpec, index: int) -> Block: ...


@dataclass(frozen=True)
class Cell:
    """What makes a network's blocks, and its head."""

    block: BlockMaker
    head: Callable[[NetworkSpec], Head]


def inputs_of(spec: NetworkSpec, index: int) -> int:
    """Channels that block `index` reads."""
    return spec.channels[index - 1] if index else spec.input_channels
