"""What the tests of data share: images, files of them, and what every data set has to be."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from secnn.data import DataError, ImageData, load_dataset

SPLITS = ("train", "validation", "test")
TENSORS = [f"{split}_{part}" for split in SPLITS for part in ("images", "labels")]


def encode(pixels: np.ndarray, mode: str | None = None, kind: str = "PNG", **options) -> bytes:
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


def pictures(count: int, size=(8, 10), channels: int = 3, seed: int = 0) -> np.ndarray:
    """Random uint8 images N×H×W×3, or N×H×W where ``channels`` is 1."""
    shape = (count, *size) if channels == 1 else (count, *size, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def blobs(count: int, **options) -> list[bytes]:
    return [encode(pixels) for pixels in pictures(count, **options)]


def alternating(count: int, classes: int = 2) -> list[int]:
    return [i % classes for i in range(count)]


# A small data set of three splits, for whatever form it may take.
IMAGES = {"train": pictures(20, seed=0), "test": pictures(6, seed=1), "val": pictures(4, seed=2)}
LABELS = {split: alternating(len(images)) for split, images in IMAGES.items()}


def as_n_c_h_w(images: np.ndarray) -> torch.Tensor:
    images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return torch.from_numpy(images.copy())


def write_parquet(
    path: Path, encoded, labels, names=("cat", "dog"), column="img", kind=None, label="label"
) -> Path:
    """A file as the hub has them; ``labels`` may be an Arrow array."""
    images = [{"bytes": blob, "path": f"{i}.png"} for i, blob in enumerate(encoded)]
    struct = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    if not isinstance(labels, pa.Array):
        labels = pa.array(labels, kind or pa.int64())
    table = pa.table({column: pa.array(images, struct), label: labels})
    if names is not None:
        features = {column: {"_type": "Image"}, label: {"names": list(names)}}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        table = table.replace_schema_metadata(metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=7)
    return path


def write_splits(folder: Path, *files: str, count: int = 6, names=("cat", "dog")) -> Path:
    """Parquet files, each with its own images."""
    for seed, file in enumerate(files):
        write_parquet(folder / file, blobs(count, seed=seed), alternating(count), names)
    return folder


def write_classes(folder: Path, *splits: str, classes=("zebra", "ant", "Bee"), count=5) -> Path:
    """Class folders; the images of split s and a class c are those of seed 10·s + len(c)."""
    for index, split in enumerate(splits):
        for name in classes:
            place = folder / split / name
            place.mkdir(parents=True)
            for i, blob in enumerate(blobs(count, seed=10 * index + len(name))):
                (place / f"{i}.png").write_bytes(blob)
    return folder


def refusal(*arguments, **keywords) -> str:
    """The message with which `load_dataset` refuses the arguments: always one line."""
    with pytest.raises(DataError) as caught:
        load_dataset(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_sound(data: ImageData) -> None:
    for name in TENSORS:
        tensor = getattr(data, name)
        assert tensor.is_contiguous()
        assert tensor.dtype == (torch.uint8 if name.endswith("images") else torch.int64)
    for split in SPLITS:
        images, labels = getattr(data, f"{split}_images"), getattr(data, f"{split}_labels")
        assert len(images) == len(labels) > 0
        assert tuple(images.shape[1:]) == data.image_shape
        assert labels.min() >= 0 and labels.max() < data.classes


def same_data(first: ImageData, second: ImageData) -> bool:
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in TENSORS)


def damaged() -> dict[str, tuple[bytes, str]]:
    """What cannot be used among images 8×10, and why."""
    good = encode(pictures(1, size=(32, 32))[0], kind="JPEG")
    return {
        "truncated JPEG": (good[: len(good) // 2], "damaged image"),
        "truncated PNG": (encode(pictures(1)[0])[:60], "damaged image"),
        "no image": (b"hello", "not an image of a known format"),
        "empty": (b"", "not an image of a known format"),
        "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 10\n", "not an image"),
        "other size": (encode(pictures(1, size=(10, 8))[0]), "must have one size"),
        "16 bits": (encode(np.zeros((8, 10), np.uint16)), "not 8-bit grey or colour"),
    }
