"""Records become Parquet files of one explicit schema, whatever they hold."""

import dataclasses
import subprocess
import sys
import typing

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from secnn.files import FileError
from secnn.store.record import EpochRecord, ExpansionRecord, TrialRecord, read, schema, table, write

RECORDS = (EpochRecord, ExpansionRecord, TrialRecord)
VALUES = {int: 3, float: 0.5, str: "x", bool: True}

records = pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)


def kinds_of(hint):
    return typing.get_args(hint) or (hint,)


def filled(kind, nulls):
    """A record with every field set, or every nullable field None."""
    hints = typing.get_type_hints(kind)
    optional = {name for name, hint in hints.items() if type(None) in kinds_of(hint)}
    values = {name: VALUES[kinds_of(hint)[0]] for name, hint in hints.items()}
    return kind(**values | (dict.fromkeys(optional) if nulls else {}))


@records
def test_types_and_nulls_follow_the_annotations(kind):
    arrow = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}
    hints = typing.get_type_hints(kind)
    found = schema(kind)
    assert found.names == [field.name for field in dataclasses.fields(kind)]
    for field in found:
        kinds = kinds_of(hints[field.name])
        assert field.type == arrow[kinds[0]]
        assert field.nullable is (type(None) in kinds)


def test_the_nullable_columns_are_those_of_epochs_without_growth_or_rungs():
    nullable = {field.name for field in schema(EpochRecord) if field.nullable}
    assert nullable == {
        "expansion",
        "eta_current",
        "best_layer_ratio",
        "best_channels_ratio",
        "logit_change",
        "rung",
    }
    nullable = {field.name for field in schema(ExpansionRecord) if field.nullable}
    assert nullable == {
        *("block", "channels", "expansion", "eta", "eta_regularized", "ratio", "logit_change"),
        *("gain", "gain_unbiased", "gain_low", "gain_high", "gain_per_parameter", "density"),
        *("predicted_reduction", "reduction_before", "realised_reduction"),
    }
    assert not any(field.nullable for field in schema(TrialRecord))


@records
def test_the_identity_comes_first(kind):
    found = schema(kind, trial=str, tau=float, seed=int, grows=bool)
    assert found.names[:4] == ["trial", "tau", "seed", "grows"]
    assert [f.type for f in found][:4] == [pa.string(), pa.float64(), pa.int64(), pa.bool_()]
    assert not any(field.nullable for field in list(found)[:4])
    assert found.names[4:] == schema(kind).names


@records
def test_records_survive_a_parquet_file(kind, tmp_path):
    rows = [filled(kind, nulls=False), filled(kind, nulls=True)]
    written = table(rows, kind, {"trial": "a", "seed": 4})
    written.validate(full=True)
    pq.write_table(written, tmp_path / "records.parquet")
    read = pq.read_table(tmp_path / "records.parquet")
    assert read.schema.equals(schema(kind, trial=str, seed=int))
    for row, record in zip(read.to_pylist(), rows, strict=True):
        assert row == {"trial": "a", "seed": 4, **dataclasses.asdict(record)}


@records
def test_no_records_have_the_same_schema(kind):
    empty = table([], kind, {"trial": "a"})
    assert empty.num_rows == 0
    assert empty.schema.equals(table([filled(kind, False)], kind, {"trial": "a"}).schema)


@records
def test_tables_with_and_without_nulls_can_be_joined(kind):
    # A column that is null in all of a trial's rows still has its type.
    parts = [table([filled(kind, nulls)], kind, {"trial": "a"}) for nulls in (True, False)]
    assert pa.concat_tables(parts).num_rows == 2


def test_a_number_that_is_not_finite_survives(tmp_path):
    record = dataclasses.replace(filled(ExpansionRecord, False), ratio=float("inf"))
    pq.write_table(table([record], ExpansionRecord, {}), tmp_path / "records.parquet")
    assert pq.read_table(tmp_path / "records.parquet")["ratio"].to_pylist() == [float("inf")]


def test_a_process_that_has_read_damaged_records_ends_as_it_says(tmp_path):
    # Arrow's threads, holding a Python file at exit, would abort about one process in five.
    path = tmp_path / "records.parquet"
    write(path, table([filled(EpochRecord, False)] * 50, EpochRecord, {}))
    whole = bytearray(path.read_bytes())
    whole[4:300] = b"\xff" * 296
    path.write_bytes(whole)
    with pytest.raises(FileError, match=r"records\.parquet cannot be read"):
        read(path, EpochRecord)
    code = f"""
import contextlib
from secnn.store.record import EpochRecord, read
for _ in range(9):
    with contextlib.suppress(ValueError):
        read({str(path)!r}, EpochRecord)
"""
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True) for _ in range(15)]
    assert {(run.returncode, run.stderr) for run in runs} == {(0, b"")}


@records
def test_a_record_cannot_be_changed(kind):
    record = filled(kind, False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, dataclasses.fields(kind)[0].name, 7)


def test_reading_records_needs_no_torch():
    check = (
        "import sys, secnn.store.record; "
        "sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
