"""What one module's parameters did for some samples: their gradients, and how these factorise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from secnn.kernels.gradients import convolution_gradients


class Part(Protocol):
    """Parameters of one module, or some of them, for n samples."""

    def samples(self) -> dict[str, Tensor]:
        """Parameter → n×(its shape), the gradient of each sample's own loss."""
        ...

    def factors(self) -> tuple[Tensor, Tensor] | None:
        """Ω G×J×J and Γ G×O×O, summed over the samples, where F ≈ Γ_g ⊗ Ω_g for each of G groups
        of O outputs that read J inputs of their own (arXiv:1602.01407; groups: arXiv:2307.02275).

        Ω_g = Σ_t a_t a_tᵀ, a_t what the weights of one of the group's outputs met at position t (a
        1 for the bias is the last entry); Γ_g = (1/T) Σ_t s_t s_tᵀ, s_t the gradient of the
        sample's own loss for the group's outputs at t. A single group may go without its
        dimension. None where a parameter meets no more than one output.
        """
        ...


def matrix(part: Part) -> Tensor:
    """Per-sample gradients n×O×J: a row an output, the columns ordered as in Ω."""
    columns = (v.flatten(2) if v.dim() > 2 else v.unsqueeze(2) for v in part.samples().values())
    return torch.cat(list(columns), 2)


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """The module's own parameters that are not frozen (`requires_grad`)."""
    return {n: p for n, p in module.named_parameters(recurse=False) if p.requires_grad}


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution's weight and bias, or one of them.

    Attributes:
        x: input n×I×H×W; where the padding is not a number of zeros, with its padding.
        gradient: for the output, n×O×H'×W'.
        kernel_size: height and width.
        bias: whether there is one.
        kernel: what computes per-sample gradients, "fused" or "reference".
        geometry: dilation, padding and stride; empty for an odd square kernel that keeps the size.
        groups: G; output o reads the I/G inputs of group ⌊oG/O⌋ alone.
        weight: whether it is one of the parameters.
    """

    x: Tensor
    gradient: Tensor
    kernel_size: tuple[int, ...]
    bias: bool
    kernel: str
    geometry: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    groups: int = 1
    weight: bool = True

    @classmethod
    def of(cls, module: nn.Conv2d, x: Tensor, gradient: Tensor, kernel: str) -> Convolution:
        own, size = trainable(module), module.kernel_size
        x, padding = _padded(module, x)
        geometry = {"dilation": module.dilation, "padding": padding, "stride": module.stride}
        side = size[0]
        usual = ((1, 1), (side // 2,) * 2, (1, 1))
        if size == (side, side) and side % 2 and tuple(geometry.values()) == usual:
            geometry = {}
        groups, weight = module.groups, "weight" in own
        return cls(x, gradient, size, "bias" in own, kernel, geometry, groups, weight)

    def samples(self) -> dict[str, Tensor]:
        found = {"weight": self._of_weight()} if self.weight else {}
        return found | ({"bias": self.gradient.sum((2, 3))} if self.bias else {})

    def _of_weight(self) -> Tensor:
        if self.geometry or self.groups > 1:
            return _of_channels(
                self.x, self.gradient, self.kernel_size, self.groups, self._geometry
            )
        return convolution_gradients(self.x, self.gradient, self.kernel_size[0], self.kernel)

    @property
    def _geometry(self) -> Mapping[str, tuple[int, ...]]:
        return self.geometry or {"padding": (self.kernel_size[0] // 2,) * 2}

    def factors(self) -> tuple[Tensor, Tensor]:
        sent = self.gradient.flatten(2).unflatten(1, (self.groups, -1))
        if not self.weight:
            return _factors(sent[:, :, :0], sent, self.bias)
        met = F.unfold(self.x, self.kernel_size, **self._geometry)
        return _factors(met.unflatten(1, (self.groups, -1)), sent, self.bias)


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear layer's weight and bias, or one of them: x n×…×I, gradient n×…×O.

    Whatever is between samples and features are positions, at which the same weights are used, as
    in a convolution (K-FAC-expand, arXiv:2311.00636).
    """

    x: Tensor
    gradient: Tensor
    bias: bool
    weight: bool = True

    @classmethod
    def of(cls, module: nn.Linear, x: Tensor, gradient: Tensor, kernel: str) -> Linear:
        own = trainable(module)
        return cls(x, gradient, "bias" in own, "weight" in own)

    def samples(self) -> dict[str, Tensor]:
        met, sent = _positions(self.x), _positions(self.gradient)
        found = {"weight": sent @ met.mT} if self.weight else {}
        return found | ({"bias": sent.sum(2)} if self.bias else {})

    def factors(self) -> tuple[Tensor, Tensor]:
        met, sent = _positions(self.x).unsqueeze(1), _positions(self.gradient).unsqueeze(1)
        return _factors(met if self.weight else met[:, :, :0], sent, self.bias)


@dataclass(frozen=True, eq=False)
class BatchNorm:
    """Weight and bias of a batch norm in evaluation mode, or one of them: x and gradient n×C or
    n×C×…, the running mean and `scale` = 1/√(running variance + ε) C."""

    x: Tensor
    gradient: Tensor
    mean: Tensor
    scale: Tensor
    weight: bool = True
    bias: bool = True

    @classmethod
    def of(
        cls, module: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor, gradient: Tensor, kernel: str
    ) -> BatchNorm:
        if module.running_mean is None or module.running_var is None:
            raise ValueError(f"{module}: expected a batch norm with running statistics")
        own, scale = trainable(module), (module.running_var + module.eps).rsqrt()
        return cls(x, gradient, module.running_mean, scale, "weight" in own, "bias" in own)

    def samples(self) -> dict[str, Tensor]:
        products, gradient = self.x * self.gradient, self.gradient
        if positions := tuple(range(2, gradient.dim())):
            products, gradient = products.sum(positions), gradient.sum(positions)
        found = {"weight": (products - self.mean * gradient) * self.scale} if self.weight else {}
        return found | ({"bias": gradient} if self.bias else {})

    def factors(self) -> None:
        return None


def _padded(module: nn.Conv2d, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """What the weights slide over, and the zeros to come above and left of it as well as below and
    right of it: x where these are all, else x with its padding."""
    if isinstance(module.padding, str):
        same = module.padding == "same"
        sizes = zip(module.dilation, module.kernel_size, strict=True)
        totals = (same * dilation * (size - 1) for dilation, size in sizes)
        (above, below), (left, right) = ((total // 2, total - total // 2) for total in totals)
    else:
        above, left = below, right = module.padding
    if module.padding_mode == "zeros" and (above, left) == (below, right):
        return x, (above, left)
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return F.pad(x, (left, right, above, below), mode), (0, 0)


def _of_channels(
    x: Tensor,
    gradient: Tensor,
    size: tuple[int, ...],
    groups: int,
    geometry: Mapping[str, tuple[int, ...]],
) -> Tensor:
    """∂/∂W of each sample's loss, n×O×(I/G)×h×w, by the gradient of one convolution of all samples'
    channels side by side, in groups that read those of their own sample (arXiv:1912.06015)."""
    (n, inputs), outputs = x.shape[:2], gradient.shape[1]
    shape = (n * outputs, inputs // groups, *size)
    joined, theirs = x.reshape(1, -1, *x.shape[2:]), gradient.reshape(1, -1, *gradient.shape[2:])
    found = conv2d_weight(joined, shape, theirs, groups=n * groups, **geometry)
    return found.view(n, outputs, *shape[1:])


def _positions(features: Tensor) -> Tensor:
    """n×…×I as n×I×T."""
    return features.reshape(len(features), -1, features.shape[-1]).mT


def _factors(met: Tensor, sent: Tensor, bias: bool) -> tuple[Tensor, Tensor]:
    """Ω and Γ of what each group met, n×G×J×T, and sent, n×G×O×T."""
    if bias:
        met = torch.cat([met, met.new_ones(*met.shape[:2], 1, met.shape[3])], 2)
    return _outer(met), _outer(sent) / sent.shape[3]


def _outer(columns: Tensor) -> Tensor:
    """Σ_n Σ_t c_nt c_ntᵀ, G×J×J, of n×G×J×T."""
    if columns.shape[2] < columns.shape[3]:
        return (columns @ columns.mT).sum(0)  # A matrix a sample is less than a copy of all.
    flat = columns.permute(1, 2, 0, 3).flatten(2)
    return flat @ flat.mT
