"""Labels: whatever a class is written as, it is the same class; what is none is named."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from pictures import alternating, blobs, pictures, refusal, write_parquet

from secnn.data import load_dataset

INTEGERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64())
UNSIGNED = (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())


def labels_of(tmp_path, train, test, names=None) -> tuple:
    """Class names and labels of what is read from a training and a test file."""
    write_parquet(tmp_path / "train.parquet", blobs(len(train)), train, names)
    write_parquet(tmp_path / "test.parquet", blobs(len(test)), test, names)
    data = load_dataset(tmp_path, validation="test")
    return data.class_names, data.train_labels.tolist(), data.test_labels.tolist()


@pytest.mark.parametrize("kind", [*INTEGERS, *UNSIGNED])
def test_integers_of_any_type_are_classes(tmp_path, kind):
    train, test = [2, 0, 1, 2, 0, 1], [1, 1, 2]
    arrays = [pa.array(labels, kind) for labels in (train, test)]
    assert labels_of(tmp_path, *arrays) == (("0", "1", "2"), train, test)
    encoded = [array.dictionary_encode() for array in arrays]
    assert labels_of(tmp_path, *encoded) == (("0", "1", "2"), train, test)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
)
def test_names_are_classes_in_sorted_order(tmp_path, kind):
    words = ("wasp", "ant", "Bee")
    train, test = [words[i] for i in (0, 1, 2, 0, 2)], ["ant", "wasp"]
    names, *labels = labels_of(tmp_path, *(pa.array(x).cast(kind) for x in (train, test)))
    assert names == tuple(sorted(words))
    assert [[names[i] for i in split] for split in labels] == [train, test]


def test_given_class_names_decide_the_order_of_names_too(tmp_path):
    train, test = pa.array(["dog", "cat", "dog"]), pa.array(["cat"])
    found = labels_of(tmp_path, train, test, ("dog", "cat"))
    assert found == (("dog", "cat"), [0, 1, 0], [1])


def test_truth_values_are_two_classes(tmp_path):
    found = labels_of(tmp_path, pa.array([True, False, True]), pa.array([True]))
    assert found == (("False", "True"), [1, 0, 1], [1])


def test_a_class_that_training_lacks_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"test.parquet, row 1: label 'fly' is not among the clas"):
        labels_of(tmp_path, pa.array(["ant", "bee"]), pa.array(["ant", "fly"]))


def test_splits_with_other_kinds_of_labels_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"test.parquet, row 0: the label is a name, the first on"):
        labels_of(tmp_path, pa.array([0, 1]), pa.array(["0", "1"]))


@pytest.mark.parametrize("names", [("cat", "dog"), None])
@pytest.mark.parametrize("label", [-1, 2, 1 << 40])
def test_a_label_out_of_range_is_named(folder, names, label):
    labels = alternating(10)
    labels[7] = label
    for part in ("train-0", "train-1", "test-0"):
        chosen = labels if part == "test-0" else alternating(10)
        file = write_parquet(folder / f"{part}.parquet", blobs(10), chosen, names)
    message = refusal(folder)
    assert message.startswith(f"{file}, row 7: label {label} is outside 0..1")
    assert ("label is not known" in message) == (label == -1)


def test_labels_from_one_and_beyond_64_bits_are_refused(tmp_path):
    file = tmp_path / "a.parquet"
    write_parquet(file, blobs(10), [1, 2] * 5, None)
    assert "row 1: label 2 is outside 0..1 (2 classes): without class names" in refusal(file)
    write_parquet(file, blobs(2), np.array([0, 2**64 - 1], np.uint64).tolist(), None, kind="uint64")
    assert f"row 1: label {2**64 - 1} is outside" in refusal(file)


def test_names_as_labels_need_different_class_names(tmp_path):
    """Of integers each has its own class, however that is called."""
    file = write_parquet(tmp_path / "a.parquet", blobs(20), alternating(20), ("crane", "crane"))
    assert load_dataset(file).classes == 2
    names = pa.array(["crane", "crane"] * 10)
    write_parquet(file, blobs(20), names, ("crane", "crane"))
    assert "expected different ones, as labels are names, got 'crane' twice" in refusal(file)


def test_missing_numbers_are_told_as_such():
    images = pictures(4)
    for nothing in (float("nan"), np.float32("nan"), torch.tensor(float("nan"))):
        message = refusal({"train": (images, [0, nothing, 0, 1]), "test": (images, [0, 1, 0, 1])})
        assert message == "train image 1: the label is missing (NaN)"
    message = refusal({"train": (images, [0, [1, 0], 0, 1]), "test": (images, [0, 1, 0, 1])})
    assert message.startswith("train image 1: the label is of type list, expected an integer")
