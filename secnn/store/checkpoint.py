"""Self-describing files: a network, or a whole trial, that needs no other information."""

from __future__ import annotations

import dataclasses
import io
import json
import platform
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch

import secnn
from secnn.data.dataset import ImageData
from secnn.files import FileError, replacing
from secnn.growth.expansion import EXPANSIONS, Expansion, from_dict, to_dict
from secnn.network.cells import CELLS
from secnn.network.network import SECNN, outline
from secnn.network.spec import NetworkSpec
from secnn.store import record

FORMAT = 1


class CheckpointError(FileError):
    """A file that is not a readable checkpoint of this format."""


def describe(
    network: SECNN, data: ImageData, expansions: Iterable[Expansion], metrics: dict
) -> dict:
    """Everything that is needed to rebuild and to use `network`, with copies of its tensors.

    Keys: those of `describe_network`, `expansions` (JSON form, from the starting network), `data`
    (name, class names, mean and std of the normalisation in units of 1), `metrics`.
    """
    return describe_network(network) | {
        "expansions": [to_dict(expansion) for expansion in expansions],
        "data": {
            "name": data.name,
            "class_names": list(data.class_names),
            "mean": list(data.mean),
            "std": list(data.std),
            "fingerprint": data.fingerprint,
        },
        "metrics": metrics,
    }


def describe_network(network: SECNN) -> dict:
    """What is needed to rebuild `network`, with copies of its tensors.

    Keys: `format`, `start` and `spec` (the starting and the present shape), `network` (the state
    dict), `versions`, and `data` where the network knows it.
    """
    state = network.state_dict()
    known = {"data": network.data} if network.data else {}
    return known | {
        "format": FORMAT,
        "start": network.start.to_dict(),
        "spec": network.spec.to_dict(),
        "network": {k: v.clone() if torch.is_tensor(v) else v for k, v in state.items()},
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """What computed: secnn, PyTorch and Python."""
    return {
        "secnn": secnn.__version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def save(path: str | Path, content: dict) -> None:
    """Replace `path` by a checkpoint with `content`, atomically.

    Raises:
        OSError: it cannot be written, for example for want of space; `path` stays as it was.
    """
    # Writing straight to a full disk makes torch raise an error that does not name the cause.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read(path: str | Path) -> dict:
    """The content of a checkpoint, tensors on the CPU. Nothing in the file is executed.

    Raises:
        CheckpointError: the file is truncated, changed in a single bit, empty, foreign, of a newer
            format, or holds anything but tensors and plain values of the types that
            `secnn.store.content.Content` names.
        FileNotFoundError: there is no such file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"checkpoint: no file {path}")
    stored = Path(path).read_bytes()
    try:
        _check_sums(stored)
        content = torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for files it cannot read
        raise CheckpointError(
            f"checkpoint: {path} is truncated, damaged or not a checkpoint "
            f"({type(error).__name__}); use another file"
        ) from None
    check_format(content, path)
    return content


def _check_sums(stored: bytes) -> None:
    """Compare the checksums in a zip archive, which torch.save writes but torch.load ignores."""
    with zipfile.ZipFile(io.BytesIO(stored)) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(damaged)


def check_format(content: object, path: str | Path) -> None:
    """Raise CheckpointError unless `content`, of the file `path`, is one that this secnn reads."""
    from secnn.store.content import expect_content  # Only files need pydantic.

    fields = content if isinstance(content, dict) else {}
    found = fields.get("format")
    if not isinstance(found, int) or "network" not in fields:
        raise CheckpointError(f"checkpoint: {path} was not written by secnn; use another file")
    if found > FORMAT:
        raise CheckpointError(
            f"checkpoint: {path} has format {found}, this secnn reads up to {FORMAT}; update secnn"
        )
    try:
        expect_content(fields, f"checkpoint: {path}", "use another file")
    except FileError as error:
        raise CheckpointError(str(error)) from None


def rebuild(content: dict, path: str | Path = "content") -> SECNN:
    """The network that `content` describes, in its tensors' type, in evaluation mode, on the CPU.

    Raises:
        CheckpointError: it does not hold the tensors that it describes; the message names `path`.
    """
    try:
        spec = NetworkSpec.from_dict(content["spec"])
        _expect_known(spec.cell)
        _check_layers(spec, content["network"])
        dtype = _dtype(content["network"])
        # A foreign file shall not take the memory that it asks for.
        _check_tensors(outline(spec).to(dtype).state_dict(), content["network"])
        network = SECNN(spec).to(dtype)
        # What is saved of this network shall still tell where it started.
        network.start = NetworkSpec.from_dict(content.get("start", content["spec"]))
        _check_start(network.start, spec)
        network.load_state_dict(content["network"])
        network.data = content.get("data")
    except UnknownCell as error:
        raise CheckpointError(f"checkpoint: {path} {error}") from None
    except Exception as error:  # what a foreign file holds can fail anywhere
        raise _other_network(path, error) from None
    return network.eval()


def _dtype(tensors: dict) -> torch.dtype:
    """Of the network's numbers, as most of them have it, whatever PyTorch's default is now."""
    kinds = Counter(t.dtype for t in tensors.values() if torch.is_tensor(t))
    floats = [kind for kind, _ in kinds.most_common() if kind.is_floating_point]
    return floats[0] if floats else torch.get_default_dtype()


class UnknownCell(ValueError):
    """What the networks of a file are made of is not known here."""


def _expect_known(cell: str) -> None:
    if cell not in CELLS:
        raise UnknownCell(
            f"has a network of cell {cell!r}, which is not known here; import the module that adds "
            "it to secnn.CELLS (on the command line: --import MODULE)"
        )


def load(path: str | Path) -> SECNN:
    """The network in the checkpoint at `path`, in evaluation mode; errors as in `read`."""
    return rebuild(read(path), path)


def replay(path: str | Path) -> SECNN:
    """The shape of a trial's network, made anew: the starting network, freshly drawn, with the
    recorded expansions applied in turn.

    `path` is a checkpoint; the folder of a trial, whose last epoch counts; or the audit log of a
    trial in a study, `logs/expansions/<key>.parquet`, whose chosen rows are applied to the start
    that the trial's last checkpoint tells. The network is in training mode; the slopes of its added
    layers are 1 (see `SECNN.anneal_slopes`).

    Raises:
        CheckpointError: as in `read`, the log cannot be read, or the expansions do not lead to the
            checkpoint's shape.
        FileNotFoundError: there is no such file.
    """
    path = Path(path) / "last.pt" if Path(path).is_dir() else Path(path)
    audited = path.suffix == ".parquet"
    study = path.absolute().parent.parent.parent
    content = read(study / "trials" / path.stem / "last.pt" if audited else path)
    try:
        start, spec = (NetworkSpec.from_dict(content[name]) for name in ("start", "spec"))
        _check_layers(spec, content["network"])
        _check_start(start, spec)
        network = SECNN(start)
        for fields in _chosen(path) if audited else content["expansions"]:
            from_dict(fields).apply(network)
        _check_shape(network, spec)
    except FileNotFoundError:
        raise
    except FileError as error:
        raise CheckpointError(str(error)) from None
    except Exception as error:  # as in `rebuild`
        raise _other_network(path, error) from None
    return network


def _chosen(log: Path) -> list[dict]:
    """The expansions that an audit log says were made, in order, in JSON form."""
    rows = record.read(log, record.ExpansionRecord).to_pylist()
    return [_fields(row) for row in rows if row["chosen"]]


def _fields(row: dict) -> dict:
    if row.get("expansion") is not None:
        return json.loads(row["expansion"])
    # Logs of versions before 0.2 have but the columns of the two kinds that there were.
    names = [field.name for field in dataclasses.fields(EXPANSIONS.find(row["kind"]))]
    return {"kind": row["kind"]} | {n: row[n] for n in names if row.get(n) is not None}


def _check_layers(spec: NetworkSpec, tensors: dict) -> None:
    """Each layer has a tensor: more of them than that, building would take for ever."""
    if sum(spec.layers) > len(tensors):
        raise ValueError(f"layers: {sum(spec.layers)} in {len(tensors)} tensors")


def _check_start(start: NetworkSpec, spec: NetworkSpec) -> None:
    """Growth changes neither what a network takes and gives nor what it is made of, and only
    adds."""
    for name in ("input_channels", "image_size", "classes", "cell"):
        known, found = getattr(spec, name), getattr(start, name)
        if found != known:
            raise ValueError(f"start: expected {name} {known}, as its spec has, got {found}")
    for name in ("channels", "layers"):
        known, found = getattr(spec, name), getattr(start, name)
        if len(found) > len(known) or sum(found) > sum(known):
            raise ValueError(f"start: expected {name} of at most {known}, got {found}")


def _check_shape(network: SECNN, spec: NetworkSpec) -> None:
    if network.spec != spec:
        raise ValueError(f"its start and its expansions lead to {network.spec}, not to {spec}")


def _check_tensors(expected: dict, found: dict) -> None:
    """Names, shapes and types: load_state_dict would convert types, and needs many lines."""
    if expected.keys() != found.keys():
        name = min(expected.keys() ^ found.keys())
        raise ValueError(f"{name} is {'missing' if name in expected else 'not of this network'}")
    for name, tensor in expected.items():
        if _kind(tensor) != _kind(found[name]):
            raise ValueError(f"{name}: expected {_kind(tensor)}, got {_kind(found[name])}")


def _kind(value: object) -> str:
    if isinstance(value, dict):  # What a module keeps beside its tensors.
        return "; ".join(f"{name}: {_kind(entry)}" for name, entry in sorted(value.items()))
    if not torch.is_tensor(value):
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"


def _other_network(path: str | Path, error: Exception) -> CheckpointError:
    what = f"no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
    return CheckpointError(
        f"checkpoint: {path} does not hold the network that it describes ({what}); use another file"
    )
