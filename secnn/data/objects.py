"""Data sets that are Python objects: arrays, PyTorch's data sets, Hugging Face's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, Subset

from secnn.data.assembly import assemble
from secnn.data.columns import choose
from secnn.data.decoding import Picture, pixels, quiet
from secnn.data.labels import agreed
from secnn.data.layout import SPLIT_OF
from secnn.data.splits import DataError, Portion, Reading, Splits, described

SPLIT = "a pair (images, labels) or a data set with items (image, label)"


def from_parts(
    parts: Mapping[str, Any],
    reading: Reading,
    name: str | None = None,
    class_names: tuple[str, ...] = (),
) -> Splits:
    """Splits of "train", and of "test" and "validation"; without "test" a fifth becomes that.

    A split is a pair (images, labels) or a data set. Images: N×C×H×W, N×H×W×C or N×H×W, or a list
    of pictures; each as `secnn.data.decoding.pixels` takes it. Data sets: PyTorch's with
    items (image, label) and a length, or Hugging Face's with columns as in
    `secnn.data.parquet.parquet`. Class names are those given, or those of the data sets
    (`classes`, `ClassLabel`), or see `secnn.data.labels.encode`.

    Raises:
        DataError: naming the split and the image.
    """
    first = parts.get("train")
    if first is None:
        raise DataError(f"train: expected {SPLIT}, got None")
    kind = type(first).__name__ if _is_dataset(first) else "arrays"
    if name is not None and not isinstance(name, str):
        raise DataError(f"name={name!r}: expected a string")
    if not all(map(_is_hugging_face, parts.values())):
        reading.expect_no_columns(kind)
    portions = {split: _portion(part, split, reading) for split, part in parts.items()}
    given = ((f"the {split} split", _class_names(part, reading)) for split, part in parts.items())
    names = class_names or agreed(given)
    return assemble(name or kind.lower(), f"{kind} in memory", portions, names, reading)


def parts_of(source: object) -> dict[str, Any]:
    """Split → its images and labels, for `from_parts`, of a mapping, a tuple, or one split.

    Raises:
        DataError: it is nothing of that.
    """
    if isinstance(source, Mapping):
        return _named(source)
    if _is_dataset(source):
        return {"train": source}
    if isinstance(source, tuple | list) and 2 <= len(source) <= 3:
        if all(_is_pair(part) or _is_dataset(part) for part in source):
            return dict(zip(("train", "test", "validation"), source, strict=False))
        if len(source) == 2:
            return {"train": source}
    raise DataError(
        'dataset: expected a mapping {"train": split, "test": split}, a tuple (train, test) or one '
        f"split, where a split is {SPLIT}; got {_kind(source)}"
    )


# --- what is a split ----------------------------------------------------------------------


def _is_dataset(part: object) -> bool:
    others = (np.ndarray, torch.Tensor, tuple, list, str, bytes, Mapping, IterableDataset)
    return (
        hasattr(part, "__getitem__") and hasattr(part, "__len__") and not isinstance(part, others)
    )


def _is_hugging_face(part: object) -> bool:
    return hasattr(part, "features") and hasattr(part, "column_names")


def _is_pair(part: object) -> bool:
    return isinstance(part, tuple | list) and len(part) == 2


def _named(source: Mapping) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for key, part in source.items():
        split = SPLIT_OF.get(str(key))
        if split is None or split in parts:
            raise DataError(
                f"dataset: expected the splits train and perhaps test and validation, got "
                f"{', '.join(map(str, source))}: leave {key!r} out"
            )
        parts[split] = part
    if "train" not in parts:
        raise DataError(
            "dataset: expected the splits train and perhaps test and validation, got "
            f"{', '.join(map(str, source)) or 'none'}"
        )
    return parts


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray | torch.Tensor):
        return f"an array {described(value)}"
    return type(value).__name__ + (f" of {len(value)}" if isinstance(value, tuple | list) else "")


# --- its images and labels ----------------------------------------------------------------


def _portion(part: Any, split: str, reading: Reading) -> Portion:
    if _is_hugging_face(part):
        return _of_columns(part, split, reading)
    if _is_dataset(part):
        return _of_items(part, split, reading)
    if _is_pair(part):
        return _of_arrays(part[0], part[1], split)
    raise DataError(f"dataset, {split} split: expected {SPLIT}, got {_kind(part)}")


def _of_arrays(images: Any, labels: Any, split: str) -> Portion:
    if isinstance(images, np.ndarray | torch.Tensor):
        if images.ndim not in (3, 4):
            raise DataError(
                f"{split} images: expected N×C×H×W, N×H×W×C or N×H×W, got {described(images)}"
            )
    elif not isinstance(images, list | tuple):
        raise DataError(f"{split} images: expected an array or a list, got {_kind(images)}")
    values = _label_values(labels, split)
    if len(images) != len(values):
        raise DataError(f"{split} split: there are {len(images)} images, but {len(values)} labels")
    return Portion(images, values, lambda index: f"{split} image {index}")


def _label_values(labels: Any, split: str) -> list:
    if isinstance(labels, list | tuple):
        return [_plain(label) for label in labels]
    if not isinstance(labels, np.ndarray | torch.Tensor):
        labels = np.asarray(labels)  # a column of pandas, for one
    if labels.ndim == 2 and labels.shape[1] == 1:  # as Keras has them
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(f"{split} labels: expected one for each image, got {described(labels)}")
    return labels.tolist()


def _plain(label: Any) -> Any:
    """Python's number for one of numpy's or PyTorch's."""
    is_number = isinstance(label, np.generic | np.ndarray | torch.Tensor) and not label.ndim
    return label.item() if is_number else label


def _of_items(dataset: Any, split: str, reading: Reading) -> Portion:
    """The items of a map-style data set, each drawn once."""
    images, labels = [], []
    with quiet():
        for index in range(len(dataset)):
            image, label = _item(dataset, index, f"{split} image {index}", reading)
            images.append(image)
            labels.append(label)
    return Portion(images, labels, lambda index: f"{split} image {index}")


def _item(dataset: Any, index: int, place: str, reading: Reading) -> tuple[np.ndarray, Any]:
    try:
        item = dataset[index]
    except KeyError as error:  # a data frame, for one
        raise DataError(f"{place}: {_kind(dataset)} has no item {error}") from error
    if not _is_pair(item):
        raise DataError(f"{place}: expected an item (image, label), got {_kind(item)}")
    try:
        # At once: floats would take four times the memory.
        return pixels(item[0], reading.resize), _plain(item[1])
    except DataError as error:
        raise DataError(f"{place}: {error}") from error


def _of_columns(dataset: Any, split: str, reading: Reading) -> Portion:
    image, label = _columns(dataset, reading)
    feature = dataset.features[image]
    if getattr(feature, "decode", False):
        # Decoded here, so that they are what the same images in files are.
        dataset = dataset.cast_column(image, type(feature)(decode=False))
    rows = dataset.with_format(None)
    return Portion(
        map(_encoded, rows[image]), list(rows[label]), lambda index: f"{split} row {index}"
    )


def _columns(dataset: Any, reading: Reading) -> tuple[str, str]:
    types = {name: type(dataset.features[name]).__name__ for name in dataset.column_names}
    image = choose("image", types, types, reading.image_column)
    return image, choose("label", types, types, reading.label_column)


def _encoded(value: Any) -> Picture | None:
    """What a row holds of an image: its bytes, or the path of its file."""
    if isinstance(value, Mapping):
        path = value.get("path")
        return value.get("bytes") or (Path(path) if path else None)
    return value


def _class_names(part: Any, reading: Reading) -> tuple[str, ...] | None:
    if _is_hugging_face(part):
        label = _columns(part, reading)[1]
        return tuple(getattr(part.features[label], "names", None) or ()) or None
    while isinstance(part, Subset):
        part = part.dataset
    if getattr(part, "target_transform", None) is not None:  # Labels are others than `classes`.
        return None
    names = getattr(part, "classes", None)
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return None
    digits = tuple(name.partition(" - ")[0] for name in names)  # torchvision's "0 - zero"
    return digits if all(map(str.isdigit, digits)) else tuple(names)
