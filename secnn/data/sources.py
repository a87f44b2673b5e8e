"""Named data sets: CIFAR-10, CIFAR-100, and the bundled digits."""

from __future__ import annotations

import threading
import urllib.request
import warnings
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from secnn.data.splits import DataError, Splits, stratified_split, with_test_split
from secnn.files import first_line

__all__ = ["DataError", "Splits", "cifar10", "cifar100", "digits", "stratified_split"]

PROBE_SECONDS = 5.0


def _starts(url: str) -> bool:
    """Whether a download of `url` gives its first byte within `PROBE_SECONDS`."""
    started = threading.Event()

    def ask() -> None:
        with (
            suppress(OSError, HTTPException),
            urllib.request.urlopen(url, timeout=PROBE_SECONDS) as reply,
        ):
            if reply.read(1):
                started.set()

    # A thread, because a timeout given to urlopen does not cover the look-up of the host name.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return started.is_set()


def _cifar(title: str, data_dir: Path) -> Splits:
    """CIFAR by torchvision, which unpickles a file only after it has checked its MD5 sum."""
    datasets = _torchvision_datasets(title)
    name = title.lower().replace("-", "")
    dataset = getattr(datasets, title.replace("-", ""))
    folder = data_dir / dataset.base_folder
    try:
        with warnings.catch_warnings():
            # numpy 2.4 deprecates how the numpy that pickled these files stored a type.
            warnings.filterwarnings("ignore", message=r"dtype\(\): align")
            _obtain(dataset, data_dir)
            train, test = (dataset(data_dir, train=part) for part in (True, False))
    except (RuntimeError, OSError) as error:
        state = "is incomplete or damaged" if folder.exists() else "is not on disk"
        raise DataError(
            f"{title} {state} under {str(data_dir)!r} and cannot be downloaded ({error}): unpack "
            f"{dataset.url} so that {str(folder)!r} is there, or name another data set or path"
        ) from error
    names = tuple(train.classes)
    train, test = (
        (torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(part.targets))
        for part in (train, test)
    )
    return Splits(name, f"{title} (torchvision): {folder}", names, True, train, test)


def _torchvision_datasets(title: str) -> Any:
    """Imported where it is used: torchvision takes longer to import than the rest together."""
    try:
        from torchvision import datasets
    except Exception as error:  # A build for another PyTorch fails in ways of its own.
        raise DataError(
            f"{title} is read by torchvision, which cannot be imported ({first_line(error)}): "
            "install the build of it that fits this PyTorch"
        ) from error
    return datasets


def _obtain(dataset: Any, data_dir: Path) -> None:
    """Have all of the data set's files under `data_dir`, with the right MD5 sums.

    Raises:
        RuntimeError, OSError: they are not there and cannot be downloaded.
    """
    from torchvision.datasets.utils import check_integrity

    with suppress(RuntimeError):  # raised where a file is missing or its sum differs
        dataset(data_dir, train=False)
        return
    archive = data_dir / dataset.filename
    if not check_integrity(archive, dataset.tgz_md5) and not _starts(dataset.url):
        raise ConnectionError("its server does not answer")
    dataset(data_dir, train=False, download=True)


def cifar10(data_dir: Path) -> Splits:
    """CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 colour images, 32×32, 10 classes."""
    return _cifar("CIFAR-10", data_dir)


def cifar100(data_dir: Path) -> Splits:
    """CIFAR-100 (Krizhevsky 2009): 50,000 + 10,000 colour images, 32×32, 100 classes."""
    return _cifar("CIFAR-100", data_dir)


def digits(data_dir: Path) -> Splits:
    """1,797 handwritten digits, bundled; `data_dir` is not used.

    E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, 1998, https://doi.org/10.24432/C50P49, licence CC BY 4.0. This is its test set
    as scikit-learn ships it, 8×8 with values 0..16; here it is enlarged to 32×32 bilinearly and
    scaled to 0..255. A stratified fifth, always the same, is the test split.
    """
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as stored:
        small = torch.from_numpy(stored["images"])[:, None].double()
        labels = torch.from_numpy(stored["labels"]).long()
    large = F.interpolate(small, size=(32, 32), mode="bilinear") * (255 / 16)
    train, test = with_test_split(large.round().to(torch.uint8), labels)
    source = "bundled handwritten digits (UCI, 1,797 images, CC BY 4.0)"
    return Splits("digits", source, tuple("0123456789"), False, train, test)
