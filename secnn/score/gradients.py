"""Per-sample gradients, from one forward and backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secnn.score.parts import BatchNorm, Convolution, Linear, Part

CHUNK = 128
"""Samples whose activations are held at once: bounds the memory."""


@dataclass
class Recording:
    """What passed through a network, in evaluation mode, and how each sample's loss depends on it.

    Attributes:
        kernel: what computes per-sample gradients, "fused" or "reference".
        inputs, outputs: module → what went in and came out, N×….
        gradients: module → the gradient of each sample's own loss for the module's output, N×….
    """

    kernel: str
    inputs: dict[nn.Module, Tensor] = field(default_factory=dict)
    outputs: dict[nn.Module, Tensor] = field(default_factory=dict)
    gradients: dict[nn.Module, Tensor] = field(default_factory=dict)

    def parts(self, network: nn.Module) -> dict[str, Part]:
        """Name → part, for the modules of `network` that have parameters."""
        return {
            name: rule(module)(module, self.inputs[module], self.gradients[module], self.kernel)
            for name, module in network.named_modules()
            if rule(module) is not None
        }


def record(network: nn.Module, images: Tensor, labels: Tensor) -> Recording:
    """Run `network` and back, keeping what each module that has parameters or is a block met.

    Args:
        images: normalised images N×C×H×W.
        labels: class indices N.

    Raises:
        ValueError: a parameter belongs to a module other than Conv2d, Linear and BatchNorm.
    """
    owners = [m for m in network.modules() if list(m.parameters(recurse=False))]
    unknown = [name for name, _ in network.named_parameters() if not _is_known(network, name)]
    if unknown:
        raise ValueError(
            f"network: per-sample gradients are known for {', '.join(k.__name__ for k in RULES)}; "
            f"{unknown[0]} belongs to another module: add a rule to secnn.score.gradients.RULES"
        )
    recording = Recording(getattr(network, "kernel", "reference"))
    modules = [*owners, *getattr(network, "blocks", [])]
    with evaluating(network, "reference"), _hooked(modules, recording), torch.enable_grad():
        # The sum's gradient with respect to sample n's activations is that of loss n alone.
        loss = F.cross_entropy(network(images.detach().requires_grad_()), labels, reduction="sum")
        found = torch.autograd.grad(loss, list(recording.outputs.values()))
    recording.gradients = dict(zip(recording.outputs, found, strict=True))
    recording.outputs = {module: y.detach() for module, y in recording.outputs.items()}
    return recording


def per_sample_gradients(network: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Gradient of each sample's cross-entropy for each parameter.

    For a convolution it is the product of the shifted inputs and the output's gradient, summed over
    positions; for a linear layer their outer product; for batch norm in evaluation mode, where
    samples do not mix, that of the normalised input and the output's gradient. Arguments and
    errors as for `record`.

    Returns:
        parameter name → tensor N×(parameter's shape).
    """
    found = {
        f"{name}.{parameter}": value
        for name, part in record(network, images, labels).parts(network).items()
        for parameter, value in part.samples().items()
    }
    return {name: found[name] for name, _ in network.named_parameters()}


@contextmanager
def evaluating(network: nn.Module, kernel: str) -> Iterator[None]:
    """Evaluation mode and `kernel` (the reference's modules can be hooked), then as before."""
    training, before = network.training, getattr(network, "kernel", None)
    network.eval().kernel = kernel
    try:
        yield
    finally:
        network.train(training).kernel = before


@contextmanager
def _hooked(modules: list[nn.Module], recording: Recording) -> Iterator[None]:
    """Write inputs and outputs into `recording`."""

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        recording.inputs[module], recording.outputs[module] = inputs[0].detach(), output

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _is_known(network: nn.Module, parameter: str) -> bool:
    return rule(network.get_submodule(parameter.rpartition(".")[0])) is not None


def rule(module: nn.Module) -> Callable | None:
    """What makes a part of the parameters of `module` itself."""
    return next((r for kind, r in RULES.items() if isinstance(module, kind)), None)


RULES: dict[type, Callable[..., Part]] = {
    nn.Conv2d: Convolution.of,
    nn.Linear: Linear.of,
    nn.BatchNorm1d: BatchNorm.of,
    nn.BatchNorm2d: BatchNorm.of,
}
"""Module class → function (module, input, output gradient, kernel) → part."""
