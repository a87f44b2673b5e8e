"""From pictures and labels, split by split, to `secnn.data.splits.Splits`."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from secnn.data.decoding import Stack
from secnn.data.labels import encode
from secnn.data.splits import DataError, Portion, Reading, Splits, flips, joined, with_test_split


def assemble(
    name: str,
    source: str,
    portions: Mapping[str, Portion],
    class_names: tuple[str, ...] | None,
    reading: Reading,
    notice: str | None = None,
) -> Splits:
    """Decode the pictures and encode the labels of "train", and of "test" and "validation".

    Without "test" a stratified fifth of the training set, always the same, is the test split.

    Raises:
        DataError: naming the place of what cannot be used.
    """
    for split, portion in portions.items():
        if not portion.labels:
            raise DataError(f"{source}: the {split} split has no images")
    stack = Stack(reading.resize)
    names, labels = encode(portions, class_names)
    images = {
        split: stack.add(portion.pictures, len(portion.labels), portion.place)
        for split, portion in portions.items()
    }
    images = stack.finish(images)
    splits = {s: (torch.from_numpy(images[s]), torch.from_numpy(labels[s])) for s in images}
    if "test" not in splits:
        splits["train"], splits["test"] = with_test_split(*splits["train"])
    if stack.greys:
        greys = f"{stack.greys:,} grey image{'s' * (stack.greys != 1)}"
        notice = joined(notice, f"{greys} among colour images became colour.")
    return Splits(name, source, names, flips(names), notice=notice, **splits)
