"""The forms of the JSON files of a study: what is read is parsed into these before it is used.

Needs pydantic, so that it is imported where a file is read, but neither PyTorch nor Ray.
"""

from __future__ import annotations

import textwrap
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    with_config,
)
from typing_extensions import TypedDict

from secnn.files import FileError

Count = Annotated[int, Field(ge=1, le=10**15)]
Natural = Annotated[int, Field(ge=0, le=10**15)]
Percent = Annotated[float, Field(ge=0, le=100)]
_SIGN = r"[^/\p{C}\p{Zl}\p{Zp}]"
Key = Annotated[
    str, StringConstraints(pattern=rf"^[^./\p{{C}}\p{{Z}}]{_SIGN}*$", min_length=1, max_length=200)
]
"""A trial's name, which is also one of files."""

open_form = with_config(ConfigDict(extra="allow"))
"""Fields of other versions stay."""


@open_form
class Settings(TypedDict):
    """A trial's settings, those that readers use; `secnn.TrialConfig` describes all."""

    criterion: str
    tau: FiniteFloat
    lam: FiniteFloat
    seed: Natural
    epochs: Count


@open_form
class Dataset(TypedDict):
    """What the images are."""

    name: str
    validation: NotRequired[Literal["held-out", "file", "test"]]
    source: NotRequired[str]
    notice: NotRequired[str | None]
    classes: NotRequired[Count]
    class_names: NotRequired[list[str] | None]
    flip: NotRequired[bool]
    image_shape: NotRequired[list[Count]]
    fingerprint: NotRequired[str]
    images: NotRequired[dict[str, Natural]]


@open_form
class Reference(TypedDict):
    """The setting that the others are compared with."""

    criterion: str
    tau: FiniteFloat
    lam: FiniteFloat


@open_form
class Retrained(TypedDict):
    """A trial that trains the final network of the trial `source` from scratch."""

    source: Key
    budget: Literal["epochs", "flops"]
    setting: str


def _whole(study: Study) -> Study:
    trials, retrained = study["trials"], study.get("retrain", {})
    for key, about in retrained.items():
        for name in (key, about["source"]):
            if name not in trials or name == about["source"] in retrained:
                raise ValueError(f"retrain: expected trials of the study, got {name}")
    return study


@open_form
class StudyForm(TypedDict):
    """The content of study.json."""

    format: Literal[1]
    preset: str
    dataset: Dataset
    reference: NotRequired[Reference]
    trials: Annotated[dict[Key, Settings], Field(min_length=1)]
    retrain: NotRequired[dict[Key, Retrained]]
    versions: NotRequired[dict[str, str]]
    imports: NotRequired[list[str]]
    command: NotRequired[str]


Study = Annotated[StudyForm, AfterValidator(_whole)]


def read(form: Any, path: Path, advice: str) -> Any:
    """The content of the JSON file at `path`, of type `form`.

    Raises:
        FileError: it is damaged, or not of that form; ends with `advice`.
        OSError: it cannot be read.
    """
    return parse(form, path.read_bytes(), str(path), advice)


class StudyError(FileError):
    """A folder that cannot be analysed; one line says why."""


def study_in(folder: Path) -> StudyForm:
    """The content of study.json in a results folder.

    Raises:
        StudyError: there is none.
        FileError, OSError: as `read`.
    """
    path = folder / "study.json"
    if not path.is_file():
        missing = "holds no study.json" if folder.is_dir() else "is not a folder"
        raise StudyError(f"{folder} {missing}: expected a study's results folder")
    return read(Study, path, "restore it, or name another study")


def started(study: Path, key: str, settings: Settings) -> Settings:
    """What the trial `key` of the folder `study` was started with: its config.json, as study.json,
    whose `settings` are given, does not know it yet of a retrained one; those if there is none.

    Raises:
        FileError, OSError: as `read`.
    """
    path = study / "trials" / key / "config.json"
    try:
        return read(Settings, path, "remove it to go by study.json")
    except FileNotFoundError:
        return settings


def failure(study: Path, key: str) -> str | None:
    """Why the last attempt at the trial `key` of the folder `study` failed, in one line; None if it
    did not."""
    path = study / "trials" / key / "ERROR"
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    return textwrap.shorten(text, 1000, placeholder=" …")


def parse(form: Any, text: str | bytes, what: str, advice: str) -> Any:
    """JSON as a value of type `form`.

    Raises:
        FileError: it is none; one line, which begins with `what` and ends with `advice`.
    """
    try:
        return _adapter(form).validate_json(text, strict=True)
    except ValidationError as error:
        raise FileError(f"{what} cannot be used ({_first(error)}); {advice}") from None


@cache
def _adapter(form: Any) -> TypeAdapter:
    return TypeAdapter(form)


def _first(error: ValidationError) -> str:
    """Where the first fault is, and what was expected there."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = shown(".".join(map(str, first["loc"])))
    said = shown(first["msg"].removeprefix("Value error, "))
    return f"{where}: {said[:1].lower()}{said[1:]}" if where else said


def shown(text: str) -> str:
    """In one line of at most 120 signs."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= 120 else f"{text[:119]}…"
