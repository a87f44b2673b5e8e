"""Labelled images in files: Parquet and class folders, decoded once to uint8 tensors.

A reader is one function from a path to :class:`~secnn.data.sources.Splits`; it refuses what it
cannot read in one line that names the file and the row.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from PIL import Image, UnidentifiedImageError

from secnn.data.sources import DataError, Labelled, Splits, with_test_split

MIN_SIDE = 8  # three blocks halve each side three times
# Decoders are named because others that Pillow has (EPS, for one) start outside programs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF")
GREY_MODES = ("1", "L", "LA", "La")
COLOUR_MODES = ("P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr", "LAB", "HSV")


def _flips(class_names: tuple[str, ...]) -> bool:
    """Mirrored photographs keep their class; mirrored letters and digits do not."""
    return not all(len(name) == 1 or name.isdigit() for name in class_names)


# --- decoding -----------------------------------------------------------------------------


def _open(encoded: bytes, where: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(encoded), formats=FORMATS)
        image.load()
    except UnidentifiedImageError:
        raise DataError(f"{where}: not an image of a known format ({', '.join(FORMATS)})") from None
    except Exception as error:  # Pillow's decoders raise many kinds on damaged input
        raise DataError(f"{where}: damaged image ({_first_line(error)})") from error
    return image


def _decode(encoded: bytes, where: str) -> np.ndarray:
    """One encoded image -> uint8 C×H×W, with C = 1 for grey images and 3 for all others."""
    image = _open(encoded, where)
    if image.mode in GREY_MODES:
        return np.asarray(image.convert("L"))[None]
    if image.mode not in COLOUR_MODES:
        raise DataError(f"{where}: image mode {image.mode} is not 8-bit grey or colour: convert it")
    if image.mode in ("P", "PA"):  # by way of RGBA, else Pillow warns of transparent palettes
        image = image.convert("RGBA")
    return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def _stack(
    encoded: Iterable[tuple[str, bytes]], count: int, shape: tuple[int, ...] | None
) -> torch.Tensor:
    """Decode ``count`` (place, bytes) pairs to uint8 N×C×H×W; all of ``shape``, if given.

    One thread: for images of 32×32 pixels, threads spend more on the interpreter lock than
    they gain.
    """
    images = None
    for index, (where, blob) in enumerate(encoded):
        image = _decode(blob, where)
        if images is None:
            shape = shape or image.shape
            images = np.empty((count, *shape), dtype=np.uint8)
        if image.shape != shape:
            raise DataError(
                f"{where}: image is {_size(image.shape)}, the first one is {_size(shape)}: "
                "all images must have one size and mode"
            )
        if min(image.shape[1:]) < MIN_SIDE:
            raise DataError(
                f"{where}: image is {_size(image.shape)}, at least {MIN_SIDE}×{MIN_SIDE} is needed"
            )
        images[index] = image
    return torch.from_numpy(images)


def _size(shape: tuple[int, ...]) -> str:
    return f"{'grey' if shape[0] == 1 else 'RGB'} {shape[2]}×{shape[1]} (width×height)"


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


# --- Parquet, in the layout of the Hugging Face hub ---------------------------------------


@dataclass(frozen=True, eq=False)
class _Shard:
    """One Parquet file: encoded images, labels int64 N, class names if the file has them."""

    path: Path
    encoded: pa.ChunkedArray
    labels: np.ndarray
    class_names: tuple[str, ...] | None

    def images(self) -> Iterator[tuple[str, bytes]]:
        row = 0
        for chunk in self.encoded.chunks:
            for blob in chunk.to_pylist():
                yield f"{self.path}, row {row}", blob
                row += 1


def parquet(path: Path) -> Splits:
    """Images in Parquet: a folder of ``train*.parquet`` and ``test*.parquet``, or one file.

    Columns: ``img`` or ``image``, a struct with ``bytes`` (an encoded image), and an integer
    ``label``. Class names come from the schema metadata ``huggingface``; without them classes
    are called "0", "1", ... A folder may hold ``validation*.parquet`` too, and any number of
    shards of each. A single file is split, stratified, into 80 % training and 20 % test; the
    split is always the same.

    Raises:
        DataError: naming the file, and the row counted from 0.
    """
    if path.is_file():
        shards = {"train": [_read_shard(path)]}
    else:
        files = {s: sorted(path.glob(f"{s}*.parquet")) for s in ("train", "test", "validation")}
        if not files["test"]:
            raise DataError(f"{path} has train*.parquet but no test*.parquet")
        shards = {split: [_read_shard(f) for f in found] for split, found in files.items() if found}
    names = _class_names(shards)
    train = _decode_shards(shards["train"], names, None)
    shape = tuple(train[0].shape[1:])
    others = {s: _decode_shards(shards[s], names, shape) for s in shards if s != "train"}
    if path.is_file():
        train, others["test"] = with_test_split(*train)
    name = path.stem if path.is_file() else path.resolve().name
    return Splits(name, f"Parquet: {path}", names, _flips(names), train=train, **others)


def _read_shard(path: Path) -> _Shard:
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            table = file.read(columns=["img.bytes", "image.bytes", "label"])
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = _first_line(error)
        raise DataError(f"{path}: not a readable Parquet file ({reason})") from error
    encoded = pc.struct_field(table[_image_column(path, schema)], "bytes")
    for name, values in (("image", encoded), ("label", table["label"])):
        if values.null_count:
            row = pc.index(pc.is_null(values), True).as_py()
            raise DataError(f"{path}, row {row}: the {name} is missing (null)")
    if not len(encoded):
        raise DataError(f"{path}: the file has no rows")
    # By way of a list: pyarrow's own conversion would import pandas.
    labels = np.array(table["label"].to_pylist(), dtype=np.int64)
    return _Shard(path, encoded, labels, _stored_names(path, schema))


def _image_column(path: Path, schema: pa.Schema) -> str:
    """Name of the image column; refuses a schema that is not the documented one."""
    types = dict(zip(schema.names, schema.types, strict=True))
    for name in ("img", "image"):
        kind = types.get(name)
        if kind is None or not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
            continue
        stored = kind.field("bytes").type
        binary = pa.types.is_binary(stored) or pa.types.is_large_binary(stored)
        if binary and "label" in types and pa.types.is_signed_integer(types["label"]):
            return name
    raise DataError(
        f"{path}: expected columns img (or image): struct<bytes: binary, path: string> and "
        f"label: int64, found {', '.join(f'{n}: {t}' for n, t in types.items())}"
    )


def _stored_names(path: Path, schema: pa.Schema) -> tuple[str, ...] | None:
    stored = (schema.metadata or {}).get(b"huggingface")
    if stored is None:
        return None
    try:
        names = json.loads(stored)["info"]["features"]["label"].get("names", [])
        return tuple(str(name) for name in names)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise DataError(
            f"{path}: schema metadata 'huggingface' is not JSON with info.features.label.names"
        ) from None


def _class_names(shards: dict[str, list[_Shard]]) -> tuple[str, ...]:
    """The names that all files agree on, else "0".."k-1" for k different training labels."""
    named = [shard for split in shards.values() for shard in split if shard.class_names]
    for shard in named:
        if shard.class_names != named[0].class_names:
            raise DataError(f"{shard.path}: class names differ from those of {named[0].path}")
    if named:
        return named[0].class_names
    distinct = np.unique(np.concatenate([shard.labels for shard in shards["train"]]))
    return tuple(map(str, range(len(distinct))))


def _decode_shards(
    shards: list[_Shard], names: tuple[str, ...], shape: tuple[int, ...] | None
) -> Labelled:
    for shard in shards:
        wrong = np.flatnonzero((shard.labels < 0) | (shard.labels >= len(names)))
        if wrong.size:
            raise DataError(
                f"{shard.path}, row {wrong[0]}: label {shard.labels[wrong[0]]} is outside "
                f"0..{len(names) - 1} ({len(names)} classes)"
            )
    labels = torch.from_numpy(np.concatenate([shard.labels for shard in shards]))
    encoded = (pair for shard in shards for pair in shard.images())
    return _stack(encoded, len(labels), shape), labels


# --- class folders ------------------------------------------------------------------------


def image_folder(path: Path) -> Splits:
    """Images in ``train/<class>/`` and ``test/<class>/`` (``validation/<class>/`` if there).

    Classes are the sorted folder names of ``train``, as in torchvision's ``ImageFolder``; the
    other folders must have the same ones.

    Raises:
        DataError: naming the file or folder.
    """
    # Imported where it is used: torchvision takes longer to import than the rest together.
    from torchvision.datasets import ImageFolder

    folders = {}
    for split in ("train", "test", "validation"):
        if split == "validation" and not (path / split).is_dir():
            continue
        try:
            folders[split] = ImageFolder(path / split)
        except OSError as error:
            raise DataError(f"{path / split}: {error.strerror or _first_line(error)}") from error
    names = tuple(folders["train"].classes)
    for split, folder in folders.items():
        if tuple(folder.classes) != names:
            different = ", ".join(sorted(set(folder.classes) ^ set(names)))
            raise DataError(f"{path / split}: its classes differ from those of train: {different}")
    splits, shape = {}, None
    for split, folder in folders.items():
        encoded = ((file, Path(file).read_bytes()) for file, _ in folder.samples)
        splits[split] = _stack(encoded, len(folder), shape), torch.tensor(folder.targets)
        shape = tuple(splits[split][0].shape[1:])
    return Splits(path.resolve().name, f"image folders: {path}", names, _flips(names), **splits)
