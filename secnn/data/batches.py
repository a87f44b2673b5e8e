"""From resident uint8 images to what a network is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from secnn.data.dataset import ImageData


class Normalisation(Protocol):
    """What knows the mean and the deviation of each channel, in units where 255 is 1."""

    @property
    def mean(self) -> Sequence[float]: ...

    @property
    def std(self) -> Sequence[float]: ...


def normalize(images: Tensor, data: Normalisation) -> Tensor:
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
