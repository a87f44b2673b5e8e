"""Images in one small file, for a machine that can read no Parquet."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from secnn import load_dataset
from secnn.data.dataset import ImageData


def pack(dataset: str, file: str) -> None:
    """Write all images of a data set as JPEG."""
    data = load_dataset(dataset, validation="test")
    if data.image_shape[0] != 3:
        sys.exit(f"dataset: expected colour images, got {data.image_shape[0]} channels")
    splits = {
        "train": (data.train_images, data.train_labels),
        "test": (data.test_images, data.test_labels),
    }
    arrays = {}
    for name, (images, labels) in splits.items():
        strips = [jpeg(some) for some in images.permute(0, 2, 3, 1).split(STRIP)]
        arrays |= {f"{name}_{i}": np.frombuffer(s, np.uint8) for i, s in enumerate(strips)}
        arrays[f"{name}_labels"] = labels.numpy()
    np.savez(file, **arrays)
    print(f"{file}: {Path(file).stat().st_size / 1e6:.1f} MB")


STRIP = 2000
"""Images below one another in a JPEG, whose head alone would be larger than one of them."""


def jpeg(images: Tensor) -> bytes:
    stored = io.BytesIO()
    Image.fromarray(images.flatten(0, 1).numpy()).save(stored, "JPEG", quality=75)
    return stored.getvalue()


def unpack(file: str) -> ImageData:
    """What `pack` wrote."""
    with np.load(file) as arrays:
        parts = {name: images_and_labels(arrays, name) for name in ("train", "test")}
    return load_dataset(parts)


def images_and_labels(arrays: np.lib.npyio.NpzFile, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images N×H×W×C of a split, and their labels."""
    labels = arrays[f"{name}_labels"]
    strips = [io.BytesIO(arrays[f"{name}_{i}"]) for i in range(-(-len(labels) // STRIP))]
    images = np.concatenate([np.asarray(Image.open(strip)) for strip in strips])
    return images.reshape(len(labels), -1, *images.shape[1:]), labels
