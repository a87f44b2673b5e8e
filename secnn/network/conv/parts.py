"""The parameters that an expansion of the paper's cell would add and their gradients, without
adding them.

An expansion that keeps the function leaves all activations, and the gradients with respect to them,
as they are. The new parameters' gradients then follow from what was recorded in the network as it
is, and the expansion's own small branch. The noise of 1e-4 in the new weights is taken into account
where it decides a new parameter's gradient, and neglected where it moves an old activation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

from secnn.network.conv.layer import Layer
from secnn.score.gradients import Recording
from secnn.score.parts import BatchNorm, Convolution, Part


def layer_parts(last: Layer, norm: nn.BatchNorm2d) -> Callable[[Recording], list[Part]]:
    """A new layer behind `last`, with the batch norm `norm`, calibrated: its convolution is the
    identity and its batch norm passes that on, so that its input, the block's last activation
    before pooling, is its output too."""

    def parts(recording: Recording) -> list[Part]:
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


@dataclass(frozen=True, eq=False)
class Flow:
    """New weights of an old convolution, which read new channels.

    Attributes:
        conv: the old convolution.
        weight: its new inputs' weights, O×k×h×w.
        layer: whose new channels it reads, counted within the block.
        pooling: side of the max-pooling between the two, beside the block's own.
    """

    conv: nn.Conv2d
    weight: Tensor
    layer: int
    pooling: int

    def backward(self, x: Tensor, gradient: Tensor) -> Tensor:
        """The gradient for what it reads, x, from that for the convolution's output."""
        padding = self.weight.shape[-1] // 2
        return conv2d_input(x.shape, self.weight, gradient, padding=padding)

    def part(self, x: Tensor, recording: Recording) -> Convolution:
        """The new weights, x being what they read."""
        gradient, (height, width) = recording.gradients[self.conv], self.weight.shape[2:]
        return Convolution(x.detach(), gradient, (height, width), False, recording.kernel)


class Branch:
    """The new channels of a block's layers, as a graph of their own: from the block's input to
    those who read the block's output, whose recorded gradients flow back into it."""

    def __init__(self, layers: Sequence[Layer], wide: Sequence[Layer]) -> None:
        self.layers, old = layers, layers[0].conv.out_channels
        self.weights = [layer.conv.weight[old:].detach() for layer in wide]
        biases = [layer.conv.bias for layer in wide]
        self.biases = [None if b is None else b[old:].detach() for b in biases]
        self.norms = [_new_channels(layer.norm, old) for layer in wide]

    def attached(self, recording: Recording, flows: Sequence[Flow]) -> list[Part]:
        """All that is new, in parts: the branch's own, and the readers' weights for it."""
        with torch.enable_grad():
            passed = self.run([recording.inputs[layer.conv] for layer in self.layers])
            ends = [
                F.max_pool2d(passed[flow.layer], flow.pooling)
                if flow.pooling > 1
                else passed[flow.layer]
                for flow in flows
            ]
        reached = list(zip(flows, ends, strict=True))
        self.backward(ends, [f.backward(x, recording.gradients[f.conv]) for f, x in reached])
        return self.parts(recording.kernel) + [f.part(x, recording) for f, x in reached]

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """From each layer's recorded input, the old channels, to each layer's new ones, N×k×H×W;
        the last layer's are pooled."""
        self.inputs: list[Tensor] = []
        self.convolved: list[Tensor] = []
        self.normalised: list[Tensor] = []
        outputs: list[Tensor] = []
        for i, (layer, x) in enumerate(zip(self.layers, inputs, strict=True)):
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
    new.load_state_dict({k: v[old:] if v.dim() else v for k, v in norm.state_dict().items()})
    return new
