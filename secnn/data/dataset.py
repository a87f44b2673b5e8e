"""Data sets by their names, paths and addresses, and from Python.

`DATASETS` holds the named sources; a new one is a function of the data folder that returns
`secnn.data.splits.Splits`, and one line there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from secnn.data.decoding import Stack
from secnn.data.folders import image_folder
from secnn.data.images import ImageData, divide, expect_arguments
from secnn.data.layout import folders_in, parquet_layout, parquet_under
from secnn.data.objects import from_parts, parts_of
from secnn.data.sources import cifar10, cifar100, digits
from secnn.data.splits import DataError, Labelled, Reading, Splits, listed
from secnn.registry import Registry

__all__ = ["DATASETS", "DataError", "ImageData", "load_dataset"]

DATASETS: Registry[Callable[[Path], Splits]] = Registry(
    "dataset", cifar10=cifar10, cifar100=cifar100, digits=digits
)
"""name → function of the data folder."""


def load_dataset(
    name: object = "auto",
    data_dir: str | Path = "data",
    validation: str = "held-out",
    validation_fraction: float = 0.1,
    split_seed: int = 0,
    *,
    label_column: str | None = None,
    image_column: str | None = None,
    resize: int | None = None,
) -> ImageData:
    """Load a data set and choose its validation split.

    Args:
        name: one of

            - `auto` (CIFAR-10 if it is on disk or downloadable, else the bundled digits with
              a `notice`) or a key of `DATASETS`;
            - a path: a Parquet file, a folder of Parquet files as on the Hugging Face hub
              (`train-00000-of-00001.parquet`, `test.parquet`, `data/`), or a folder of
              `train/<class>/` and `test/<class>/` with images. A name goes before a path;
              write `./digits` or `Path("digits")` for a folder;
            - `hf:OWNER/NAME` or `hf:OWNER/NAME@REVISION`, see
              `secnn.data.hub.hugging_face`;
            - Python objects: `{"train": (images, labels), "test": (images, labels)}`, data
              sets of PyTorch or Hugging Face in their places, or
              `datasets.load_dataset(...)` itself, see `ImageData.from_splits`.
        data_dir: where named data sets are, or are downloaded to.
        validation: "held-out": the data's own validation split if it has one (the result
            then says "file"), else a stratified part of the training set; "file": its own, or
            an error; "test": the test split, with all training images used for training.
        validation_fraction: part of the training set held out, in (0, 1).
        split_seed: seed of the hold-out; the test split never depends on it.
        label_column, image_column: columns of Parquet files and Hugging Face's data sets, where
            they are not called as usual, see `secnn.data.parquet.parquet`.
        resize: scale every image so that its shorter side has so many pixels, and keep the square
            in its centre; without it, all images must have one size.

    Raises:
        DataError: the data is missing or unusable, or an argument is.
    """
    expect_arguments(validation, validation_fraction, split_seed)
    reading = Reading(label_column, image_column, resize)
    splits = _resized(_read(name, Path(os.path.expanduser(data_dir)), reading), resize)
    return divide(splits, validation, validation_fraction, split_seed)


def _read(source: object, data_dir: Path, reading: Reading) -> Splits:
    """Splits of a name, an address, a path, or of Python objects."""
    if isinstance(source, os.PathLike):
        return _read_path(os.fspath(source), reading)
    if not isinstance(source, str):
        return from_parts(parts_of(source), reading)
    if source.startswith("hf:"):
        from secnn.data.hub import hugging_face  # pyarrow is imported where Parquet is read.

        return hugging_face(source, reading)
    if source != "auto" and source not in DATASETS:
        return _read_path(source, reading)
    reading.expect_no_columns(f"dataset {source!r}")
    if source == "auto":
        return _cifar10_or_digits(data_dir)
    splits = DATASETS[source](data_dir)
    if not isinstance(splits, Splits):
        found = type(splits).__name__
        raise DataError(f"dataset {source!r}: expected its function to give Splits, got {found}")
    return splits


def _cifar10_or_digits(data_dir: Path) -> Splits:
    try:
        return DATASETS["cifar10"](data_dir)
    except DataError as error:
        notice = (
            "This ran on the bundled handwritten digits (1,797 images), not on CIFAR-10: its "
            f"accuracies cannot be compared with figures for CIFAR-10. {error}."
        )
        return replace(DATASETS["digits"](data_dir), notice=notice)


def _read_path(given: str, reading: Reading) -> Splits:
    path = Path(os.path.expanduser(given))
    # An empty one is a variable that nobody set, not this folder. Of a name that is too long Path
    # would raise.
    if not given or not os.path.exists(path):
        raise _unknown(given, "is neither a data set nor a path")
    if path.is_file() or (path.is_dir() and parquet_layout(path)):
        from secnn.data.parquet import parquet

        return parquet(path, reading)
    if (path / "train").is_dir():
        return image_folder(path, reading)
    there = (parquet_under(path) or folders_in(path)) if path.is_dir() else []
    why = f" ({listed(there)} match no split)" if there else ""
    raise _unknown(given, f"has no training data{why}")


def _unknown(given: str, problem: str) -> DataError:
    shown = given if len(given) <= 200 else f"{given[:200]}…"
    return DataError(
        f"dataset {shown!r} {problem}: expected one of {', '.join(['auto', *DATASETS])}; a "
        "Parquet file; a folder of train*.parquet and test*.parquet, as train.parquet and "
        "test-00000-of-00001.parquet; a folder of train/<class>/ and test/<class>/ with images; or "
        "hf:OWNER/NAME for one of the Hugging Face hub"
    )


def _resized(splits: Splits, side: int | None) -> Splits:
    """The splits with images side×side, and told so."""
    if side is None:
        return splits
    how = f"{splits.source}, scaled to {side} pixels on the shorter side and cut to {side}×{side}"
    train, test = _fit(splits.train, side), _fit(splits.test, side)
    validation = splits.validation and _fit(splits.validation, side)
    return replace(splits, source=how, train=train, test=test, validation=validation)


def _fit(split: Labelled, side: int) -> Labelled:
    images, labels = split
    if images.shape[2:] == (side, side):
        return split
    return torch.from_numpy(Stack(side).add(images, len(images), "image {}".format)), labels
