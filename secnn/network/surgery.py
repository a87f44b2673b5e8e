"""Growing in place: tensors, the modules that hold them, and what the optimizer remembers."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

NOISE = 1e-4
"""Standard deviation of the Gaussian that breaks the symmetry of new weights."""


def noise(*shape: int, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Gaussian noise of standard deviation `NOISE`, of the type and on the device of `like`."""
    return gaussian(*shape, deviation=NOISE, like=like, generator=generator)


def gaussian(
    *shape: int, deviation: float, like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Gaussian numbers, drawn on the CPU so that a seed means the same on every device."""
    draw = torch.randn(*shape, generator=generator, dtype=torch.float64) * deviation
    return draw.to(dtype=like.dtype, device=like.device)


def extend(parameter: Tensor, dim: int, values: Tensor, optimizer: Optimizer | None = None) -> None:
    """Append `values` to `parameter` along `dim`, in place.

    The `nn.Parameter` stays the same object. Its optimizer state (Adam's moments, or any state
    tensor of the parameter's shape) is padded with zeros; old entries keep their values.
    """
    shape, grown = parameter.shape, _append(parameter.data, dim, values)
    # A graph still alive, say the last step's loss, keeps a gradient accumulator of the old shape,
    # at which the next backward pass would fail. Only a change of type makes torch drop it.
    parameter.data = parameter.data.to(torch.complex64)
    parameter.data = grown
    parameter.grad = None
    state = optimizer.state.get(parameter, {}) if optimizer is not None else {}
    for name, moment in state.items():
        if torch.is_tensor(moment) and moment.shape == shape:
            # Large steps at first, as the step count stays: smaller ones gained less (docs).
            state[name] = _append(moment, dim, torch.zeros_like(values))


def _append(old: Tensor, dim: int, values: Tensor) -> Tensor:
    """Both along `dim`, with the strides of a new network's parameter of that shape: where a size
    is 1 a layout has several, and convolutions choose their algorithm, and with it their rounding,
    by the strides, so that a network restored from a file would compute other bits."""
    grown = torch.cat([old, values], dim)
    last = old.dim() == 4 and old.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    new = torch.empty(grown.shape, dtype=old.dtype, device=old.device, memory_format=layout)
    return new.copy_(grown)


@dataclass(frozen=True)
class NewChannels:
    """Channels of a batch norm that came with growth, from the channel `first` on; their statistics
    have to be measured yet.

    Attributes:
        passes: whether they shall then pass on what they get, unchanged.
    """

    norm: nn.BatchNorm2d
    first: int = 0
    passes: bool = False


@dataclass(eq=False)
class Surgery:
    """One operation on a network: each method widens one module, or hands a new one over.

    Attributes:
        optimizer: learns about the new parameters; its memory of the old ones stays.
        generator: source of the noise (CPU).
        new: the batch norms' new channels, as they come.
    """

    optimizer: Optimizer | None = None
    generator: torch.Generator | None = None
    new: list[NewChannels] = field(default_factory=list)

    def widen_outputs(
        self, module: nn.Conv2d | nn.Linear, added: int, *, as_old: bool = False
    ) -> None:
        """Give a convolution or a linear layer `added` more outputs: weights of noise, or, with
        `as_old`, Gaussian with the standard deviation of those that are there; biases of zero."""
        _, inputs, *kernel = module.weight.shape
        shape, like = (added, inputs, *kernel), module.weight
        deviation = like.detach().std().item() if as_old else NOISE
        new = gaussian(*shape, deviation=deviation, like=like, generator=self.generator)
        extend(module.weight, 0, new, self.optimizer)
        if module.bias is not None:
            extend(module.bias, 0, module.bias.new_zeros(added), self.optimizer)
        _count(module, "out", added)

    def widen_inputs(self, module: nn.Conv2d | nn.Linear, added: int) -> None:
        """Let a convolution or a linear layer read `added` more inputs, with weights of noise.

        Batch norm can blow a new channel up to unit variance, so it is these weights, the
        reader's, that keep the function.
        """
        outputs, _, *kernel = module.weight.shape
        new = noise(outputs, added, *kernel, like=module.weight, generator=self.generator)
        extend(module.weight, 1, new, self.optimizer)
        _count(module, "in", added)

    def widen_depthwise(self, conv: nn.Conv2d, added: int) -> None:
        """Give a depthwise convolution `added` more channels, which pass on what they get but for
        noise: identity kernels."""
        _, _, *kernel = conv.weight.shape
        new = noise(added, 1, *kernel, like=conv.weight, generator=self.generator)
        new[:, :, kernel[0] // 2, kernel[1] // 2] += 1
        extend(conv.weight, 0, new, self.optimizer)
        if conv.bias is not None:
            extend(conv.bias, 0, conv.bias.new_zeros(added), self.optimizer)
        conv.groups += added
        _count(conv, "in", added)
        _count(conv, "out", added)

    def widen_norm(self, norm: nn.BatchNorm2d, added: int) -> None:
        """Give a batch norm `added` more channels: weight 1, bias 0; until they are measured
        running mean 0 and variance 1."""
        self.new.append(NewChannels(norm, norm.num_features))
        extend(norm.weight, 0, norm.weight.new_ones(added), self.optimizer)
        extend(norm.bias, 0, norm.bias.new_zeros(added), self.optimizer)
        mean, variance = statistics(norm)
        norm.running_mean = torch.cat([mean, mean.new_zeros(added)])
        norm.running_var = torch.cat([variance, variance.new_ones(added)])
        norm.num_features += added

    def hand_over(self, module: nn.Module, beside: nn.Module, *, passes: bool = False) -> None:
        """Have the batch norms of the new `module` measured, and then pass on what they get if
        `passes`. Let the optimizer train it too, with an empty memory: each parameter in the group
        of the one of the same name in the module `beside`, else in the first group."""
        norms = (m for m in module.modules() if isinstance(m, nn.BatchNorm2d))
        self.new += [NewChannels(norm, passes=passes) for norm in norms]
        if self.optimizer is None:
            return
        groups, twins = self.optimizer.param_groups, dict(beside.named_parameters())
        for name, parameter in module.named_parameters():
            twin = twins.get(name)
            of_twin = (g for g in groups if any(p is twin for p in g["params"]))
            next(of_twin, groups[0])["params"].append(parameter)


def statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Running mean and variance.

    Raises:
        ValueError: the batch norm keeps none, so that it would not know its new channels.
    """
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("norm: expected running statistics, got none; use track_running_stats")
    return norm.running_mean, norm.running_var


def _count(module: nn.Conv2d | nn.Linear, side: str, added: int) -> None:
    """Correct the module's own count of its inputs ("in") or outputs ("out")."""
    name = f"{side}_{'channels' if isinstance(module, nn.Conv2d) else 'features'}"
    setattr(module, name, getattr(module, name) + added)
