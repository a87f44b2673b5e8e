"""Self-describing files: a network, or a whole trial, that needs no other information."""

from __future__ import annotations

import io
import platform
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch

import secnn
from secnn.data.dataset import ImageData
from secnn.files import FileError, replacing
from secnn.growth.expansion import Expansion, to_dict
from secnn.network.cells import CELLS
from secnn.network.network import SECNN, outline
from secnn.network.spec import NetworkSpec
from secnn.registry import Registry

FORMAT = 1


class CheckpointError(FileError):
    """A file that is not a readable checkpoint of this format."""


def describe(
    network: SECNN, data: ImageData, expansions: Iterable[Expansion], metrics: dict
) -> dict:
    """Everything that is needed to rebuild and to use `network`, with copies of its tensors.

    Keys: those of `describe_network`, `expansions` (JSON form, from the starting network), `data`
    (`describe_data`), `metrics`.
    """
    return describe_network(network) | {
        "expansions": [to_dict(expansion) for expansion in expansions],
        "data": describe_data(data),
        "metrics": metrics,
    }


def describe_data(data: ImageData) -> dict:
    """What who uses a network has to know of the images that it was trained on: `name`,
    `class_names`, `mean` and `std` of the normalisation in units where 255 is 1, `fingerprint`."""
    return {
        "name": data.name,
        "class_names": list(data.class_names),
        "mean": list(data.mean),
        "std": list(data.std),
        "fingerprint": data.fingerprint,
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


def save(path: str | Path, content: SECNN | dict) -> None:
    """Replace `path` by a checkpoint, atomically: of a network, to be had back by `load`; or with
    the content that `describe` or `secnn.Trial.state` gives.

    Raises:
        ValueError: `content` is none of them.
        OSError: it cannot be written, for example for want of space; `path` stays as it was.
    """
    if isinstance(content, SECNN):
        content = describe_network(content)
    if not isinstance(content, dict) or "format" not in content:
        raise ValueError(
            "content: expected a SECNN, or what secnn.Trial.state gives, got "
            f"{type(content).__name__}"
        )
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
        expect_known(CELLS, spec.cell, "CELLS", f"checkpoint: {path} has a network of cell")
        check_layers(spec, content["network"])
        dtype = _dtype(content["network"])
        # A foreign file shall not take the memory that it asks for.
        _check_tensors(outline(spec).to(dtype).state_dict(), content["network"])
        network = SECNN(spec).to(dtype)
        # What is saved of this network shall still tell where it started.
        network.start = NetworkSpec.from_dict(content.get("start", content["spec"]))
        check_start(network.start, spec)
        network.load_state_dict(content["network"])
        network.data = content.get("data")
    except CheckpointError:
        raise
    except Exception as error:  # what a foreign file holds can fail anywhere
        raise other_network(path, error) from None
    return network.eval()


def _dtype(tensors: dict) -> torch.dtype:
    """Of the network's numbers, as most of them have it, whatever PyTorch's default is now."""
    kinds = Counter(t.dtype for t in tensors.values() if torch.is_tensor(t))
    floats = [kind for kind, _ in kinds.most_common() if kind.is_floating_point]
    return floats[0] if floats else torch.get_default_dtype()


def expect_known(registry: Registry, name: str, public: str, what: str) -> None:
    """Raise CheckpointError unless `registry`, by its `public` name, has `name`."""
    if name not in registry:
        raise CheckpointError(
            f"{what} {name!r}, which is not known here; import the module that adds it to "
            f"secnn.{public} (on the command line: --import MODULE)"
        )


def load(path: str | Path) -> SECNN:
    """The network in the checkpoint at `path`, in evaluation mode; errors as in `read`."""
    return rebuild(read(path), path)


def check_layers(spec: NetworkSpec, tensors: dict) -> None:
    """Each layer has a tensor: more of them than that, building would take for ever."""
    if sum(spec.layers) > len(tensors):
        raise ValueError(f"layers: {sum(spec.layers)} in {len(tensors)} tensors")


def check_start(start: NetworkSpec, spec: NetworkSpec) -> None:
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


def other_network(path: str | Path, error: Exception) -> CheckpointError:
    what = f"no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
    return CheckpointError(
        f"checkpoint: {path} does not hold the network that it describes ({what}); use another file"
    )
