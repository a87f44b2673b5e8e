"""Hugging Face's data sets: the same data as the same images in files."""

import importlib.util

import pytest
import torch
from pictures import IMAGES, LABELS, encode, refusal
from PIL import Image

from secnn.data import load_dataset


class ClassLabel:
    names = ("cat", "dog")


class Value:
    pass


class ImageFeature:
    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


class Table:
    """As much of `datasets.Dataset` as is used."""

    def __init__(self, columns: dict, features: dict) -> None:
        self.columns, self.features = columns, features

    column_names = property(lambda self: list(self.columns))

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, column: str) -> list:
        assert not getattr(self.features[column], "decode", False)
        return self.columns[column]

    def cast_column(self, name: str, feature: object) -> "Table":
        return Table(self.columns, self.features | {name: feature})

    def with_format(self, kind: None) -> "Table":
        return Table(self.columns, self.features)


def table(split: str, label="label", feature=ClassLabel, **others) -> Table:
    images = [{"bytes": encode(p), "path": None} for p in IMAGES[split]]
    features = {"image": ImageFeature(), label: feature(), **{name: Value() for name in others}}
    return Table({"image": images, label: LABELS[split], **others}, features)


def test_tables_are_the_same_data(written):
    data = load_dataset({split: table(split) for split in IMAGES})
    assert data.fingerprint == written.fingerprint and data.flip


def test_tables_may_hold_paths_and_arrays(written, tmp_path):
    tables = {split: table(split) for split in IMAGES}
    for split, one in tables.items():
        for i, pixels in enumerate(IMAGES[split]):
            path = tmp_path / f"{split}{i}.png"
            path.write_bytes(encode(pixels))
            one.columns["image"][i] = {"bytes": None, "path": str(path)} if i % 2 else pixels
    assert load_dataset(tables).fingerprint == written.fingerprint


def test_columns_of_tables_can_be_named(written):
    tables = {s: table(s, "fine_label", coarse_label=[0] * len(IMAGES[s])) for s in IMAGES}
    assert "fine_label and coarse_label could each be the label" in refusal(tables)
    assert load_dataset(tables, label_column="fine_label").fingerprint == written.fingerprint
    message = refusal(tables, image_column="scan", label_column="fine_label")
    assert "expected a column scan of encoded images" in message
    assert "image: ImageFeature, fine_label: ClassLabel, coarse_label: Value" in message


def test_tables_without_labels_are_refused():
    tables = (table("train"), table("test"))
    tables[1].columns["label"] = [-1] * 6
    assert "test row 0: label -1 is outside 0..1" in refusal(tables)
    tables[1].columns["label"] = [None] * 6
    assert refusal(tables) == "test row 0: the label is missing (null)"


@pytest.mark.skipif(not importlib.util.find_spec("datasets"), reason="needs the package datasets")
def test_hugging_faces_own_data_sets_are_the_same_data(written):
    import datasets

    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    parts = datasets.DatasetDict(
        {
            split: datasets.Dataset.from_dict(
                {"image": list(map(Image.fromarray, IMAGES[split])), "label": LABELS[split]},
                features,
            )
            for split in IMAGES
        }
    )
    assert load_dataset(parts).fingerprint == written.fingerprint
    shuffled = load_dataset(
        {split: part.select(range(len(part) - 1, -1, -1)) for split, part in parts.items()}
    )
    assert torch.equal(shuffled.train_images, written.train_images.flip(0))
    assert load_dataset(parts.with_format("torch")).fingerprint == written.fingerprint
    assert "got IterableDataset" in refusal(parts["train"].to_iterable_dataset())
