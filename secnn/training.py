"""One epoch of training, evaluation, and the learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from secnn.data import ImageData
from secnn.graph import Graph, ReplayedStep

EVALUATION_BATCH = {"cpu": 512, "cuda": 2000}
"""Images a batch. On a CPU with memory kept (`secnn.memory`) 512 are 1.1 times as fast as 128."""


def normalize(images: Tensor, data: ImageData) -> Tensor:
    """uint8 N×C×H×W → float32, (x/255 − mean)/std for each channel, channels-last."""
    mean = torch.tensor(data.mean, device=images.device).view(1, -1, 1, 1) * 255
    scale = 1 / (torch.tensor(data.std, device=images.device).view(1, -1, 1, 1) * 255)
    return (images - mean).mul_(scale).contiguous(memory_format=torch.channels_last)


def batches(data: ImageData, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The training images once, in random order: normalised images and labels.

    The epoch is cut into equal batches of at most `size`, so that none is too small for batch norm.
    Where the data allows it, each image is mirrored left to right with probability ½. Randomness is
    the global CPU generator's, all drawn before the first batch: from the same seed networks of any
    size, whose dropout draws from it too, see the same images.
    """
    count, device = len(data.train_images), data.train_images.device
    order, mirroring = torch.randperm(count), torch.rand(count) < 0.5
    for drawn in order.tensor_split(-(-count // size)):
        mirrored = mirroring[drawn]
        chosen = drawn.to(device)
        images = data.train_images.index_select(0, chosen)
        if data.flip:
            # Whole images are copied, where `torch.where` would choose byte by byte.
            either = (torch.arange(len(drawn)) + len(drawn) * mirrored).to(device)
            images = torch.cat([images, images.flip(3)]).index_select(0, either)
        yield normalize(images, data), data.train_labels[chosen]


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
        self, network: nn.Module, optimizer: Optimizer, l1: float, precision: str = "float32"
    ) -> None:
        self.network, self.optimizer, self.l1, self.precision = network, optimizer, l1, precision
        self.parameters = list(network.parameters())

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        with mixed(images.device, self.precision):
            logits = self.network(images).float()
        loss = F.cross_entropy(logits, labels)
        penalty = torch.cat([p.flatten() for p in self.parameters]).abs().sum()
        self.optimizer.zero_grad(set_to_none=True)
        (loss + self.l1 * penalty).backward()
        self.optimizer.step()
        hits = (logits.detach().argmax(1) == labels).sum()
        return torch.stack([loss.detach() * len(labels), hits])


def train_epoch(
    network: nn.Module,
    optimizer: Optimizer,
    data: ImageData,
    batch_size: int,
    l1: float,
    precision: str = "float32",
    graph: Callable[[], Graph] | None = None,
) -> Metrics:
    """One pass over the training images, by `Step`, recorded and replayed if there is a `graph`;
    the metrics are those of the passing batches."""
    network.train()
    step = Step(network, optimizer, l1, precision)
    run = ReplayedStep(step, graph) if graph else step
    sums = [run(images, labels) for images, labels in batches(data, batch_size)]
    return _metrics(sums, len(data.train_images))


@torch.inference_mode()
def logits_of(network: nn.Module, images: Tensor, data: ImageData) -> list[Tensor]:
    """The logits of uint8 `images`, batch by batch, in evaluation mode and float32."""
    training = network.training
    network.eval()
    size = EVALUATION_BATCH.get(images.device.type, 1000)
    found = [network(normalize(some, data)) for some in images.split(size)]
    network.train(training)
    return found


@torch.inference_mode()
def evaluate(network: nn.Module, images: Tensor, labels: Tensor, data: ImageData) -> Metrics:
    """Loss and accuracy on uint8 `images`, see `logits_of`."""
    batches, sums = logits_of(network, images, data), []
    for logits, theirs in zip(batches, labels.split([len(b) for b in batches]), strict=True):
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


def plateau(optimizer: Optimizer, patience: int) -> ReduceLROnPlateau:
    """Halve the learning rate after `patience` epochs without better validation accuracy."""
    return ReduceLROnPlateau(optimizer, "max", 0.5, patience - 1, threshold=0, min_lr=0)


def restart_patience(scheduler: ReduceLROnPlateau) -> None:
    """After an expansion: the rate and the best accuracy stay, the count of bad epochs restarts."""
    scheduler.num_bad_epochs = 0
