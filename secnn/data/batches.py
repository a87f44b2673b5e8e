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


def batches(data: ImageData, size: int, shift: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """The training images once, in random order: normalised images and labels.

    The epoch is cut into equal batches of at most `size`, so that none is too small for batch norm.
    Where the data allows it, each image is mirrored left to right with probability ½; each is moved
    by up to `shift` pixels, up or down and left or right. Randomness is the global CPU generator's,
    all drawn before the first batch: from the same seed networks of any size, whose dropout draws
    from it too, see the same images.
    """
    count, device = len(data.train_images), data.train_images.device
    order, mirroring = torch.randperm(count), torch.rand(count) < 0.5
    moves = torch.randint(2 * shift + 1, (count, 2)) if shift else None
    for drawn in order.tensor_split(-(-count // size)):
        chosen = drawn.to(device)
        images = data.train_images.index_select(0, chosen)
        mirrored = mirroring[drawn].to(device) if data.flip else None
        if moves is not None:
            images = _moved(images, moves[drawn].to(device), shift, mirrored)
        elif mirrored is not None:
            # Whole images are copied, where `torch.where` would choose byte by byte.
            either = torch.arange(len(drawn), device=device) + len(drawn) * mirrored
            images = torch.cat([images, images.flip(3)]).index_select(0, either)
        yield normalize(images, data), data.train_labels[chosen]


def _moved(images: Tensor, moves: Tensor, shift: int, mirrored: Tensor | None) -> Tensor:
    """Each image of N×C×H×W cut out of itself, its edges repeated by `shift` pixels, at `moves`
    N×2 in 0…2·`shift`, from right to left where it is `mirrored`."""
    n, c, h, w = images.shape
    rows = (moves[:, :1] + torch.arange(h, device=images.device)).clamp(shift, shift + h - 1)
    columns = torch.arange(w, device=images.device).expand(n, w)
    if mirrored is not None:
        columns = torch.where(mirrored[:, None], w - 1 - columns, columns)
    columns = (moves[:, 1:] + columns).clamp(shift, shift + w - 1)
    pixels = (rows - shift)[:, :, None] * w + (columns - shift)[:, None]
    index = pixels.flatten(1)[:, None].expand(n, c, h * w)
    return images.flatten(2).gather(2, index).view(n, c, h, w)
