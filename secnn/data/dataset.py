"""A data set as resident uint8 tensors: training, validation and test images with labels.

``DATASETS`` holds the named sources; a new one is a function of the data folder that returns
:class:`~secnn.data.sources.Splits`, and one line there.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from secnn.data.image_files import image_folder, parquet
from secnn.data.sources import DataError, Splits, cifar10, cifar100, digits, stratified_split

__all__ = ["DATASETS", "DataError", "ImageData", "load_dataset"]

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
        return tuple(self.train_images.shape[1:])

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
        """The same data with all tensors on ``device``; itself shares what is there already."""
        moved = {name: getattr(self, name).to(device) for name in _TENSORS}
        return replace(self, **moved)._remember({name: getattr(self, name) for name in _COMPUTED})

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as numpy arrays, the tensors without a copy; see :meth:`from_arrays`."""
        arrays = {name: getattr(self, name).cpu().numpy() for name in _TENSORS}
        texts = {name: np.array(getattr(self, name) or "") for name in _TEXTS}
        computed = {name: np.array(getattr(self, name)) for name in _COMPUTED}
        classes = {"class_names": np.array(self.class_names), "flip": np.array(self.flip)}
        return arrays | texts | computed | classes

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> ImageData:
        """The inverse of :meth:`arrays`; tensors share the arrays' memory."""
        with warnings.catch_warnings():
            # Arrays out of Ray's object store are read-only, and nobody writes into these.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            tensors = {name: torch.from_numpy(arrays[name]) for name in _TENSORS}
        texts = {name: str(arrays[name]) for name in _TEXTS}
        texts["notice"] = texts["notice"] or None
        class_names = tuple(arrays["class_names"].tolist())
        data = cls(**texts, class_names=class_names, flip=bool(arrays["flip"]), **tensors)
        mean, std = (tuple(arrays[name].tolist()) for name in ("mean", "std"))
        return data._remember({"mean": mean, "std": std, "fingerprint": str(arrays["fingerprint"])})

    def _remember(self, computed: dict) -> ImageData:
        # Where cached_property keeps its values. `dataclasses.replace` starts without them, so
        # that a changed copy never shows the original's.
        self.__dict__.update(computed)
        return self


DATASETS: dict[str, Callable[[Path], Splits]] = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "digits": digits,
}


def _cifar10_or_digits(data_dir: Path) -> Splits:
    try:
        return DATASETS["cifar10"](data_dir)
    except DataError as error:
        notice = (
            "This ran on the bundled handwritten digits (1,797 images), not on CIFAR-10: its "
            f"accuracies cannot be compared with figures for CIFAR-10. {error}."
        )
        return replace(DATASETS["digits"](data_dir), notice=notice)


def _read(name: str, data_dir: Path) -> Splits:
    """Splits of a registered name, of ``auto``, or of the path of a file or folder."""
    if name == "auto":
        return _cifar10_or_digits(data_dir)
    if name in DATASETS:
        return DATASETS[name](data_dir)
    path = Path(name).expanduser()
    if path.is_file() or (path.is_dir() and any(path.glob("train*.parquet"))):
        return parquet(path)
    if (path / "train").is_dir():
        return image_folder(path)
    problem = "has no training data" if path.exists() else "is neither a data set nor a path"
    raise DataError(
        f"dataset {name!r} {problem}: expected one of {', '.join(['auto', *DATASETS])}; a Parquet "
        "file; a folder of train*.parquet and test*.parquet; or a folder of train/<class>/ and "
        "test/<class>/ with images"
    )


def load_dataset(
    name: str | Path = "auto",
    data_dir: str | Path = "data",
    validation: str = "held-out",
    validation_fraction: float = 0.1,
    split_seed: int = 0,
) -> ImageData:
    """Load a data set and choose its validation split.

    Args:
        name: ``auto`` (CIFAR-10 if it is on disk or downloadable, else the bundled digits with
            a ``notice``), a key of ``DATASETS``, or a path: a Parquet file, a folder of
            ``train*.parquet`` and ``test*.parquet``, or a folder of ``train/<class>/`` and
            ``test/<class>/``. A name goes before a path; write ``./digits`` for a folder.
        data_dir: where named data sets are, or are downloaded to.
        validation: "held-out": the data's own validation split if it has one (the result
            then says "file"), else a stratified part of the training set; "file": its own, or
            an error; "test": the test split, with all training images used for training.
        validation_fraction: part of the training set held out, in (0, 1).
        split_seed: seed of the hold-out; the test split never depends on it.

    Raises:
        DataError: the data is missing or unusable, or an argument is.
    """
    _check_arguments(validation, validation_fraction, split_seed)
    splits = _read(str(name), Path(data_dir).expanduser())
    if len(splits.class_names) < 2:
        raise DataError(f"dataset {str(name)!r} has {len(splits.class_names)} class: 2 are needed")
    train, held_out = splits.train, splits.validation
    if validation == "test":
        held_out = splits.test
    elif held_out is not None:
        validation = "file"
    elif validation == "file":
        raise DataError(f"validation='file': dataset {str(name)!r} has no validation split")
    else:
        kept, taken = stratified_split(train[1], validation_fraction, split_seed)
        train, held_out = ([part[rows] for part in train] for rows in (kept, taken))
    return ImageData(
        splits.name, splits.source, splits.class_names, splits.flip, validation, splits.notice,
        *train, *held_out, *splits.test,
    )  # fmt: skip


def _check_arguments(validation: str, validation_fraction: float, split_seed: int) -> None:
    if validation not in VALIDATIONS:
        raise DataError(f"validation={validation!r}: expected one of {', '.join(VALIDATIONS)}")
    if not 0 < validation_fraction < 1:
        raise DataError(f"validation_fraction={validation_fraction}: expected 0 < fraction < 1")
    if split_seed < 0:
        raise DataError(f"split_seed={split_seed}: expected an integer of at least 0")
