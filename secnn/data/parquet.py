"""Images in Parquet files, in the layout of the Hugging Face hub."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from secnn.data.assembly import assemble
from secnn.data.columns import choose
from secnn.data.labels import agreed
from secnn.data.layout import Layout, parquet_layout, parquet_under
from secnn.data.splits import DataError, Portion, Reading, Splits, listed
from secnn.files import first_line


@dataclass(frozen=True, eq=False)
class _Shard:
    """One Parquet file: encoded images, labels, class names if the file has them."""

    path: Path
    encoded: pa.ChunkedArray
    labels: list
    class_names: tuple[str, ...] | None

    def blobs(self) -> Iterator[bytes | None]:
        for chunk in self.encoded.chunks:
            yield from chunk.to_pylist()


def parquet(path: Path, reading: Reading | None = None) -> Splits:
    """Images in Parquet: one file, or a folder with the files of each split.

    `secnn.data.layout` says how files are named. Columns: encoded images, binary or a struct with
    `bytes` (`img` or `image`), and integers, truth values or strings (`label`; else the
    only one of `labels`, `fine_label` and `coarse_label`). Class names come from the schema
    metadata `huggingface`, see `secnn.data.labels.encode`. A single file is split,
    stratified, into 80 % training and 20 % test; the split is always the same.

    Raises:
        DataError: naming the file, and the row counted from 0.
    """
    reading = reading or Reading()
    layout = Layout({"train": [path]}, None) if path.is_file() else parquet_layout(path)
    if layout is None:
        raise DataError(
            f"{path} has no Parquet files of a training split, but {listed(parquet_under(path))}"
        )
    if path.is_dir() and "test" not in layout.files:
        raise DataError(
            f"{path} has Parquet files for training but none for the test split: expected "
            "test.parquet, test-*.parquet or test/*.parquet"
        )
    shards = {split: _read_split(files, reading) for split, files in layout.files.items()}
    every = [shard for split in shards.values() for shard in split]
    names = agreed((str(shard.path), shard.class_names) for shard in every)
    portions = {split: _portion(found) for split, found in shards.items()}
    name = path.stem if path.is_file() else path.resolve().name
    return assemble(name, f"Parquet: {path}", portions, names, reading, layout.notice)


def _read_split(files: list[Path], reading: Reading) -> list[_Shard]:
    """The files that have rows: filtered data sets have some without."""
    shards = [shard for file in files if (shard := _read_shard(file, reading))]
    if not shards:
        raise DataError(
            f"{files[0]}: the {'file has' if len(files) == 1 else 'files have'} no rows"
        )
    return shards


def _read_shard(path: Path, reading: Reading) -> _Shard | None:
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            if not file.metadata.num_rows:
                return None
            image, label = _columns(path, schema, reading)
            is_struct = pa.types.is_struct(schema.field(image).type)
            held = [f"{image}.bytes", f"{image}.path"] if is_struct else [image]
            table = file.read(columns=[*held, label])
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({first_line(error)})") from error
    encoded = _bytes_of(path, table[image]) if is_struct else table[image]
    # By way of a list: pyarrow's own conversion would import pandas.
    return _Shard(path, encoded, table[label].to_pylist(), _stored_names(path, schema, label))


def _bytes_of(path: Path, images: pa.ChunkedArray) -> pa.ChunkedArray:
    """The field `bytes`; DataError if a row has only the path of a file."""
    encoded = pc.struct_field(images, "bytes")
    if encoded.null_count and images.type.get_field_index("path") >= 0:
        elsewhere = pc.and_(pc.is_null(encoded), pc.is_valid(pc.struct_field(images, "path")))
        if (row := pc.index(elsewhere, True).as_py()) >= 0:
            raise DataError(
                f"{path}, row {row}: the image is missing, there is only the path of its file; "
                "write its bytes into the column, as push_to_hub of Hugging Face's datasets does"
            )
    return encoded


def _columns(path: Path, schema: pa.Schema, reading: Reading) -> tuple[str, str]:
    """Names of the image and the label column."""
    types = dict(zip(schema.names, schema.types, strict=True))
    images = [name for name, kind in types.items() if _holds_images(kind)]
    labels = [name for name, kind in types.items() if _holds_labels(kind)]
    try:
        if len(types) < len(schema.names):
            twice = next(name for name in types if schema.names.count(name) > 1)
            raise DataError(f"expected columns of different names, got {twice!r} twice")
        image = choose("image", types, images, reading.image_column)
        return image, choose("label", types, labels, reading.label_column)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_binary(kind.field("bytes").type)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    is_a = pa.types
    return is_a.is_binary(kind) or is_a.is_large_binary(kind) or is_a.is_binary_view(kind)


def _holds_labels(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_a = pa.types
    is_text = is_a.is_string(kind) or is_a.is_large_string(kind) or is_a.is_string_view(kind)
    return is_text or is_a.is_integer(kind) or is_a.is_boolean(kind)


def _stored_names(path: Path, schema: pa.Schema, label: str) -> tuple[str, ...] | None:
    stored = (schema.metadata or {}).get(b"huggingface")
    if stored is None:
        return None
    try:
        names = json.loads(stored)["info"]["features"][label].get("names") or []
        return tuple(str(name) for name in names)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise DataError(
            f"{path}: schema metadata 'huggingface' is not JSON with info.features.{label}.names"
        ) from None


def _portion(shards: list[_Shard]) -> Portion:
    starts = [0, *accumulate(len(shard.labels) for shard in shards)]

    def place(index: int) -> str:
        which = bisect_right(starts, index) - 1
        return f"{shards[which].path}, row {index - starts[which]}"

    blobs = (blob for shard in shards for blob in shard.blobs())
    return Portion(blobs, [label for shard in shards for label in shard.labels], place)
