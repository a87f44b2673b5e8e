"""Per-sample gradients, from one forward and backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secnn.kernels import KERNELS
from secnn.score.parts import Part
from secnn.score.rules import RULES, check, owners, rule
from secnn.score.watch import Watch

__all__ = ["CHUNK", "RULES", "Recording", "evaluating", "per_sample_gradients", "record"]

CHUNK = 64
"""Samples whose activations are held at once: bounds the memory."""


@dataclass
class Recording:
    """What passed through a network, in evaluation mode, and how each sample's loss depends on it.

    Attributes:
        kernel: what computes per-sample gradients, "fused" or "reference".
        inputs, outputs: module → what went in and came out, N×…; not what was changed in place
            afterwards.
        gradients: module → the gradient of each sample's own loss for the module's output, N×….
    """

    kernel: str
    inputs: dict[nn.Module, Tensor] = field(default_factory=dict)
    outputs: dict[nn.Module, Tensor] = field(default_factory=dict)
    gradients: dict[nn.Module, Tensor] = field(default_factory=dict)

    def parts(self, network: nn.Module) -> dict[str, Part]:
        """Name → part, for the modules of `network` with parameters that are not frozen."""
        return {
            name: make(module, self.inputs[module], self.gradients[module], self.kernel)
            for name, module in owners(network).items()
            if (make := rule(module))
        }


def record(network: nn.Module, images: Tensor, labels: Tensor) -> Recording:
    """Run `network` and back, keeping what each module that has parameters or is a block met.

    Samples may not mix in evaluation mode: what the network computes of one is taken not to depend
    on the others.

    Args:
        images: normalised images N×C×H×W.
        labels: class indices N.

    Raises:
        ValueError: the gradients of a parameter that is not frozen cannot be told. Its module is
            none of `RULES`; or is not called, or called twice, or on something else than N rows;
            what it read is changed in place afterwards (what it returned may be); its parameters
            are used elsewhere as well; a batch norm has no running statistics. Or the network's
            output is not N×classes, or `labels` are not N of these classes.
    """
    check(network)
    recording = Recording(_kernel(network) or "reference")
    with evaluating(network, "reference"), torch.enable_grad():
        watch = Watch(network, len(images))
        # A copy, and no leaf of the graph, so that the network may change it in place.
        copied = images.detach().requires_grad_(images.is_floating_point()).clone()
        with watch.hooked():
            logits = network(copied)
        _check_logits(logits, images, labels)
        # The sum's gradient with respect to sample n's activations is that of loss n alone.
        recording.gradients = watch.gradients(F.cross_entropy(logits, labels, reduction="sum"))
    recording.inputs, recording.outputs = watch.unchanged()
    return recording


def per_sample_gradients(network: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Gradient of each sample's cross-entropy for each parameter that is not frozen.

    For a convolution it is the product of the shifted inputs and the output's gradient, summed over
    positions; for a linear layer their outer product, summed over positions if there are several;
    for batch norm in evaluation mode, where samples do not mix, that of the normalised input and
    the output's gradient. Arguments and errors as for `record`.

    Returns:
        parameter name → tensor N×(parameter's shape).
    """
    found = {
        f"{name}.{parameter}".lstrip("."): value
        for name, part in record(network, images, labels).parts(network).items()
        for parameter, value in part.samples().items()
    }
    return {name: found[name] for name, p in network.named_parameters() if p.requires_grad}


def chunks(images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """At most `CHUNK` images at a time, with their labels.

    Raises:
        ValueError: there are not as many of one as of the other.
    """
    _check_count(images, labels)
    return zip(images.split(CHUNK), labels.split(CHUNK), strict=True)


@contextmanager
def evaluating(network: nn.Module, kernel: str | None = None) -> Iterator[None]:
    """Evaluation mode and, for a network that chooses a kernel, `kernel` if it is given (the
    reference's modules can be hooked); then each module as before."""
    modes, before = {m: m.training for m in network.modules()}, _kernel(network)
    chooser: Any = network
    network.eval()
    if before and kernel:
        chooser.kernel = kernel
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        if before:
            chooser.kernel = before


def _kernel(network: nn.Module) -> str | None:
    """The kernel that the network chooses; None for a module that knows of none."""
    found = getattr(network, "kernel", None)
    return found if isinstance(found, str) and found in KERNELS else None


def _check_count(images: Tensor, labels: Tensor) -> None:
    if len(images) != len(labels):
        raise ValueError(f"labels: expected one an image, {len(images)}, got {len(labels)}")


def _check_logits(logits: Tensor, images: Tensor, labels: Tensor) -> None:
    _check_count(images, labels)
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(images):
        shape = "×".join(map(str, getattr(logits, "shape", ()))) or type(logits).__name__
        raise ValueError(
            f"network: expected it to return logits N×classes for N = {len(images)} images, "
            f"got {shape}"
        )
    classes = logits.shape[1]
    if labels.dim() == 1 and not ((labels >= 0) & (labels < classes)).all():
        low, high = labels.min().item(), labels.max().item()
        raise ValueError(
            f"labels: expected class indices from 0 to {classes - 1}, the network's classes, "
            f"got {low} to {high}"
        )
