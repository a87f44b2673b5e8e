"""Data sets from Python: the same images and labels in any form are the same data."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import (
    IMAGES,
    LABELS,
    alternating,
    as_n_c_h_w,
    assert_sound,
    blobs,
    encode,
    pictures,
    refusal,
    same_data,
    write_parquet,
)
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from secnn.data import DataError, ImageData, load_dataset


class Pets(Dataset):
    """Items (image, label), each made by `form` of the pixels."""

    classes = ("cat", "dog")

    def __init__(self, split: str, form=lambda pixels: pixels, label=lambda label: label):
        self.split, self.form, self.label = split, form, label

    def __len__(self) -> int:
        return len(IMAGES[self.split])

    def __getitem__(self, index: int) -> tuple:
        return self.form(IMAGES[self.split][index]), self.label(LABELS[self.split][index])


def to_float(pixels: np.ndarray) -> torch.Tensor:
    """What torchvision's `ToTensor` gives."""
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255


def arrays(form=lambda images: images, label=lambda labels: labels) -> dict:
    return {split: (form(IMAGES[split]), label(LABELS[split])) for split in IMAGES}


# --- arrays -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        np.asarray,
        as_n_c_h_w,
        torch.from_numpy,
        lambda images: as_n_c_h_w(images).numpy(),
        lambda images: as_n_c_h_w(images) / 255,
        lambda images: images / 255,
        list,
        lambda images: [Image.fromarray(pixels) for pixels in images],
        lambda images: tuple(map(encode, images)),
    ],
)
@pytest.mark.parametrize(
    "label",
    [
        list,
        np.array,
        torch.tensor,
        lambda labels: np.array(labels, np.uint8)[:, None],
        lambda labels: [np.int16(label) for label in labels],
        lambda labels: [torch.tensor(label) for label in labels],
    ],
)
def test_arrays_of_any_form_are_the_same_data(written, form, label):
    data = load_dataset(arrays(form, label))
    assert_sound(data)
    assert same_data(data, written)
    assert data.class_names == ("0", "1") and not data.flip
    assert (data.name, data.source, data.validation) == ("arrays", "arrays in memory", "file")


def test_grey_arrays_have_one_channel():
    images, labels = pictures(20, channels=1), alternating(20)
    data = load_dataset((images, labels), validation="test")
    assert data.image_shape == (1, 8, 10)
    assert same_data(data, load_dataset((images[..., None], labels), validation="test"))


def test_mappings_and_tuples_are_the_same_data(written):
    parts = arrays()
    assert same_data(load_dataset((parts["train"], parts["test"], parts["val"])), written)
    pair = load_dataset((parts["train"], list(parts["test"])))
    assert pair.validation == "held-out" and len(pair.train_images) == 18
    assert torch.equal(pair.test_images, written.test_images)


def test_a_single_split_is_divided_as_a_single_file_is(tmp_path):
    file = write_parquet(tmp_path / "a.parquet", map(encode, IMAGES["train"]), LABELS["train"])
    expected = load_dataset(file)
    assert same_data(load_dataset(arrays()["train"]), expected)
    assert same_data(load_dataset(Pets("train")), expected)
    assert same_data(ImageData.from_splits(Pets("train")), expected)
    assert same_data(load_dataset({"train": Pets("train")}), expected)


def test_a_mapping_without_a_test_split_keeps_its_validation_split(written):
    parts = {split: pair for split, pair in arrays().items() if split != "test"}
    data = load_dataset(parts)
    assert data.validation == "file"
    assert torch.equal(data.validation_images, written.validation_images)
    assert same_data(data, ImageData.from_splits(parts["train"], validation=parts["val"]))


def test_names_as_labels_are_classes(written):
    data = load_dataset(arrays(label=lambda labels: [("dog", "ant")[i] for i in labels]))
    assert data.class_names == ("ant", "dog") and data.flip
    assert torch.equal(data.test_labels, 1 - written.test_labels)


def test_from_splits_takes_names_and_what_they_say_of_mirroring(written):
    parts = arrays()
    keywords = {"test": parts["test"], "validation": parts["val"], "name": "mine"}
    data = ImageData.from_splits(parts["train"], class_names=["cat", "dog"], **keywords)
    assert data.fingerprint == written.fingerprint
    assert data.name == "mine" and data.class_names == ("cat", "dog") and data.flip
    assert not ImageData.from_splits(parts["train"], class_names=("a", "b"), **keywords).flip
    assert ImageData.from_splits(parts["train"], flip=True, **keywords).flip
    held_out = ImageData.from_splits(parts["train"], validation_fraction=0.3, split_seed=5)
    assert same_data(held_out, load_dataset(parts["train"], validation_fraction=0.3, split_seed=5))
    assert ImageData.from_splits(parts["train"], resize=8).image_shape == (3, 8, 8)


@pytest.mark.parametrize(
    "names", [lambda: (name for name in ("cat", "dog")), lambda: np.array(["cat", "dog"])]
)
def test_class_names_are_any_sequence_of_strings(names):
    data = ImageData.from_splits(arrays()["train"], class_names=names())
    assert data.class_names == ("cat", "dog")
    assert {type(name) for name in data.class_names} == {str}


def test_arguments_of_another_kind_are_named():
    with pytest.raises(DataError, match=r"train: expected a pair .*, got None"):
        ImageData.from_splits(None)
    with pytest.raises(DataError, match="name=3: expected a string"):
        ImageData.from_splits(arrays()["train"], name=3)


def test_a_class_without_training_images_is_told():
    train = IMAGES["train"], np.array(LABELS["train"]) * 2
    data = ImageData.from_splits(train, class_names=("cat", "cow", "dog", "eel"))
    assert data.notice == "2 classes have no training images: cow, eel."
    with pytest.raises(DataError, match=r"train split: all .* images are of one class"):
        ImageData.from_splits((IMAGES["train"], np.ones_like(train[1])), class_names=("a", "b"))


@pytest.mark.parametrize("class_names", ["ab", (1, 2), 3])
def test_class_names_are_strings(class_names):
    with pytest.raises(DataError, match=r"class_names=.*: expected a sequence of strings"):
        ImageData.from_splits(arrays()["train"], class_names=class_names)


# --- PyTorch's data sets ------------------------------------------------------------------


@pytest.mark.parametrize(
    "form", [np.asarray, Image.fromarray, to_float, lambda p: to_float(p).mul(255).byte(), encode]
)
@pytest.mark.parametrize("label", [int, torch.tensor, np.int64])
def test_items_of_any_form_are_the_same_data(written, form, label):
    data = load_dataset({split: Pets(split, form, label) for split in IMAGES})
    assert data.fingerprint == written.fingerprint
    assert data.class_names == ("cat", "dog") and data.flip
    assert (data.name, data.source) == ("pets", "Pets in memory")


def test_each_item_is_drawn_once():
    drawn = []
    load_dataset(Pets("train", label=lambda label: drawn.append(label) or label))
    assert len(drawn) == 20


def test_subsets_keep_the_names_of_classes_and_tensors_have_none():
    assert load_dataset(Subset(Pets("train"), range(10))).class_names == ("cat", "dog")
    data = load_dataset(TensorDataset(as_n_c_h_w(IMAGES["train"]), torch.tensor(LABELS["train"])))
    assert data.class_names == ("0", "1") and data.name == "tensordataset"


def test_names_of_classes_are_not_taken_for_labels_that_something_changed():
    coarse = Pets("train", label=lambda label: 1 - label)
    coarse.target_transform = coarse.label
    assert load_dataset(coarse).class_names == ("0", "1")

    class Wrapped(Pets):
        classes = None

        def __init__(self, split: str):
            super().__init__(split)
            self.dataset = Pets(split)

    assert load_dataset(Wrapped("train")).class_names == ("0", "1")


def test_torchvisions_names_of_digits_are_digits():
    digits = Pets("train")
    digits.classes = ["0 - zero", "1 - one"]
    assert load_dataset(digits).class_names == ("0", "1")
    assert not load_dataset(digits).flip


def test_splits_must_agree_on_class_names():
    other = Pets("test")
    other.classes = ["dog", "cat"]
    assert "the test split: class names differ from those of the train split" in refusal(
        (Pets("train"), other)
    )


# --- what is refused ----------------------------------------------------------------------


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])


class LongStream(Stream):
    def __len__(self) -> int:
        return 20


@pytest.mark.parametrize(
    "source, reason",
    [
        (None, "got NoneType"),
        (3, "got int"),
        (IMAGES["train"], "got an array uint8 20×8×10×3"),
        ([], "got list of 0"),
        ((1, 2, 3), "got tuple of 3"),
        ({}, "expected the splits train and perhaps test and validation, got none"),
        (
            {"test": Pets("test")},
            "expected the splits train and perhaps test and validation, got test",
        ),
        ({"train": 1, "test": 2, "extra": 3}, "got train, test, extra: leave 'extra' out"),
        ({"train": 1, "test": 2, "val": 3, "dev": 4}, "leave 'dev' out"),
        ({"train": 1, "test": Pets("test")}, "train split: expected a pair"),
        (Stream(), "got Stream"),
        (LongStream(), "got LongStream"),
        (Pets("train", form=np.float64), "train image 0: expected an image of floats in 0..1"),
        (Pets("train", label=float), "train image 0: the label is of type float, expected an int"),
        (Pets("train", label=lambda label: label - 1), "train image 0: label -1 is outside"),
        ((IMAGES["train"], LABELS["train"][1:]), "there are 20 images, but 19 labels"),
        ((IMAGES["train"].reshape(20, -1), LABELS["train"]), "got uint8 20×240"),
        ((IMAGES["train"], np.eye(20)), "one for each image, got float64 20×20"),
        ((IMAGES["train"].astype(int), LABELS["train"]), "train image 0: expected an image uint8"),
        ((IMAGES["train"], ["a", 1] * 10), "train image 1: the label is an integer, the first on"),
        ((IMAGES["train"], [0] * 20), "arrays in memory has 1 class: 2 are needed"),
        (((IMAGES["train"], LABELS["train"]), (IMAGES["test"][:0], [])), "test split has no image"),
        (([*IMAGES["train"], pictures(1, size=(9, 9))[0]], alternating(21)), "train image 20: im"),
    ],
)
def test_other_objects_are_refused(source, reason):
    assert reason in refusal(source)


def test_items_that_are_no_pairs_are_named():
    class Dicts(Pets):
        def __getitem__(self, index):
            return {"image": 1}

    assert refusal(Dicts("train")) == ("train image 0: expected an item (image, label), got dict")


def test_data_frames_are_refused():
    import pandas as pd

    assert "DataFrame has no item 0" in refusal(pd.DataFrame({"image": blobs(2), "label": [0, 1]}))


def test_arrays_have_no_columns():
    assert refusal(arrays()["train"], label_column="y") == (
        "label_column='y': there are no columns in arrays"
    )


def test_strings_are_paths(written, tmp_path):
    paths = {}
    for split, images in IMAGES.items():
        paths[split] = [str(tmp_path / f"{split}{i}.png") for i in range(len(images))]
        for path, image in zip(paths[split], images, strict=True):
            Path(path).write_bytes(encode(image))
    data = load_dataset({split: (paths[split], LABELS[split]) for split in IMAGES})
    assert same_data(data, written)
