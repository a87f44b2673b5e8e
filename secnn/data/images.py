"""A data set as resident uint8 tensors: training, validation and test images with labels."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral, Real

import numpy as np
import torch

from secnn.data.objects import from_parts
from secnn.data.splits import (
    DataError,
    Reading,
    Splits,
    expect_sound,
    joined,
    stratified_split,
    untrained,
)
from secnn.files import printable

VALIDATIONS = ("held-out", "file", "test")
CHUNK = 2048  # images counted at once: in cache, counting is several times faster
STD_FLOOR = 1 / 255  # one grey level: a constant channel must not be divided by zero

_TENSORS = (
    "train_images",
    "train_labels",
    "validation_images",
    "validation_labels",
    "test_images",
    "test_labels",
)
_TEXTS = ("name", "source", "validation", "notice")
_COMPUTED = ("mean", "std", "fingerprint")


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images uint8 N×C×H×W in 0..255 and labels int64 N, contiguous, for three splits.

    Attributes:
        name: short, usable in a folder name.
        source: where the images come from, for outputs.
        class_names: the name of label 0, 1, ...
        flip: whether a mirrored image keeps its class.
        validation: "held-out" of the training set, "file" (its own split), or "test": the
            validation split *is* the test split.
        notice: what a reader of the results must know, or None.
    """

    name: str
    source: str
    class_names: tuple[str, ...]
    flip: bool
    validation: str
    notice: str | None
    train_images: torch.Tensor = field(repr=False)
    train_labels: torch.Tensor = field(repr=False)
    validation_images: torch.Tensor = field(repr=False)
    validation_labels: torch.Tensor = field(repr=False)
    test_images: torch.Tensor = field(repr=False)
    test_labels: torch.Tensor = field(repr=False)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    @cached_property
    def _histogram(self) -> list[list[int]]:
        """How often each grey level occurs, channels × 256: exact moments need no more."""
        channels = range(self.image_shape[0])
        levels = torch.zeros(len(channels), 256, dtype=torch.int64)
        for chunk in self.train_images.split(CHUNK):
            for c in channels:
                levels[c] += torch.bincount(chunk[:, c].flatten(), minlength=256).cpu()
        return levels.tolist()

    @cached_property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel over the training images, in units where 255 is 1."""
        return tuple(
            sum(x * n for x, n in enumerate(counts)) / (255 * sum(counts))
            for counts in self._histogram
        )

    @cached_property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel, in units where 255 is 1; at least 1/255."""
        variances = (
            sum((x / 255 - mean) ** 2 * n for x, n in enumerate(counts)) / sum(counts)
            for counts, mean in zip(self._histogram, self.mean, strict=True)
        )
        return tuple(max(v**0.5, STD_FLOOR) for v in variances)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of all images, labels and class names: other data, other digits."""
        digest = hashlib.sha256(repr(self.class_names).encode())
        for name in _TENSORS:
            array = getattr(self, name).cpu().contiguous().numpy()
            digest.update(f"{name} {array.dtype.name} {array.shape}".encode())
            digest.update(array)
        return digest.hexdigest()[:16]

    def to(self, device: torch.device | str) -> ImageData:
        """The same data with all tensors on `device`; itself shares what is there already."""
        moved = {name: getattr(self, name).to(device) for name in _TENSORS}
        return replace(self, **moved)._remember({name: getattr(self, name) for name in _COMPUTED})

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as numpy arrays, the tensors without a copy; see `from_arrays`."""
        arrays = {name: getattr(self, name).cpu().numpy() for name in _TENSORS}
        texts = {name: np.array(getattr(self, name) or "") for name in _TEXTS}
        computed = {name: np.array(getattr(self, name)) for name in _COMPUTED}
        classes = {"class_names": np.array(self.class_names), "flip": np.array(self.flip)}
        return arrays | texts | computed | classes

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> ImageData:
        """The inverse of `arrays`; tensors share the arrays' memory."""
        with warnings.catch_warnings():
            # Arrays out of Ray's object store are read-only, and nobody writes into these.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            tensors = [torch.from_numpy(arrays[name]) for name in _TENSORS]
        name, source, validation, notice = (str(arrays[name]) for name in _TEXTS)
        class_names, flip = tuple(arrays["class_names"].tolist()), bool(arrays["flip"])
        data = cls(name, source, class_names, flip, validation, notice or None, *tensors)
        mean, std = (tuple(arrays[name].tolist()) for name in ("mean", "std"))
        return data._remember({"mean": mean, "std": std, "fingerprint": str(arrays["fingerprint"])})

    @classmethod
    def from_splits(
        cls,
        train: object,
        test: object = None,
        validation: object = None,
        *,
        name: str | None = None,
        class_names: Sequence[str] | None = None,
        flip: bool | None = None,
        validation_fraction: float = 0.1,
        split_seed: int = 0,
        label_column: str | None = None,
        image_column: str | None = None,
        resize: int | None = None,
    ) -> ImageData:
        """Data from Python objects, each split a pair (images, labels) or a data set.

        Images: numpy arrays or tensors N×C×H×W, N×H×W×C or N×H×W (grey), uint8 or floats in 0..1,
        which become round(255·x); or lists of such images, also PIL's, encoded ones and paths.
        Labels: N integers from 0, names or truth values. Data sets: PyTorch's with a length and
        items (image, label), each drawn once; Hugging Face's with an image and a label column.

        Args:
            test: without it a stratified fifth of `train`, always the same.
            validation: without it a stratified part of `train`.
            name: short, usable in a folder name.
            class_names: the name of label 0, 1, ...; without it those of the data sets, the sorted
                names among the labels, or "0", "1", ...
            flip: whether a mirrored image keeps its class; without it True unless the class names
                are letters or numbers.
            validation_fraction, split_seed, label_column, image_column, resize: as in
                `secnn.data.dataset.load_dataset`.

        Raises:
            DataError: naming the argument, or the split and the image.
        """
        expect_arguments("held-out", validation_fraction, split_seed)
        names = expected_names(class_names)
        parts = {"train": train, "test": test, "validation": validation}
        there = {split: part for split, part in parts.items() if part is not None}
        reading = Reading(label_column, image_column, resize)
        splits = from_parts(there, reading, name, names)
        splits = splits if flip is None else replace(splits, flip=flip)
        return divide(splits, "held-out", validation_fraction, split_seed)

    def _remember(self, computed: dict) -> ImageData:
        # Where cached_property keeps its values. `dataclasses.replace` starts without them, so
        # that a changed copy never shows the original's.
        self.__dict__.update(computed)
        return self


def divide(
    splits: Splits, validation: str, validation_fraction: float, split_seed: int
) -> ImageData:
    """The splits with their validation split chosen, as `secnn.data.load_dataset` says.

    Raises:
        DataError: an argument is out of its range, or does not fit the data.
    """
    expect_sound(splits)
    train, held_out = splits.train, splits.validation
    if validation == "test":
        held_out = splits.test
    elif held_out is not None:
        validation = "file"
    elif validation == "file":
        raise DataError(f"validation='file': {splits.source} has no validation split")
    else:
        where = f" of {splits.source}, for the validation split,"
        kept, taken = stratified_split(train[1], validation_fraction, split_seed, where)
        train, held_out = ((train[0][rows], train[1][rows]) for rows in (kept, taken))
    name, source, *class_names = map(printable, (splits.name, splits.source, *splits.class_names))
    notice = joined(splits.notice, untrained(splits))
    notice = notice and printable(notice)
    return ImageData(
        name, source, tuple(class_names), splits.flip, validation, notice,
        *train, *held_out, *splits.test,
    )  # fmt: skip


def expected_names(given: object) -> tuple[str, ...]:
    """Class names as a tuple, which is empty for None; DataError if they are none."""
    if given is None:
        return ()
    listed = [*given] if isinstance(given, Iterable) and not isinstance(given, str) else [None]
    if not all(isinstance(name, str) for name in listed):
        raise DataError(f"class_names={given!r}: expected a sequence of strings")
    return tuple(map(str, listed))


def expect_arguments(validation: str, validation_fraction: float, split_seed: int) -> None:
    """Raise DataError if one is out of its range: told before anything is read."""
    if validation not in VALIDATIONS:
        raise DataError(f"validation={validation!r}: expected one of {', '.join(VALIDATIONS)}")
    if not isinstance(validation_fraction, Real) or not 0 < validation_fraction < 1:
        raise DataError(f"validation_fraction={validation_fraction!r}: expected 0 < fraction < 1")
    if not isinstance(split_seed, Integral) or split_seed < 0:
        raise DataError(f"split_seed={split_seed!r}: expected an integer of at least 0")
