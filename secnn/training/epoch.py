"""One epoch of training, evaluation, and the learning rate."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from secnn.data.batches import batch_count, batches
from secnn.data.dataset import ImageData
from secnn.network.prediction import logits_of


@dataclass(frozen=True)
class Metrics:
    """Mean cross-entropy, and accuracy in per cent."""

    loss: float
    accuracy: float


class Step:
    """One training step; called with normalised images and labels, it returns, without waiting for
    the device, the sum of the cross-entropies and the number of hits.

    Minimises cross-entropy + l1·Σ|θ|. With precision "bfloat16" convolutions and linear layers
    compute in it; weights, batch-norm statistics and the loss stay in float32.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        l1: float,
        precision: str = "float32",
        label_smoothing: float = 0.0,
    ) -> None:
        self.network, self.optimizer, self.l1, self.precision = network, optimizer, l1, precision
        self.label_smoothing = label_smoothing
        self.parameters = list(network.parameters())

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        with mixed(images.device, self.precision):
            logits = self.network(images).float()
        loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        (loss + self._penalty() if self.l1 else loss).backward()
        self.optimizer.step()
        hits = (logits.detach().argmax(1) == labels).sum()
        return torch.stack([loss.detach() * len(labels), hits])

    def _penalty(self) -> Tensor:
        return self.l1 * torch.cat([p.flatten() for p in self.parameters]).abs().sum()


def train_epoch(
    step: Step,
    data: ImageData,
    batch_size: int,
    *,
    shift: int = 0,
    cutout: int = 0,
    full: bool = False,
    rate: Callable[[float], float] | None = None,
    run: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Metrics:
    """One pass over the training images; the metrics are those of the passing batches. `rate` tells
    the learning rate by the part of the epoch that is done, in [0, 1); without it the optimizer's
    own stays. `run` calls the step in its own way, say a `ReplayedStep` of it."""
    step.network.train()
    run = run or step
    count, seen, sums = batch_count(len(data.train_images), batch_size, full=full), 0, []
    for i, (images, labels) in enumerate(batches(data, batch_size, shift, cutout, full=full)):
        if rate is not None:
            set_rate(step.optimizer, rate(i / count))
        sums.append(run(images, labels))
        seen += len(labels)
    return _metrics(sums, seen)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate; in place where it is a tensor, which a recorded step reads."""
    for group in optimizer.param_groups:
        if torch.is_tensor(group["lr"]):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


@torch.inference_mode()
def evaluate(network: nn.Module, images: Tensor, labels: Tensor, data: ImageData) -> Metrics:
    """Loss and accuracy on uint8 `images`, see `logits_of`."""
    found, sums = logits_of(network, images, data), []
    for logits, theirs in zip(found, labels.split([len(b) for b in found]), strict=True):
        loss = F.cross_entropy(logits, theirs, reduction="sum")
        sums.append(torch.stack([loss, (logits.argmax(1) == theirs).sum()]))
    return _metrics(sums, len(images))


def _metrics(sums: list[Tensor], count: int) -> Metrics:
    """From each batch's sum of losses and number of hits."""
    loss, hits = torch.stack(sums).double().sum(0).tolist()
    return Metrics(loss / count, 100 * hits / count)


def mixed(device: torch.device, precision: str) -> AbstractContextManager:
    """Autocast to bfloat16 on `device` if `precision` says so."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def resolve_precision(name: str, device: torch.device) -> str:
    """ "auto" → "bfloat16" where the processor computes in it natively, else "float32"."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if device.type == "cpu" and native else "float32"
