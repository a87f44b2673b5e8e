"""Self-describing files: a network, or a whole trial, that needs no other information."""

from __future__ import annotations

import io
import platform
from collections.abc import Iterable
from pathlib import Path

import torch

import secnn
from secnn.data import ImageData
from secnn.expansion import Expansion, to_dict
from secnn.files import replacing
from secnn.network import SECNN, NetworkSpec

FORMAT = 1


class CheckpointError(ValueError):
    """A file that is not a readable checkpoint of this format."""


def describe(
    network: SECNN, data: ImageData, expansions: Iterable[Expansion], metrics: dict
) -> dict:
    """Everything that is needed to rebuild and to use `network`, with copies of its tensors.

    Keys: `format`, `spec`, `network` (the state dict), `expansions` (JSON form, from the starting
    network), `data` (name, class names, mean and std of the normalisation in units of 1),
    `metrics`, `versions`.
    """
    state = network.state_dict()
    return {
        "format": FORMAT,
        "spec": network.spec.to_dict(),
        "network": {k: v.clone() if torch.is_tensor(v) else v for k, v in state.items()},
        "expansions": [to_dict(expansion) for expansion in expansions],
        "data": {
            "name": data.name,
            "class_names": list(data.class_names),
            "mean": list(data.mean),
            "std": list(data.std),
            "fingerprint": data.fingerprint,
        },
        "metrics": metrics,
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
        CheckpointError: the file is truncated, empty, foreign, of a newer format, or holds
            anything but tensors and plain values.
        FileNotFoundError: there is no such file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"checkpoint: no file {path}")
    file = io.BytesIO(Path(path).read_bytes())
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for files it cannot read
        raise CheckpointError(
            f"checkpoint: {path} is truncated, damaged or not a checkpoint "
            f"({type(error).__name__}); use another file"
        ) from None
    found = content.get("format") if isinstance(content, dict) else None
    if not isinstance(found, int) or "network" not in content:
        raise CheckpointError(f"checkpoint: {path} was not written by secnn; use another file")
    if found > FORMAT:
        raise CheckpointError(
            f"checkpoint: {path} has format {found}, this secnn reads up to {FORMAT}; update secnn"
        )
    return content


def rebuild(content: dict) -> SECNN:
    """The network that `content` describes, in evaluation mode, on the CPU."""
    network = SECNN(NetworkSpec.from_dict(content["spec"]))
    network.load_state_dict(content["network"])
    return network.eval()


def load(path: str | Path) -> SECNN:
    """The network in the checkpoint at `path`, in evaluation mode; errors as in `read`."""
    content = read(path)
    try:
        return rebuild(content)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"checkpoint: {path} does not hold the network that it describes "
            f"({str(error).splitlines()[0]}); use another file"
        ) from None
