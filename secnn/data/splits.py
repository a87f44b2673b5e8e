"""What every source of labelled images gives: `Splits`, checked, and how it is divided."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

TEST_FRACTION = 0.2
MIN_SIDE = 8  # three blocks halve each side three times
# Checkpoints of networks for larger images are refused: they could ask for terabytes.
MAX_SIDE = 4096

Labelled = tuple[torch.Tensor, torch.Tensor]


class DataError(ValueError):
    """Data that cannot be used; one line says what, where, and how to mend it."""


@dataclass(frozen=True)
class Reading:
    """How files and data sets are read.

    Attributes:
        label_column, image_column: names of columns; None: the usual ones.
        resize: side of a square that every image is brought to, None: images stay as they are.
    """

    label_column: str | None = None
    image_column: str | None = None
    resize: int | None = None

    def __post_init__(self) -> None:
        side = self.resize
        if side is not None and (type(side) is not int or not MIN_SIDE <= side <= MAX_SIDE):
            raise DataError(
                f"resize={side!r}: expected a whole number of pixels from {MIN_SIDE} to {MAX_SIDE}"
            )

    def expect_no_columns(self, what: str) -> None:
        """Raise DataError if a column is named, as `what` has none."""
        for name in ("label_column", "image_column"):
            if getattr(self, name) is not None:
                raise DataError(f"{name}={getattr(self, name)!r}: there are no columns in {what}")


@dataclass(frozen=True, eq=False)
class Portion:
    """One split as its source has it.

    Attributes:
        pictures: N of what `secnn.data.decoding.pixels` takes, or None for a missing one.
        labels: N of Python's `int`, `bool` or `str`.
        place: where picture i and its label come from.
    """

    pictures: Iterable[Any]
    labels: Sequence[Any]
    place: Callable[[int], str]


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set as its source gives it; a split is (images uint8 N×C×H×W, labels int64 N)."""

    name: str
    source: str
    class_names: tuple[str, ...]
    flip: bool
    train: Labelled
    test: Labelled
    validation: Labelled | None = None
    notice: str | None = None

    @property
    def present(self) -> dict[str, Labelled]:
        """The splits that there are, by name."""
        every = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in every.items() if split is not None}


def expect_sound(splits: Splits) -> None:
    """Raise DataError, naming the split, if images or labels are not what `Splits` says."""
    if len(splits.class_names) < 2:
        raise DataError(f"{splits.source} has {len(splits.class_names)} class: 2 are needed")
    for name, (images, labels) in splits.present.items():
        where = f"{splits.source}, {name} split"
        if images.dtype != torch.uint8 or images.ndim != 4 or not has_sides(images.shape[2:]):
            raise DataError(
                f"{where}: expected images uint8 N×C×H×W of {MIN_SIDE} to {MAX_SIDE} pixels a "
                f"side, got {described(images)}"
            )
        if images.shape[1:] != splits.train[0].shape[1:]:
            raise DataError(
                f"{where}: images are {described(images)}, those of the training split "
                f"{described(splits.train[0])}: all must have one size and as many channels"
            )
        if labels.dtype != torch.int64 or labels.shape != (len(images),) or not len(labels):
            raise DataError(
                f"{where}: expected a label int64 for each of {len(images)} images, got "
                f"{described(labels)}"
            )
        low, high = labels.min().item(), labels.max().item()
        if name == "train" and low == high:
            raise DataError(
                f"{where}: all {len(labels)} images are of one class (label {low}): 2 are needed"
            )
        if low < 0 or high >= len(splits.class_names):
            raise DataError(
                f"{where}: labels are {low}..{high}, expected 0..{len(splits.class_names) - 1}"
            )


def untrained(splits: Splits) -> str | None:
    """`2 classes have no training images: a, b.`; None if all have."""
    there = set(splits.train[1].unique().tolist())
    names = [name for label, name in enumerate(splits.class_names) if label not in there]
    count = "1 class has" if len(names) == 1 else f"{len(names)} classes have"
    return f"{count} no training images: {listed(names)}." if names else None


def has_sides(sides: Iterable[int]) -> bool:
    """Whether a network can take images of such a height and width."""
    return all(MIN_SIDE <= side <= MAX_SIDE for side in sides)


def described(array: torch.Tensor | np.ndarray) -> str:
    """`uint8 10×3×32×32`"""
    kind = str(array.dtype).removeprefix("torch.")
    return f"{kind} {'×'.join(map(str, array.shape)) or 'scalar'}"


def flips(class_names: Sequence[str]) -> bool:
    """Mirrored photographs keep their class; mirrored letters and digits do not."""
    return not all(len(name) == 1 or name.isdigit() for name in class_names)


def left_out(kind: str, names: Sequence[str], why: str) -> str | None:
    """`2 files left out (why): a, b.`; None if there are none."""
    count = f"{len(names):,} {kind}{'s' * (len(names) != 1)}"
    return f"{count} left out ({why}): {listed(names)}." if names else None


def listed(names: Sequence[str], most: int = 3) -> str:
    """`a, b, c and 4 more`"""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def joined(*notices: str | None) -> str | None:
    """The notices that there are, one after the other."""
    return " ".join(notice for notice in notices if notice) or None


def stratified_split(
    labels: torch.Tensor,
    fraction: float,
    seed: int,
    purpose: str = "",
    advice: str = "use more images per class, a larger validation_fraction, or a validation split",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Split indices into (kept, taken), both ascending, taking about `fraction` of each class.

    A class with n members gives ⌊fraction·n⌋ or ⌈fraction·n⌉ of them, and keeps at least one;
    the largest remainders are rounded up, so that the total is right too. Depends on the
    arguments alone, not on a global random state.

    Raises:
        DataError: nothing is taken; the message has the `purpose` and ends with `advice`.
    """
    members = [np.flatnonzero(labels.numpy() == c) for c in np.unique(labels.numpy())]
    quotas = np.array([fraction * len(m) for m in members])
    counts = np.floor(quotas).astype(int)
    remainders = quotas - counts
    can_give_more = (remainders > 0) & (counts + 1 < [len(m) for m in members])
    largest_first = np.argsort(-remainders * can_give_more, kind="stable")
    missing = min(round(remainders.sum()), can_give_more.sum())
    counts[largest_first[:missing]] += 1
    if not counts.sum():
        raise DataError(
            f"a fraction of {fraction:g} of {len(labels)} images{purpose} takes none of them: "
            f"{advice}"
        )
    rng = np.random.default_rng(seed)
    taken = np.zeros(len(labels), dtype=bool)
    for member, count in zip(members, counts, strict=True):
        taken[rng.permutation(member)[:count]] = True
    return torch.from_numpy(np.flatnonzero(~taken)), torch.from_numpy(np.flatnonzero(taken))


def with_test_split(images: torch.Tensor, labels: torch.Tensor) -> tuple[Labelled, Labelled]:
    """Train and test splits; the seed is fixed so that every run has the same test images.

    Raises:
        DataError: there are too few images.
    """
    advice = "use more images per class, or give a test split of your own"
    kept, taken = stratified_split(labels, TEST_FRACTION, 0, ", for the test split,", advice)
    return (images[kept], labels[kept]), (images[taken], labels[taken])
