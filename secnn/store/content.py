"""The form of a checkpoint's content; needs pydantic, and is imported where a file is read."""

from __future__ import annotations

import json
from typing import Annotated, NotRequired

import torch
from pydantic import AfterValidator, Field, FiniteFloat, JsonValue
from typing_extensions import TypedDict

from secnn.data.splits import MAX_SIDE
from secnn.files import FileError
from secnn.network.spec import NetworkSpec
from secnn.store.forms import Count, Natural, Percent, Settings, open_form, parse
from secnn.store.record import EpochRecord, ExpansionRecord


@open_form
class Metrics(TypedDict, total=False):
    """How good the network is; nothing is known of one that has not been trained."""

    epoch: Count
    parameters: Count
    flops: Count
    val_accuracy: Percent
    val_loss: FiniteFloat
    test_accuracy: Percent


@open_form
class Normalisation(TypedDict):
    """The images that the network was trained on."""

    name: str
    class_names: list[str]
    mean: list[FiniteFloat]
    std: list[Annotated[FiniteFloat, Field(gt=0)]]
    fingerprint: NotRequired[str]


class TensorForm(TypedDict):
    """What stands for a tensor."""

    dtype: str
    shape: list[int]


@open_form
class Training(TypedDict):
    """What a trial goes on from."""

    optimizer: dict[str, dict[str, TensorForm]]
    records: list[EpochRecord]
    considered: list[ExpansionRecord]
    best_of_size: Content | None


def _agreeing(content: Content) -> Content:
    spec, data = content["spec"], content.get("data")
    if max(spec.image_size) > MAX_SIDE:
        raise ValueError(f"spec.image_size: expected at most {MAX_SIDE} pixels a side")
    if data is not None:
        counts = {"class_names": spec.classes, "mean": spec.input_channels}
        for name, count in (counts | {"std": spec.input_channels}).items():
            if len(data[name]) != count:  # type: ignore[literal-required]
                raise ValueError(f"data.{name}: expected {count}, as its spec has")
    return content


@open_form
class Content(TypedDict):
    """A network, or a trial; see `secnn.store.checkpoint.describe`."""

    format: Natural
    network: dict[str, JsonValue]
    spec: NetworkSpec
    start: NotRequired[NetworkSpec]
    versions: dict[str, str]
    expansions: NotRequired[list[dict[str, JsonValue]]]
    data: NotRequired[Normalisation]
    metrics: NotRequired[Metrics]
    config: NotRequired[Settings]
    training: NotRequired[Training]


def expect_content(content: dict, what: str, advice: str) -> None:
    """Raise FileError unless what `content` holds of the fields of `Content` has their types."""
    known = {name: content[name] for name in Content.__annotations__ if name in content}
    try:
        text = json.dumps(known, default=_form_of)
    except (TypeError, ValueError, RecursionError) as error:
        raise FileError(f"{what} cannot be used ({error}); {advice}") from None
    parse(Annotated[Content, AfterValidator(_agreeing)], text, what, advice)


def _form_of(value: object) -> dict:
    if not torch.is_tensor(value):
        raise TypeError(f"expected tensors and plain values, got {type(value).__name__}")
    return {"dtype": str(value.dtype), "shape": list(value.shape)}
