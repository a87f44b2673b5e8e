"""What a trial tells: records, and the schemas of the Parquet files that hold them.

Needs no PyTorch, so that analysis can read records anywhere; pyarrow where a file is read or
written.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from secnn.files import FileError, first_line, replacing

if TYPE_CHECKING:  # Only files need it: it is imported where one is read or written.
    import pyarrow as pa


@dataclass(frozen=True)
class EpochRecord:
    """An epoch. Accuracies are per cent, times seconds; `parameters` to `val_accuracy` belong to
    the network that was trained in this epoch, before `expansion`, which follows the evaluation.

    `channels` and `layers` list the blocks, as in "16-16-20"; `kernel` and `precision` are what
    "auto" came to on the machine of that epoch. `eta_current` is η_c, the two ratios
    are the best candidates' η_reg/η_c, null where nothing was scored; `logit_change` is max |Δ| of
    the logits at the expansion divided by their standard deviation. `score_seconds` is what
    deciding and growing took. `rung` counts the stretches of epochs
    between which the criterion was asked, from 1; null with schedule "plateau".
    """

    epoch: int
    parameters: int
    flops: int
    channels: str
    layers: str
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    kernel: str
    precision: str
    expansion: str | None
    eta_current: float | None
    best_layer_ratio: float | None
    best_channels_ratio: float | None
    logit_change: float | None
    train_seconds: float
    eval_seconds: float
    score_seconds: float
    rung: int | None = None


@dataclass(frozen=True)
class ExpansionRecord:
    """A candidate that was considered after `epoch`, chosen or not, with the decision's reason.
    `channels` is null for a layer, `expansion` is the whole of it as JSON. The scores are null for
    criteria that do not ask for them; they are those of `secnn.growth.candidates.Candidate`: `gain`
    is η − η_c, `gain_unbiased` the same without its sampling noise, with the 95 % interval
    `gain_low` to `gain_high`; `predicted_reduction` is in nats. For the chosen one
    `realised_reduction` is how far, in nats, the validation loss fell over the rung, or cooldown,
    that followed (null until it is over), `reduction_before` over as many epochs before, where
    there were as many."""

    epoch: int
    kind: str
    block: int | None
    channels: int | None
    added_parameters: int
    eta: float | None
    eta_regularized: float | None
    ratio: float | None
    gain: float | None
    gain_unbiased: float | None
    gain_low: float | None
    gain_high: float | None
    gain_per_parameter: float | None
    density: float | None
    predicted_reduction: float | None
    chosen: bool
    reason: str
    logit_change: float | None
    reduction_before: float | None = None
    realised_reduction: float | None = None
    expansion: str | None = None


@dataclass(frozen=True)
class TrialRecord:
    """A finished trial. The best epoch is the first with the highest validation accuracy, and
    `test_accuracy` that of the network of that epoch."""

    epochs: int
    best_val_accuracy: float
    best_epoch: int
    parameters_at_best: int
    test_accuracy: float
    final_parameters: int
    expansions: int
    seconds: float


LOGS = {"epochs": EpochRecord, "expansions": ExpansionRecord, "trials": TrialRecord}
"""Folder of logs/ → what a row of its files is."""

NAMES = {int: "int64", float: "double", str: "string", bool: "bool"}
"""Type of a field → Arrow's name of its column's."""

NEEDED = {
    EpochRecord: ("epoch", "parameters", "val_accuracy", "expansion"),
    ExpansionRecord: ("epoch", "kind", "chosen"),
    TrialRecord: ("test_accuracy",),
}
"""The columns that a log cannot be read without; others came with later versions."""


KINDS = {
    "int64": ("integer",),
    "double": ("floating", "integer"),
    "string": ("string", "large_string"),
    "bool": ("boolean",),
}
"""Arrow's name of a column's type → what else is taken for it."""

COUNTS = ("epoch", "epochs", "parameters", "flops", "best_epoch", "parameters_at_best")
PERCENT = ("train_accuracy", "val_accuracy", "best_val_accuracy", "test_accuracy")
LIMITS = dict.fromkeys(COUNTS, (1, 10**15)) | dict.fromkeys(PERCENT, (0, 100))
"""Column → the lowest and the highest value that it can have."""


def schema(record: type, **identity: type) -> pa.Schema:
    """The Parquet schema of a record class, the columns `identity` (name → type) first."""
    import pyarrow as pa

    columns = {**identity, **typing.get_type_hints(record)}
    return pa.schema([_field(name, hint) for name, hint in columns.items()])


def _field(name: str, hint: type | types.UnionType) -> pa.Field:
    import pyarrow as pa

    kinds = [kind for kind in typing.get_args(hint) or (hint,) if kind is not type(None)]
    kind = pa.type_for_alias(NAMES[kinds[0]])
    return pa.field(name, kind, nullable=len(typing.get_args(hint)) > 0)


def table(records: list, record: type, identity: dict) -> pa.Table:
    """Records of one class as an Arrow table, `identity` (column → value) in every row."""
    import pyarrow as pa

    rows = [{**identity, **dataclasses.asdict(r)} for r in records]
    kinds = {name: type(value) for name, value in identity.items()}
    return pa.Table.from_pylist(rows, schema=schema(record, **kinds))


def write(path: str | Path, rows: pa.Table) -> None:
    """Replace the Parquet file at `path`, with checksums of its pages, which `read` compares."""
    import pyarrow.parquet as pq

    with replacing(path) as temporary:
        pq.write_table(rows, temporary, write_page_checksum=True)


def read(path: str | Path, record: type) -> pa.Table:
    """The columns of the Parquet file at `path` that are fields of `record`, in their types.

    Raises:
        FileError: it is damaged, lacks one of `NEEDED`, or a value is none of its field.
        FileNotFoundError: there is no such file.
    """
    import pyarrow.parquet as pq

    try:
        # Not `pq.read_table`: of a path it would read partitions, `tau=2`, into columns, and a
        # Python file that its threads still hold at exit aborts the process.
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            return _typed(file.read(), record)
    except FileNotFoundError:
        raise
    except PermissionError:
        raise FileError(f"{path} cannot be read: permission denied") from None
    except Exception as error:  # Arrow raises a dozen kinds for files that it cannot read.
        advice = "remove it to leave it out; the study's command writes it anew"
        why = first_line(error)[:200]
        raise FileError(f"{path} cannot be read: {why}; {advice}") from None


def _typed(found: pa.Table, record: type) -> pa.Table:
    missing = [name for name in NEEDED[record] if name not in found.column_names]
    if missing:
        raise ValueError(f"it has no column {missing[0]}")
    import pyarrow as pa

    fields = [f for f in schema(record) if f.name in found.column_names]
    return pa.table([_column(found, f) for f in fields], schema=pa.schema(fields))


def _column(found: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    """The column of `field`, in its type; errors name it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column, kinds = found.column(field.name), KINDS[str(field.type)]
    known = any(getattr(pa.types, f"is_{kind}")(column.type) for kind in kinds)
    if not known and column.null_count < len(column):
        raise ValueError(f"column {field.name}: expected {field.type}, got {column.type}")
    if column.null_count and not field.nullable:
        raise ValueError(f"column {field.name}: a value is missing")
    column = column.cast(field.type) if known else pa.nulls(len(column), field.type)
    strict = pa.types.is_floating(field.type) and not field.nullable
    if strict and not pc.all(pc.is_finite(column), min_count=0).as_py():
        raise ValueError(f"column {field.name}: expected finite numbers")
    if field.name in LIMITS:
        (low, high), span = LIMITS[field.name], pc.min_max(column).as_py()
        if len(column) > column.null_count and not (low <= span["min"] <= span["max"] <= high):
            raise ValueError(
                f"column {field.name}: expected {low:g} to {high:g}, got {span['min']} to "
                f"{span['max']}"
            )
    return column
