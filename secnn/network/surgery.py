"""Growing in place: tensors, the modules that hold them, and what the optimizer remembers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

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

    The `nn.Parameter` stays the same object. What its optimizer remembers of it (Adam's moments,
    Adafactor's of rows and columns) is padded with what the optimizer starts with, zeros as a rule;
    old entries keep their values.

    Raises:
        ValueError: what the optimizer remembers cannot be, see `expect_extensible`.
    """
    if optimizer is not None:
        expect_extensible(optimizer, [parameter])
        _extend_state(optimizer, parameter, dim, values)
    grown = _append(parameter.data, dim, values)
    # A graph still alive, say the last step's loss, keeps a gradient accumulator of the old shape,
    # at which the next backward pass would fail. Only a change of type makes torch drop it.
    parameter.data = parameter.data.to(torch.complex64)
    parameter.data = grown
    parameter.grad = None


def _extend_state(optimizer: Optimizer, parameter: Tensor, dim: int, values: Tensor) -> None:
    state = optimizer.state.get(parameter, {})
    for name, moment in state.items():
        if not _is_number(moment, parameter) and moment.shape[dim] == parameter.shape[dim]:
            shape = [*moment.shape]
            shape[dim] = values.shape[dim]
            # Large steps at first, as the step count stays: smaller ones gained less (docs).
            first = _first_state(optimizer, parameter, name)
            new = moment.new_full(shape, first)
            # An average of weights; zeros would be in it for as long as it lasts.
            is_average = isinstance(optimizer, torch.optim.ASGD) and name == "ax"
            state[name] = _append(moment, dim, values if is_average else new)


FIRST_STATE: dict[tuple[type[Optimizer], str], str] = {
    (torch.optim.Rprop, "step_size"): "lr",
    (torch.optim.Adagrad, "sum"): "initial_accumulator_value",
}
"""Optimizer and entry of its state → the option that it starts with, where that is not zero."""


def _first_state(optimizer: Optimizer, parameter: Tensor, name: str) -> float:
    """What the optimizer's state `name` starts with, in the group of `parameter`."""
    known = ((kind, option) for (kind, own), option in FIRST_STATE.items() if own == name)
    option = next((option for kind, option in known if isinstance(optimizer, kind)), None)
    if option is None:
        return 0.0
    groups = (g for g in optimizer.param_groups if any(p is parameter for p in g["params"]))
    return float(next(groups, optimizer.defaults)[option])


def _begin_state(optimizer: Optimizer, group: dict[str, Any], parameter: Tensor) -> None:
    """Give the new `parameter` of a group the memory that the optimizer starts with, if it makes
    none itself: Adagrad of older versions of PyTorch, and fused SGD once others have momenta."""
    fused = isinstance(optimizer, torch.optim.SGD) and group.get("fused")
    if not (fused or isinstance(optimizer, torch.optim.Adagrad)):
        return
    others = (p for p in group["params"] if optimizer.state.get(p))
    twin = next(others, parameter)
    for name, value in optimizer.state.get(twin, {}).items():
        if torch.is_tensor(value) and _is_number(value, twin):
            optimizer.state[parameter][name] = torch.zeros_like(value)
        elif torch.is_tensor(value):
            first = _first_state(optimizer, twin, name)
            optimizer.state[parameter][name] = torch.full_like(parameter, first)


def expect_extensible(optimizer: Optimizer, parameters: Iterable[Tensor]) -> None:
    """Raise ValueError unless it is clear how what `optimizer` remembers of each of `parameters`
    grows with it: numbers stay, and a tensor has along each dimension the parameter's size, or 1
    where it sums that up; unlike the flattened history of L-BFGS."""
    for parameter in parameters:
        for name, value in optimizer.state.get(parameter, {}).items():
            if not (_is_number(value, parameter) or _is_along(value, parameter)):
                raise ValueError(
                    f"optimizer: expected one whose memory grows with a weight, as that of Adam "
                    f"and SGD, got {type(optimizer).__name__}, whose {name} is "
                    f"{_described(value)} for a weight of shape {tuple(parameter.shape)}; grow "
                    "before its first step, or make a new one after growing"
                )


def _is_number(value: object, parameter: Tensor) -> bool:
    if torch.is_tensor(value):
        return value.numel() == 1 and value.dim() < 2 and value.shape != parameter.shape
    return isinstance(value, int | float | str | None)


def _is_along(value: object, parameter: Tensor) -> bool:
    if not torch.is_tensor(value) or value.dim() != parameter.dim():
        return False
    if value.shape == parameter.shape:
        return True
    # Of a matrix with one row or column, what is of all rows looks like what is of one.
    clear = parameter.dim() > 2 or 1 not in parameter.shape
    return clear and all(n in (1, m) for n, m in zip(value.shape, parameter.shape, strict=True))


def _described(value: object) -> str:
    shape = getattr(value, "shape", None)
    return type(value).__name__ if shape is None else f"of shape {tuple(shape)}"


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

    Raises:
        ValueError: the optimizer's memory cannot grow, see `expect_extensible`; raised before
            anything has grown.
    """

    optimizer: Optimizer | None = None
    generator: torch.Generator | None = None
    new: list[NewChannels] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.optimizer is not None:
            groups = self.optimizer.param_groups
            expect_extensible(self.optimizer, [p for g in groups for p in g["params"]])

    def widen_outputs(
        self, module: nn.Conv2d | nn.Linear, added: int, *, as_old: bool = False
    ) -> None:
        """Give a convolution or a linear layer `added` more outputs: weights of noise, or, with
        `as_old`, Gaussian with the standard deviation of those that are there; biases of zero."""
        _, inputs, *kernel = module.weight.shape
        shape, like = (added, inputs, *kernel), module.weight
        deviation = spread(like) if as_old else NOISE
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

    def replace(self, old: nn.Parameter, new: nn.Parameter) -> None:
        """Let the optimizer train `new`, which has taken the place of `old` in its module, in the
        same group, with an empty memory."""
        if self.optimizer is None:
            return
        self.optimizer.state.pop(old, None)
        for group in self.optimizer.param_groups:
            if any(parameter is old for parameter in group["params"]):
                group["params"] = [new if p is old else p for p in group["params"]]
                _begin_state(self.optimizer, group, new)

    def hand_over(self, module: nn.Module, beside: nn.Module, *, passes: bool = False) -> None:
        """Have the batch norms of the new `module` measured, and then pass on what they get if
        `passes`. Let the optimizer train it too, with an empty memory: each parameter in the group
        of the one of the same name in the module `beside`; if there is none, of one there that is
        the same of a module of its kind, say the bias of a batch norm; or of one with as many
        dimensions; else in the first group."""
        norms = (m for m in module.modules() if isinstance(m, nn.BatchNorm2d))
        self.new += [NewChannels(norm, passes=passes) for norm in norms]
        if self.optimizer is None:
            return
        groups, known = self.optimizer.param_groups, _likenesses(beside)
        for likeness, parameter in _likenesses(module):
            scores = [(_alike(likeness, other), twin) for other, twin in known]
            closest = max(scores, key=lambda scored: scored[0], default=(0, None))
            twin = closest[1] if closest[0] else None
            of_twin = (g for g in groups if any(p is twin for p in g["params"]))
            group = next(of_twin, groups[0])
            _begin_state(self.optimizer, group, parameter)
            group["params"].append(parameter)


def spread(weight: Tensor) -> float:
    """The standard deviation of weights; of a single one its size, as it has none."""
    known = weight.detach()
    return (known.std() if known.numel() > 1 else known.abs().mean()).item()


Likeness = tuple[str, tuple[type, str], int]
"""Of a parameter: its name, its module's kind and its name there, and its dimensions."""


def _likenesses(module: nn.Module) -> list[tuple[Likeness, Tensor]]:
    return [
        ((f"{name}.{own}".lstrip("."), (type(part), own), parameter.dim()), parameter)
        for name, part in module.named_modules()
        for own, parameter in part.named_parameters(recurse=False)
    ]


def _alike(one: Likeness, other: Likeness) -> int:
    """0 for parameters that have nothing in common, the more the closer."""
    return max((3 - i for i in range(3) if one[i] == other[i]), default=0)


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
