"""Using a network: from images to probabilities."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from secnn.data.batches import Normalisation, normalize
from secnn.network.network import SECNN
from secnn.score.gradients import evaluating

EVALUATION_BATCH = {"cpu": 512, "cuda": 2000}
"""Images a batch. On a CPU with memory kept (`secnn.kernels.memory`) 512 are 1.1 times as fast
as 128."""


@torch.inference_mode()
def logits_of(network: nn.Module, images: Tensor, data: Normalisation | Mapping) -> list[Tensor]:
    """The logits of uint8 `images`, batch by batch, in evaluation mode and float32.

    The network computes in its own type.
    """
    size, dtype = EVALUATION_BATCH.get(images.device.type, 1000), next(network.parameters()).dtype
    with evaluating(network):
        return [network(normalize(some, data).to(dtype)).float() for some in images.split(size)]


@torch.inference_mode()
def predict(network: SECNN, images: Tensor) -> Tensor:
    """The probability of each class, float32 N×classes, for uint8 images N×C×H×W in 0..255.

    They are normalised as the network's training images were, as told by the file that it was
    loaded from; the columns are in the order of `network.data["class_names"]`. The network computes
    in evaluation mode, on its own device.

    Raises:
        ValueError: the network was not loaded from a file that knows its data; or the images are
            not uint8, or not of its size.
    """
    if not network.data:
        raise ValueError(
            "network: expected one of a trial, or that secnn.load or secnn.load_within gave, got "
            "one that does not know its data; normalise the images and call it instead"
        )
    shape = (network.spec.input_channels, *network.spec.image_size)
    expected = f"torch.uint8 (N, {', '.join(map(str, shape))}) in 0..255"
    if not isinstance(images, Tensor):
        kind = type(images).__name__
        raise ValueError(f"images: expected {expected}, got {kind}; torch.from_numpy makes tensors")
    if images.dtype != torch.uint8 or tuple(images.shape[1:]) != shape:
        floats = "; of floats in 0..1: (255 * images).round().byte()" * images.is_floating_point()
        got = f"{images.dtype} {tuple(images.shape)}"
        raise ValueError(f"images: expected {expected}, got {got}{floats}")
    device = next(network.parameters()).device
    return torch.cat(logits_of(network, images.to(device), network.data)).softmax(1)
