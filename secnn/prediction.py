"""Using a network: from images to probabilities."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

from secnn.network import SECNN
from secnn.training import logits_of


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
            "network: expected one that secnn.load or secnn.load_within gave, got one that does "
            "not know its data; normalise the images and call it instead"
        )
    shape = (network.spec.input_channels, *network.spec.image_size)
    if images.dtype != torch.uint8 or tuple(images.shape[1:]) != shape:
        expected = f"torch.uint8 (N, {', '.join(map(str, shape))})"
        raise ValueError(f"images: expected {expected}, got {images.dtype} {tuple(images.shape)}")
    data, device = SimpleNamespace(**network.data), network.head.output.weight.device
    return torch.cat(logits_of(network, images.to(device), data)).softmax(1)
