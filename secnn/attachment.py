"""The parameters that an expansion would add and their gradients, without adding them.

An expansion that keeps the function leaves all activations, and the gradients with respect to them,
as they are. The new parameters' gradients then follow from what was recorded in the network as it
is, and the expansion's own small branch. The noise of 1e-4 in the new weights is taken into account
where it decides a new parameter's gradient, and neglected where it moves an old activation.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

from secnn.expansion import AddChannels, AddLayer, Expansion, set_statistics
from secnn.gradients import CHUNK, Recording
from secnn.network import SECNN, Block
from secnn.parts import BatchNorm, Convolution, Part

Attachment = Callable[[Recording], list[Part]]
"""From a recording of some samples to the new parameters, in parts."""


@dataclass(frozen=True)
class Passage:
    """What all scoring images are to a block.

    Attributes:
        inputs: the block's input N×C×H×W.
        mean, variance: of each channel of its last activation before pooling.
    """

    inputs: Tensor
    mean: Tensor
    variance: Tensor


@torch.no_grad()
def passages(network: SECNN, images: Tensor) -> list[Passage]:
    """The passage of `images` through each block, the network being in evaluation mode."""
    found, x = [], images.contiguous(memory_format=torch.channels_last)
    for block in network.blocks:
        activations = (_activate(block, some, network.kernel) for some in x.split(CHUNK))
        outputs, sums, count = [], 0, 0
        for a in activations:
            values = a.permute(0, 2, 3, 1).reshape(-1, a.shape[1])
            sums = sums + torch.stack([values.sum(0), values.square().sum(0)]).double()
            count += len(values)
            outputs.append(F.max_pool2d(a, 2))
        mean, square = sums / count
        moments = torch.stack([mean, square - mean.square()]).to(x.dtype)
        found.append(Passage(x, *moments))
        x = torch.cat(outputs).contiguous(memory_format=torch.channels_last)
    return found


def _activate(block: Block, x: Tensor, kernel: str) -> Tensor:
    for layer in block.layers:
        x = layer(x, False, kernel)
    return x


def attach_layer(
    expansion: AddLayer,
    network: SECNN,
    passage: Passage,
    generator: torch.Generator,
    filters: None = None,
) -> Attachment:
    """The new convolution is the identity and its batch norm passes it on, so that its input, the
    block's last activation before pooling, is its output too."""
    block = network.blocks[expansion.block]
    norm = nn.BatchNorm2d(block.width).to(passage.mean)
    norm.running_mean, norm.running_var = passage.mean, passage.variance

    def parts(recording: Recording) -> list[Part]:
        last = block.layers[-1]
        before = recording.outputs[last.norm]
        x = F.leaky_relu(before, last.slope)
        # What the old activation, now before the pooling, took from the gradient.
        gradient = torch.ops.aten.leaky_relu_backward(
            recording.gradients[last.norm], before, 1 / last.slope, False
        )
        return [
            Convolution(x, gradient, (3, 3), False, recording.kernel),
            BatchNorm.of(norm, x, gradient, recording.kernel),
        ]

    return parts


def attach_channels(
    expansion: AddChannels,
    network: SECNN,
    passage: Passage,
    generator: torch.Generator,
    filters: Sequence[Tensor] | None = None,
) -> Attachment:
    """The new channels are a branch from the block's input to those who read the block's output,
    whose recorded gradients flow back into it."""
    grown = copy.deepcopy(network)
    expansion.apply(grown, generator=generator, filters=filters)
    block, wide = network.blocks[expansion.block], grown.blocks[expansion.block]
    branch = _Branch(block, wide)
    branch.calibrate(passage.inputs, network.kernel)
    consumers = [network.consumers(expansion.block), grown.consumers(expansion.block)]
    readers = [(a, b.weight[:, block.width :].detach()) for a, b in zip(*consumers, strict=True)]
    readers += [
        (a.conv, b.conv.weight[: block.width, block.width :].detach())
        for a, b in zip(block.layers[1:], wide.layers[1:], strict=True)
    ]

    def parts(recording: Recording) -> list[Part]:
        with torch.enable_grad():
            passed = branch.run([recording.inputs[layer.conv] for layer in block.layers])
            ends = [passed[-1]] * len(consumers[0]) + passed[:-1]
            ends = [
                F.max_pool2d(x, network.skip_pooling) if conv is network.head.skip else x
                for x, (conv, _) in zip(ends, readers, strict=True)
            ]
        flows = [
            (x, weight, recording.gradients[conv])
            for x, (conv, weight) in zip(ends, readers, strict=True)
        ]
        branch.backward(ends, [_backward(*flow) for flow in flows])
        return branch.parts(recording.kernel) + [
            Convolution(x.detach(), gradient, weight.shape[2:], False, recording.kernel)
            for x, weight, gradient in flows
        ]

    return parts


def _backward(x: Tensor, weight: Tensor, gradient: Tensor) -> Tensor:
    """The gradient for `x`, which new weights of an old convolution read."""
    return conv2d_input(x.shape, weight, gradient, padding=weight.shape[-1] // 2)


class _Branch:
    """The new channels of a block's layers, as a graph of their own."""

    def __init__(self, block: Block, wide: Block) -> None:
        self.block, old = block, block.width
        self.weights = [layer.conv.weight[old:].detach() for layer in wide.layers]
        self.biases = [layer.conv.bias for layer in wide.layers]
        self.biases = [None if b is None else b[old:].detach() for b in self.biases]
        self.norms = [_new_channels(layer.norm, old) for layer in wide.layers]

    @torch.no_grad()
    def calibrate(self, x: Tensor, kernel: str) -> None:
        """Take the batch norms' statistics from the block's input `x`."""
        read = x
        for i, layer in enumerate(self.block.layers):
            convolved = self._convolve(i, read)
            set_statistics(self.norms[i], convolved)
            if i + 1 < len(self.norms):
                new = F.leaky_relu(self.norms[i](convolved), layer.slope)
                x = torch.cat([layer(some, False, kernel) for some in x.split(CHUNK)])
                read = torch.cat([x, new], 1)

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """From each layer's recorded input, the old channels, to each layer's new ones, N×k×H×W;
        the last layer's are pooled."""
        self.inputs: list[Tensor] = []
        self.convolved: list[Tensor] = []
        self.normalised: list[Tensor] = []
        outputs: list[Tensor] = []
        for i, (layer, x) in enumerate(zip(self.block.layers, inputs, strict=True)):
            self.inputs.append(torch.cat([x, outputs[-1]], 1) if i else x)
            convolved = self._convolve(i, self.inputs[-1])
            self.convolved.append(convolved if i else convolved.requires_grad_())
            self.normalised.append(self.norms[i](self.convolved[-1]))
            pooled = i + 1 == len(inputs)
            y = F.max_pool2d(self.normalised[-1], 2) if pooled else self.normalised[-1]
            outputs.append(F.leaky_relu(y, layer.slope))
        return outputs

    def _convolve(self, i: int, x: Tensor) -> Tensor:
        # Batch norm and pooling of a few channels are 2.5 times as fast channels-first.
        return F.conv2d(x, self.weights[i], self.biases[i], padding=1).contiguous()

    def backward(self, ends: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Let the gradients of what `run` returned flow back."""
        found = torch.autograd.grad(ends, [*self.convolved, *self.normalised], gradients)
        self.of_convolved, self.of_normalised = found[: len(self.norms)], found[len(self.norms) :]

    def parts(self, kernel: str) -> list[Part]:
        """The convolutions' new rows, which read old and new channels, and the batch norms."""
        found: list[Part] = []
        for i, norm in enumerate(self.norms):
            x, bias = self.inputs[i].detach(), self.biases[i] is not None
            found.append(Convolution(x, self.of_convolved[i], (3, 3), bias, kernel))
            x = self.convolved[i].detach()
            found.append(BatchNorm.of(norm, x, self.of_normalised[i], kernel))
        return found


def _new_channels(norm: nn.BatchNorm2d, old: int) -> nn.BatchNorm2d:
    """The part of `norm` that is new, in evaluation mode."""
    new = nn.BatchNorm2d(norm.num_features - old, norm.eps).to(norm.weight).eval()
    with torch.no_grad():
        new.weight.copy_(norm.weight[old:])
        new.bias.copy_(norm.bias[old:])
    return new


ATTACHMENTS: dict[type[Expansion], Callable[..., Attachment]] = {
    AddLayer: attach_layer,
    AddChannels: attach_channels,
}
"""Kind of expansion → function (expansion, network, its block's passage, generator, filters) →
`Attachment`.
Expansions without an entry are scored on a grown copy."""
