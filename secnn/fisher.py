"""Per-sample gradients, and approximations of the empirical Fisher information matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHUNK = 128
"""Samples whose gradients are held at once: bounds the memory of the unfolded images."""


def per_sample_gradients(network: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Gradient of each sample's cross-entropy for each parameter, from one backward pass.

    For a convolution it is the product of the unfolded input and the output's gradient, summed
    over positions; for a linear layer their outer product; for batch norm in evaluation mode, where
    samples do not mix, that of the normalised input and the output's gradient.

    Args:
        images: normalised images N×C×H×W.
        labels: class indices N.

    Returns:
        parameter name → tensor N×(parameter's shape).

    Raises:
        ValueError: a parameter belongs to a module other than Conv2d, Linear and BatchNorm.
    """
    gradients: dict[str, Tensor] = {}
    with evaluating(network), _recording(network, gradients), torch.enable_grad():
        # The sum's gradient with respect to sample n's activations is that of loss n alone.
        loss = F.cross_entropy(network(images), labels, reduction="sum")
        torch.autograd.backward(loss, inputs=list(network.parameters()))
    network.zero_grad(set_to_none=True)
    missing = [name for name, _ in network.named_parameters() if name not in gradients]
    if missing:
        raise ValueError(
            f"network: per-sample gradients are known for {', '.join(k.__name__ for k in _RULES)}; "
            f"{missing[0]} belongs to another module: add a rule to secnn.fisher._RULES"
        )
    return gradients


def gradient_chunks(
    network: nn.Module, images: Tensor, labels: Tensor
) -> Iterator[dict[str, Tensor]]:
    """`per_sample_gradients` of `CHUNK` samples after another."""
    for some, theirs in zip(images.split(CHUNK), labels.split(CHUNK), strict=True):
        yield per_sample_gradients(network, some, theirs)


def diagonal(network: nn.Module, images: Tensor, labels: Tensor, damping: float) -> float:
    """η = Σ_p ḡ_p² / (F_pp + damping) with the diagonal of the empirical Fisher.

    ḡ is the mean gradient over the N samples, F_pp = (1/N) Σ_n g_np² the mean of the squared
    *per-sample* gradients (arXiv:2401.05686, section 3.1). 0 ≤ η ≤ number of parameters; sampling
    noise alone contributes about 1/N for each parameter.
    """
    total, squares = None, None
    for gradients in gradient_chunks(network, images, labels):
        flat = torch.cat([g.flatten(1) for g in gradients.values()], dim=1)
        total = flat.sum(0) if total is None else total + flat.sum(0)
        squares = flat.square().sum(0) if squares is None else squares + flat.square().sum(0)
    mean, fisher = total / len(images), squares / len(images)
    return (mean.double().square() / (fisher.double() + damping)).sum().item()


FISHERS: dict[str, Callable[[nn.Module, Tensor, Tensor, float], float]] = {"diagonal": diagonal}
"""name → function (network, images, labels, damping) → η."""


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode and the reference kernel (its modules can be hooked), then as before."""
    training, kernel = network.training, getattr(network, "kernel", None)
    network.eval().kernel = "reference"
    try:
        yield
    finally:
        network.train(training).kernel = kernel


@contextmanager
def _recording(network: nn.Module, gradients: dict[str, Tensor]) -> Iterator[None]:
    """Write every module's per-sample gradients into `gradients` during the backward pass."""
    handles = []

    def hook(name: str, rule: Callable) -> Callable:
        def forward(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            x = inputs[0].detach()

            def backward(gradient: Tensor) -> None:
                found = rule(module, x, gradient)
                gradients.update({f"{name}.{part}": value for part, value in found.items()})

            output.register_hook(backward)

        return forward

    for name, module in network.named_modules():
        rule = next((r for kind, r in _RULES.items() if isinstance(module, kind)), None)
        if rule is not None:
            handles.append(module.register_forward_hook(hook(name, rule)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _convolution(module: nn.Conv2d, x: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    columns = F.unfold(x, module.kernel_size, module.dilation, module.padding, module.stride)
    products = gradient.flatten(2) @ columns.transpose(1, 2)
    found = {"weight": products.view(len(x), *module.weight.shape)}
    if module.bias is not None:
        found["bias"] = gradient.sum((2, 3))
    return found


def _linear(module: nn.Linear, x: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    found = {"weight": gradient.unsqueeze(2) * x.unsqueeze(1)}
    if module.bias is not None:
        found["bias"] = gradient
    return found


def _batch_norm(
    module: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor, gradient: Tensor
) -> dict[str, Tensor]:
    shape = (1, -1) + (1,) * (x.dim() - 2)
    scale = (module.running_var + module.eps).rsqrt()
    normalised = (x - module.running_mean.view(shape)) * scale.view(shape)
    per_channel = (len(x), module.num_features, -1)
    return {
        "weight": (normalised * gradient).reshape(per_channel).sum(2),
        "bias": gradient.reshape(per_channel).sum(2),
    }


_RULES: dict[type, Callable] = {
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
}
