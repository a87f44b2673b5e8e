"""Labels as a source has them (integers, truth values, names) → classes 0, 1, ..."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from secnn.data.splits import DataError, Portion, listed

KINDS = {int: "an integer", bool: "a truth value", str: "a name"}


def encode(
    splits: Mapping[str, Portion], class_names: tuple[str, ...] | None
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Class names, and the labels of each split, "train" among them, as int64 in 0..classes−1.

    Without class names these are the sorted names among the training labels, or "False" and "True",
    or "0".."k-1" for k different integers. Otherwise integers are indices of class names.

    Raises:
        DataError: naming the place of a label that is missing, of no class, or of another kind.
    """
    kind = _kind(splits)
    names = class_names or _names(kind, splits["train"].labels)
    codes = {name: index for index, name in enumerate(names)}
    if kind is str and len(codes) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(
            f"class names: expected different ones, as labels are names, got {twice!r} twice"
        )
    indices = {}
    for split, portion in splits.items():
        labels = portion.labels
        numbers = [codes.get(label, -1) for label in labels] if kind is str else labels
        wrong = next((i for i, n in enumerate(numbers) if not 0 <= n < len(names)), None)
        if wrong is not None:
            why = _no_class(labels[wrong], names, given=bool(class_names))
            raise DataError(f"{portion.place(wrong)}: {why}")
        indices[split] = np.array(numbers, dtype=np.int64)
    return names, indices


def _kind(splits: Mapping[str, Portion]) -> type:
    """The one type of all labels."""
    kind = type(splits["train"].labels[0])
    for portion in splits.values():
        if kind not in KINDS or set(map(type, portion.labels)) != {kind}:
            labels = enumerate(portion.labels)
            wrong = next(i for i, v in labels if type(v) is not kind or kind not in KINDS)
            raise DataError(f"{portion.place(wrong)}: {_no_label(portion.labels[wrong], kind)}")
    return kind


def _no_label(value: object, kind: type) -> str:
    if value is None:
        return "the label is missing (null)"
    if isinstance(value, float) and math.isnan(value):
        return "the label is missing (NaN)"
    if type(value) in KINDS:
        return f"the label is {KINDS[type(value)]}, the first one is {KINDS[kind]}"
    return f"the label is of type {type(value).__name__}, expected {', '.join(KINDS.values())}"


def _names(kind: type, values: Iterable) -> tuple[str, ...]:
    if kind is bool:
        return "False", "True"
    distinct = set(values)
    if kind is str:
        return tuple(sorted(distinct))
    return tuple(map(str, range(sum(value >= 0 for value in distinct))))


def _no_class(value: object, names: Sequence[str], given: bool) -> str:
    """Why a label is refused."""
    if isinstance(value, str):
        return f"label {value!r} is not among the classes {listed(names, 5)}"
    classes = f"{len(names)} class{'es' * (len(names) != 1)}"
    why = f"label {value} is outside 0..{len(names) - 1} ({classes})"
    if value == -1:
        return (
            f"{why}: -1 marks images whose label is not known, as in test sets of the Hugging Face "
            "hub; use a split that has labels"
        )
    return why if given else f"{why}: without class names, labels are 0, 1, ... without a gap"


def agreed(given: Iterable[tuple[str, tuple[str, ...] | None]]) -> tuple[str, ...] | None:
    """The class names that all of (place, class names) agree on; None if none of them has any."""
    named = [(place, names) for place, names in given if names]
    for place, names in named:
        if names != named[0][1]:
            raise DataError(f"{place}: class names differ from those of {named[0][0]}")
    return named[0][1] if named else None
