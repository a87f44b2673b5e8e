"""Ways to damage the files of a study, each drawn from a generator of its own."""

import io
import json
import math
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

ODD = [
    *(None, True, False, 0, -1, 1, 2**70, 10**400, 0.5, math.inf, -math.inf, math.nan, 1e-300),
    *("", "x", "\u00a0", "a\nb\nc\nd\ne", "../../x", "x" * 10_000, "\u82b1", "held-out", "natural"),
    *([], {}, [None], ["x"], {"x": 1}, [[]], [1, 2, 3], {"criterion": "never"}),
]
"""What can stand where something else should."""


def nested(depth: int) -> list:
    """A list in a list in a list …"""
    return [] if not depth else [nested(depth - 1)]


def places(value: object, found: tuple = ()) -> list[tuple]:
    """The path of everything inside `value`."""
    if isinstance(value, dict):
        return [p for k, v in value.items() for p in ((*found, k), *places(v, (*found, k)))]
    if isinstance(value, list):
        return [p for i, v in enumerate(value) for p in ((*found, i), *places(v, (*found, i)))]
    return []


def changed(rng: random.Random, content: object) -> object:
    """`content`, JSON or a checkpoint's, with something in it replaced, removed, renamed or added;
    high up in it as often as deep down."""
    every = places(content)
    depths: dict[int, list[tuple]] = {}
    for path in every:
        depths.setdefault(len(path), []).append(path)
    if not every or rng.random() < 0.05:
        return rng.choice(ODD)
    *path, last = rng.choice(depths[rng.choice(list(depths))])
    inside = content
    for key in path:
        inside = inside[key]
    kind = rng.random()
    if kind < 0.2:
        del inside[last]
    elif kind < 0.3 and isinstance(inside, dict):
        inside[rng.choice(["", "x", "../y", f"{last}2", "\u2028"])] = inside.pop(last)
    else:
        inside[last] = rng.choice([*ODD, nested(150), inside[last]])
    return content


def flipped(rng: random.Random, whole: bytes) -> bytes:
    """Some bits changed, the end cut off, a stretch zeroed, or something else altogether."""
    kind = rng.random()
    if kind < 0.5 and whole:
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 1, 1, 8])):
            damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        return bytes(damaged)
    if kind < 0.7:
        return whole[: rng.randrange(len(whole) + 1)]
    if kind < 0.85:
        start = rng.randrange(len(whole) + 1)
        return whole[:start] + bytes(min(512, len(whole) - start)) + whole[start + 512 :]
    foreign = [b"", b"\n", b"null", b"\xff\xfe", b"[" * 50_000, b"PAR1" * 3, rng.randbytes(300)]
    return rng.choice(foreign)


def json_text(rng: random.Random, whole: bytes) -> bytes:
    """A JSON file with another content."""
    if rng.random() < 0.25:
        return flipped(rng, whole)
    return json.dumps(changed(rng, json.loads(whole)), indent=rng.choice([None, 2])).encode()


def checkpoint(rng: random.Random, whole: bytes) -> bytes:
    """A checkpoint with another content, whose checksums are right."""
    if rng.random() < 0.25:
        return flipped(rng, whole)
    content = torch.load(io.BytesIO(whole), weights_only=True)
    if rng.random() < 0.3:
        network = content["network"]
        name = rng.choice([n for n, tensor in network.items() if torch.is_tensor(tensor)])
        old = network[name]
        network[name] = rng.choice([old.double(), old[None], old.flatten()[:1], old * math.nan])
    else:
        content = changed(rng, content)
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


READ = (
    *("epoch", "parameters", "val_accuracy", "expansion", "chosen", "kind", "test_accuracy"),
    *("image", "label"),
)
"""The columns that matter most."""


def parquet(rng: random.Random, whole: bytes) -> bytes:
    """A Parquet file with other columns, types or rows."""
    if rng.random() < 0.25:
        return flipped(rng, whole)
    rows = pq.read_table(io.BytesIO(whole))
    i = rng.randrange(rows.num_columns)
    name = rows.column_names[i]
    read = [name for name in READ if name in rows.column_names]
    if read and rng.random() < 0.7:
        name = rng.choice(read)
        i = rows.column_names.index(name)
    kind = rng.randrange(6)
    if kind == 0:
        rows = rows.remove_column(i)
    elif kind == 1:
        rows = rows.set_column(i, name, OTHERS[rng.randrange(len(OTHERS))](rows.num_rows))
    elif kind == 2:
        rows = rows.rename_columns([rng.choice(rows.column_names) if n == name else n
                                    for n in rows.column_names])  # fmt: skip
    elif kind == 3:
        rows = rows.slice(0, rng.choice([0, rows.num_rows // 2]))
    elif kind == 4:
        order = [rng.randrange(rows.num_rows) for _ in range(rows.num_rows)]
        rows = rows.take(order) if order else rows
    else:
        values = rows[name].to_pylist()
        if values:
            values[rng.randrange(len(values))] = rng.choice([None, -1, 0, 2**62, 1, 1e300])
        rows = rows.set_column(i, name, _array(values))
    file = io.BytesIO()
    pq.write_table(rows, file)
    return file.getvalue()


def _array(values: list) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if v is None else str(v) for v in values])


OTHERS: list[Callable[[int], pa.Array]] = [
    lambda n: pa.nulls(n),
    lambda n: pa.array(["x"] * n),
    lambda n: pa.array(["7"] * n).dictionary_encode(),
    lambda n: pa.array([[1]] * n, pa.list_(pa.int64())),
    lambda n: pa.array([{"a": 1}] * n, pa.struct([("a", pa.int64())])),
    lambda n: pa.array([True] * n),
    lambda n: pa.array([b"x"] * n),
    lambda n: pa.array([0] * n, pa.timestamp("ns")),
    lambda n: pa.array([2**63 - 1] * n),
    lambda n: pa.array([2**64 - 1] * n, pa.uint64()),
    lambda n: pa.array([1] * n, pa.int8()),
    lambda n: pa.array([1] * n, pa.decimal128(5)),
    lambda n: pa.array([math.nan] * n),
    lambda n: pa.array([math.inf] * n),
    lambda n: pa.array([1.5] * n, pa.float32()),
    lambda n: pa.array([0.0] * n),
]
"""Columns of other types, of so many rows."""

BY_SUFFIX = {".json": json_text, ".pt": checkpoint, ".parquet": parquet}


def damage(rng: random.Random, path: Path) -> str:
    """Damage the file at `path`; what was done to it."""
    if rng.random() < 0.05:
        path.unlink()
        return "removed"
    if rng.random() < 0.03:
        path.unlink()
        path.mkdir()
        return "a folder"
    path.write_bytes(BY_SUFFIX.get(path.suffix, flipped)(rng, path.read_bytes()))
    return "changed"
