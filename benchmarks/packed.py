"""The images of a data set in one small file, for a machine that can read no Parquet."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from secnn import load_dataset
from secnn.data.dataset import ImageData

SPLITS = ("held-out", "test")
"""What validation is taken from; the file has both."""


def pack(dataset: str, file: str) -> None:
    """Write the images of a folder of Parquet files as they are stored in it, and all else that
    `ImageData` knows of them."""
    stored = {pixels(image).tobytes(): image for image in encoded(dataset)}
    number = {key: i for i, key in enumerate(stored)}
    arrays = {
        "stored": np.frombuffer(b"".join(stored.values()), np.uint8),
        "ends": np.cumsum([len(image) for image in stored.values()]),
    }
    for validation in SPLITS:
        known = load_dataset(dataset, validation=validation).arrays()
        for name, array in known.items():
            if name.endswith("_images"):
                array = np.array([number[image.tobytes()] for image in array])
            arrays[f"{validation}/{name}"] = array
    np.savez_compressed(file, **arrays)
    print(f"{file}: {Path(file).stat().st_size / 1e6:.1f} MB")


def encoded(dataset: str) -> Iterator[bytes]:
    """What the cells with images hold."""
    import pyarrow.parquet as pq  # Missing where the file is read.

    files = sorted(Path(dataset).rglob("*.parquet"))
    if not files:
        sys.exit(f"dataset: expected a folder of Parquet files, got {dataset}")
    for file in files:
        for column in pq.read_table(file).columns:
            cells = column.to_pylist()
            if isinstance(cells[0], dict):
                yield from (cell["bytes"] for cell in cells)


def pixels(image: bytes) -> np.ndarray:
    """3×H×W."""
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB")).transpose(2, 0, 1)


def unpack(file: str, validation: str = "held-out") -> ImageData:
    """What `pack` wrote: the data set that `load_dataset` gives, to the last bit."""
    with np.load(file) as arrays:
        images = np.split(arrays["stored"], arrays["ends"][:-1])
        decoded = np.stack([pixels(image.tobytes()) for image in images])
        known = {
            name.removeprefix(f"{validation}/"): arrays[name]
            for name in arrays.files
            if name.startswith(f"{validation}/")
        }
    return ImageData.from_arrays(
        {n: decoded[array] if n.endswith("_images") else array for n, array in known.items()}
    )
