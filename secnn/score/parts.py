"""What one module's parameters did for some samples: their gradients, and how these factorise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secnn.kernels.gradients import convolution_gradients, unfolded_gradients


class Part(Protocol):
    """Parameters of one module, or some of them, for n samples."""

    def samples(self) -> dict[str, Tensor]:
        """Parameter → n×(its shape), the gradient of each sample's own loss."""
        ...

    def factors(self) -> tuple[Tensor, Tensor] | None:
        """Ω and Γ, summed over the samples, where F ≈ Γ ⊗ Ω (arXiv:1602.01407).

        Ω = Σ_t a_t a_tᵀ, a_t what the weights of one output met at position t (a 1 for the bias is
        the last entry); Γ = (1/T) Σ_t s_t s_tᵀ, s_t the gradient of the sample's own loss for the
        outputs at t. None where a parameter meets no more than one output.
        """
        ...


def matrix(part: Part) -> Tensor:
    """Per-sample gradients n×O×J: a row an output, the columns ordered as in Ω."""
    columns = (v.flatten(2) if v.dim() > 2 else v.unsqueeze(2) for v in part.samples().values())
    return torch.cat(list(columns), 2)


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution's weight, and its bias if it has one.

    Attributes:
        x: input n×I×H×W.
        gradient: for the output, n×O×H'×W'.
        kernel_size: height and width.
        bias: whether there is one.
        kernel: what computes per-sample gradients, "fused" or "reference".
        geometry: dilation, padding and stride; empty for stride 1 that keeps the size.
    """

    x: Tensor
    gradient: Tensor
    kernel_size: tuple[int, int]
    bias: bool
    kernel: str
    geometry: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, module: nn.Conv2d, x: Tensor, gradient: Tensor, kernel: str) -> Convolution:
        names, side = ("dilation", "padding", "stride"), module.kernel_size[0]
        geometry = {name: getattr(module, name) for name in names}
        usual = ((1, 1), (side // 2,) * 2, (1, 1))
        if module.kernel_size == (side, side) and tuple(geometry.values()) == usual:
            geometry = {}
        return cls(x, gradient, module.kernel_size, module.bias is not None, kernel, geometry)

    def samples(self) -> dict[str, Tensor]:
        x, gradient, size = self.x, self.gradient, self.kernel_size
        if self.geometry:
            found = {"weight": unfolded_gradients(x, gradient, size, **self.geometry)}
        else:
            found = {"weight": convolution_gradients(x, gradient, size[0], self.kernel)}
        return found | ({"bias": gradient.sum((2, 3))} if self.bias else {})

    def factors(self) -> tuple[Tensor, Tensor]:
        geometry = self.geometry or {"padding": self.kernel_size[0] // 2}
        met = F.unfold(self.x, self.kernel_size, **geometry)
        if self.bias:
            met = F.pad(met, (0, 0, 0, 1), value=1.0)
        sent = self.gradient.flatten(2)
        return _outer(met), _outer(sent) / sent.shape[2]


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear layer's weight, and its bias if it has one: x n×I, gradient n×O."""

    x: Tensor
    gradient: Tensor
    bias: bool

    @classmethod
    def of(cls, module: nn.Linear, x: Tensor, gradient: Tensor, kernel: str) -> Linear:
        return cls(x, gradient, module.bias is not None)

    def samples(self) -> dict[str, Tensor]:
        found = {"weight": self.gradient.unsqueeze(2) * self.x.unsqueeze(1)}
        return found | ({"bias": self.gradient} if self.bias else {})

    def factors(self) -> tuple[Tensor, Tensor]:
        met = F.pad(self.x, (0, 1), value=1.0) if self.bias else self.x
        return met.T @ met, self.gradient.T @ self.gradient


@dataclass(frozen=True, eq=False)
class BatchNorm:
    """Weight and bias of a batch norm in evaluation mode, where samples do not mix: x and gradient
    n×C or n×C×…, the running mean and `scale` = 1/√(running variance + ε) C."""

    x: Tensor
    gradient: Tensor
    mean: Tensor
    scale: Tensor

    @classmethod
    def of(
        cls, module: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor, gradient: Tensor, kernel: str
    ) -> BatchNorm:
        scale = (module.running_var + module.eps).rsqrt()
        return cls(x, gradient, module.running_mean, scale)

    def samples(self) -> dict[str, Tensor]:
        products, gradient = self.x * self.gradient, self.gradient
        if positions := tuple(range(2, gradient.dim())):
            products, gradient = products.sum(positions), gradient.sum(positions)
        return {"weight": (products - self.mean * gradient) * self.scale, "bias": gradient}

    def factors(self) -> None:
        return None


def _outer(columns: Tensor) -> Tensor:
    """Σ_n Σ_t c_nt c_ntᵀ of n×J×T."""
    flat = columns.transpose(0, 1).flatten(1)
    return flat @ flat.T
