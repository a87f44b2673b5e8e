"""Networks for other programs: ONNX and safetensors files.

`secnn export CHECKPOINT FILE.onnx [--pixels]` or `... FILE.safetensors` does the same. Both need
packages of their own: `pip install onnx onnxscript`, `pip install safetensors`.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from secnn import plugins
from secnn.commands import Parser
from secnn.files import reason, replacing
from secnn.network.network import SECNN
from secnn.store import checkpoint
from secnn.store.checkpoint import CheckpointError

KEY = "secnn"
"""Under which a safetensors file's header holds the description of the network."""

DESCRIPTION = ("format", "start", "spec", "versions", "expansions", "data", "metrics")


class FromPixels(nn.Module):
    """Raw uint8 images N×C×H×W → class probabilities N×classes: the normalisation, `network` and a
    softmax. `mean` and `std` are C numbers, in units where 255 is 1."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: SECNN, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network((pixels.float() / 255 - self.mean) / self.std).softmax(1)


def to_onnx(source: str | Path | SECNN, file: str | Path, pixels: bool = False) -> SECNN:
    """Write the network as ONNX, in evaluation mode; returns what was written.

    The model maps `images`, normalised floats batch×C×H×W, to `logits`, batch×classes, for any
    batch; with `pixels`, for what knows its data's normalisation, `images`, raw uint8 ones, to
    `probabilities` (see `FromPixels`). Its metadata are `spec` and `versions`, and where they are
    known `class_names`, `mean` and `std` (of the normalisation, in units where 255 is 1), all as
    JSON.

    Args:
        source: a checkpoint's path, or a network, which stays as it is; one that was loaded from a
            checkpoint knows its data.

    Raises:
        ImportError: onnx or onnxscript is missing.
        CheckpointError, FileNotFoundError, OSError: `source` cannot be read, `file` not written.
        ValueError: the network is not in float32, or `pixels` is asked of one without its data's
            normalisation.
    """
    onnx, _ = _needed("onnx", "onnxscript")
    content, network = _content(source)
    dtype = next(network.parameters()).dtype
    if dtype != torch.float32:  # Hardly any program runs ONNX in others.
        raise ValueError(f"source: expected a network in float32, got {dtype}; use network.float()")
    spec = network.spec
    # Two images: a batch of one would be taken for a constant.
    images = torch.zeros(2, spec.input_channels, *spec.image_size)
    whole = _from_pixels(network, content) if pixels else network
    program = torch.onnx.export(
        whole,
        (images.byte() if pixels else images,),
        input_names=["images"],
        output_names=["probabilities" if pixels else "logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None  # Only of exports to a file.
    model = _without_traces(program.model_proto)
    onnx.helper.set_model_props(model, _metadata(content))
    _write(file, model.SerializeToString())
    return network


def _from_pixels(network: SECNN, content: dict) -> FromPixels:
    data = content.get("data", {})
    if not {"mean", "std"} <= data.keys():
        raise ValueError(
            "pixels: expected a checkpoint or a network loaded from one, which know their data's "
            "normalisation, got a network alone; give the .pt file, or export without pixels"
        )
    return FromPixels(network, data["mean"], data["std"]).eval()


def to_safetensors(source: str | Path | SECNN, file: str | Path) -> SECNN:
    """Write the network as safetensors; returns what was written. Arguments as in `to_onnx`.

    The file's tensors are the state dict's. Its header holds as JSON, under `secnn`, what a
    checkpoint holds besides (see `secnn.store.checkpoint.describe`) and the slopes of the layers.

    Raises:
        ImportError: safetensors is missing.
        CheckpointError, FileNotFoundError, OSError: as in `to_onnx`.
    """
    (safetensors,) = _needed("safetensors.torch")
    content, network = _content(source)
    state = network.state_dict()
    tensors = {name: v.contiguous() for name, v in state.items() if torch.is_tensor(v)}
    about = {key: content[key] for key in DESCRIPTION if key in content}
    about["network"] = {name: v for name, v in state.items() if name not in tensors}
    _write(file, safetensors.save(tensors, {KEY: json.dumps(about)}))
    return network


def from_safetensors(file: str | Path) -> SECNN:
    """The network that `to_safetensors` wrote, bit for bit, in evaluation mode.

    Raises:
        ImportError: safetensors is missing.
        CheckpointError: the file is damaged, foreign, or of a newer format.
        FileNotFoundError: there is no such file.
    """
    return checkpoint.rebuild(read_safetensors(file), file)


def read_safetensors(file: str | Path) -> dict:
    """The content of a safetensors file in the form of `secnn.store.checkpoint.read`; errors as in
    `from_safetensors`."""
    (safetensors,) = _needed("safetensors")
    if not Path(file).is_file():
        raise FileNotFoundError(f"file: no file {file}")
    try:
        with safetensors.safe_open(file, "pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            content = json.loads(stored.metadata()[KEY])
        content["network"] |= tensors
    except Exception as error:  # several kinds, one of which is safetensors' own
        raise CheckpointError(
            f"file: {file} is damaged or not one that secnn.export wrote "
            f"({type(error).__name__}); use another file"
        ) from None
    checkpoint.check_format(content, file)
    return content


FORMATS: dict[str, Callable[..., SECNN]] = {
    ".onnx": to_onnx,
    ".safetensors": to_safetensors,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    plugins.load_asked("export", arguments)
    parser = Parser("export", description="Write the network of a checkpoint for other programs.")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a .pt file, say of a ladder")
    parser.add_argument("file", metavar="FILE", help=f"to write: *{' or *'.join(FORMATS)}")
    parser.add_argument(
        "--pixels",
        action="store_true",
        help="ONNX from raw uint8 images to class probabilities, the normalisation and a softmax "
        "inside",
    )
    plugins.add_option(parser)
    asked = parser.parse_args(arguments)
    try:
        network = _writer(asked)(asked.checkpoint, asked.file)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {reason(error)}", file=sys.stderr)
        return 2
    print(f"{asked.file}: {network.n_parameters:,} parameters")
    return 0


def _writer(asked: argparse.Namespace) -> Callable[..., SECNN]:
    suffix = Path(asked.file).suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(
            f"file: expected a name ending in {' or '.join(FORMATS)}, got {asked.file}"
        )
    if not asked.pixels:
        return FORMATS[suffix]
    if suffix != ".onnx":
        raise ValueError(f"--pixels: expected a file *.onnx, got {asked.file}; leave it out")
    return functools.partial(to_onnx, pixels=True)


def _needed(*names: str) -> list[ModuleType]:
    try:
        return [importlib.import_module(name) for name in names]
    except ModuleNotFoundError as error:
        packages = " ".join(name.partition(".")[0] for name in names)
        raise ImportError(
            f"export: the package {error.name} is missing: pip install {packages}"
        ) from None


def _content(source: str | Path | SECNN) -> tuple[dict, SECNN]:
    """A checkpoint's content, and its network: a copy, in evaluation mode, on the CPU."""
    if isinstance(source, SECNN):
        content = checkpoint.describe_network(source)
        return content, checkpoint.rebuild(content, "source")
    content = checkpoint.read(source)
    return content, checkpoint.rebuild(content, source)


def _without_traces(model):
    """`model`, an onnx.ModelProto, without the notes on each node's source: folders and code."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]
    return model


def _metadata(content: dict) -> dict[str, str]:
    data = content.get("data", {})
    about = {name: data[name] for name in ("class_names", "mean", "std") if name in data}
    about |= {name: content[name] for name in ("spec", "versions")}
    return {name: json.dumps(value) for name, value in about.items()}


def _write(file: str | Path, content: bytes) -> None:
    with replacing(file) as temporary:
        temporary.write_bytes(content)


if __name__ == "__main__":
    sys.exit(main())
