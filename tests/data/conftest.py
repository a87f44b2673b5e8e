"""Data sets on disk."""

from pathlib import Path

import pytest
from pictures import IMAGES, LABELS, alternating, blobs, encode, write_classes, write_parquet

from secnn.data import ImageData, load_dataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Parquet folder: 20 training images in two shards, 6 test images; 2 classes."""
    for seed, part in enumerate(("train-0", "train-1", "test-0")):
        count = 6 if part == "test-0" else 10
        file = tmp_path / "pets" / f"{part}.parquet"
        write_parquet(file, blobs(count, seed=seed), alternating(count))
    return tmp_path / "pets"


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "animals", "train", "test")


@pytest.fixture
def written(tmp_path) -> ImageData:
    """The small data set of three splits, as Parquet files have it."""
    for split, images in IMAGES.items():
        write_parquet(tmp_path / f"{split}.parquet", map(encode, images), LABELS[split])
    return load_dataset(tmp_path)
