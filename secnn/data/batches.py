"""From resident uint8 images to what a network is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from types import SimpleNamespace
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


def normalize(images: Tensor, data: Normalisation | Mapping) -> Tensor:
    """uint8 N×C×H×W → float32, (x/255 − mean)/std for each channel, channels-last; by the mean and
    std of `data`, which is `secnn.ImageData`, or the `data` of a network that was trained on it."""
    known = SimpleNamespace(**data) if isinstance(data, Mapping) else data
    mean, scale = _constants(tuple(known.mean), tuple(known.std), images.device)
    return (images - mean).mul_(scale).contiguous(memory_format=torch.channels_last)


@lru_cache(maxsize=64)
def _constants(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """255·mean and 1/(255·std), 1×C×1×1, on `device`: a GPU shall not wait for them each time."""
    # Outside of inference mode, whose tensors training could not use.
    with torch.inference_mode(False):
        centre = torch.tensor(mean, device=device).view(1, -1, 1, 1) * 255
        return centre, 1 / (torch.tensor(std, device=device).view(1, -1, 1, 1) * 255)


AHEAD = {"cuda": 16}
"""Batches that are drawn at once; on CPUs one, which stays in the cache."""


def batches(
    data: ImageData, size: int, shift: int = 0, cutout: int = 0, *, full: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """The training images once, in random order: normalised images and labels.

    The epoch is cut into equal batches of at most `size`, so that none is too small for batch norm;
    if `full`, into batches of `size`, and what is over is left out if there is a whole batch.
    Where the data allows it, each image is mirrored left to right with probability ½; each is moved
    by up to `shift` pixels, up or down and left or right; a square of `cutout` pixels a side around
    a pixel of each becomes the mean of all images (arXiv:1708.04552). Randomness is the global CPU
    generator's, all drawn before the first batch: from the same seed networks of any size, whose
    dropout draws from it too, see the same images, on every device.
    """
    count, device = len(data.train_images), data.train_images.device
    order, mirroring = torch.randperm(count), torch.rand(count) < 0.5
    moves = torch.randint(2 * shift + 1, (count, 2)) if shift else None
    centres = torch.rand(count, 2) if cutout else None
    order, mirroring = order.to(device), mirroring.to(device)
    moves = moves.to(device) if moves is not None else None
    centres = centres.to(device) if centres is not None else None
    number = batch_count(count, size, full=full)
    parts = order[: number * size].split(size) if full else order.tensor_split(number)
    ahead = AHEAD.get(device.type, 1)
    for some in (parts[i : i + ahead] for i in range(0, len(parts), ahead)):
        wanted = torch.cat(some)
        images = _drawn(data, wanted, mirroring, moves, shift)
        if centres is not None:
            images = _cut(images, centres[wanted], cutout, data)
        for own, drawn in zip(images.split([len(part) for part in some]), some, strict=True):
            yield normalize(own, data), data.train_labels[drawn]


def batch_count(images: int, size: int, *, full: bool) -> int:
    """How many batches `batches` cuts so many images into."""
    return images // size if full and images >= size else -(-images // size)


def _drawn(
    data: ImageData, drawn: Tensor, mirroring: Tensor, moves: Tensor | None, shift: int
) -> Tensor:
    """The training images `drawn`, uint8, mirrored and moved."""
    images, device = data.train_images.index_select(0, drawn), drawn.device
    mirrored = mirroring[drawn] if data.flip else None
    if moves is not None:
        return _moved(images, moves[drawn], shift, mirrored)
    if mirrored is not None:
        # Whole images are copied, where `torch.where` would choose byte by byte.
        either = torch.arange(len(drawn), device=device) + len(drawn) * mirrored
        return torch.cat([images, images.flip(3)]).index_select(0, either)
    return images


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


def _cut(images: Tensor, centres: Tensor, side: int, data: Normalisation) -> Tensor:
    """uint8 N×C×H×W with the data's mean in a square around the pixel `centres` N×2 in [0, 1), of
    which what lies outside of the image is lost."""
    inside = []
    for size, centre in zip(images.shape[2:], centres.split(1, dim=1), strict=True):
        first = (centre * size).long() - side // 2
        places = torch.arange(size, device=images.device)
        inside.append((places >= first) & (places < first + side))
    mean, _ = _constants(tuple(data.mean), tuple(data.std), images.device)
    square = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return torch.where(square, mean.round().to(torch.uint8), images)
