"""Which Parquet files are read as which split: all of it, nothing else, and nothing twice."""

import pytest
import torch
from pictures import alternating, blobs, refusal, write_classes, write_parquet, write_splits

from secnn.data import load_dataset

HASH = "-0123456789abcdef"


def counts(data) -> tuple[int, int, int]:
    return len(data.train_images), len(data.validation_images), len(data.test_images)


@pytest.mark.parametrize("place", ["", "data/", "default/", "plain_text/"])
@pytest.mark.parametrize(
    "shards",
    [
        ("{}.parquet",),
        ("{}-0.parquet", "{}-1.parquet"),
        ("{}_0.parquet", "{}_1.parquet"),
        ("{}0.parquet", "{}1.parquet"),
        ("{}-00000-of-00001.parquet",),
        ("{}-00000-of-00002.parquet", "{}-00001-of-00002.parquet"),
        (f"{{}}-00000-of-00001{HASH}.parquet",),
        ("{}/0000.parquet", "{}/0001.parquet"),
        ("{}/part-a.snappy.parquet",),
    ],
)
def test_splits_are_found_as_programs_write_them(tmp_path, place, shards):
    splits = ("train", "test", "validation")
    files = [place + shard.format(split) for split in splits for shard in shards]
    data = load_dataset(write_splits(tmp_path, *files))
    assert counts(data) == (6 * len(shards),) * 3
    assert data.validation == "file" and data.notice is None


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev"])
def test_a_validation_split_has_several_names(tmp_path, name):
    write_splits(tmp_path, "train.parquet", "test.parquet", f"{name}-0.parquet")
    assert load_dataset(tmp_path).validation == "file"
    write_splits(tmp_path, "validation.parquet" if name != "validation" else "dev.parquet")
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path}: the validation split is there 2 times, as ")
    assert f"{name}-*.parquet" in message


@pytest.mark.parametrize(
    "other",
    [
        "train_full-00000-of-00001.parquet",
        "train_noisy.parquet",
        "training.parquet",
        "trainval.parquet",
        "train-a.parquet",
        "train.v2.parquet",
        "my_train.parquet",
        "test_matched-00000-of-00001.parquet",
        "tests.parquet",
        "validation_full.parquet",
        "Train.parquet",
        "data/train_full.parquet",
        "partial-train/0000.parquet",
        "train/deep/0000.parquet",
        "train-00001-of-00002.PARQUET",
        "train (1).parquet",
        "test.pq",
        "train.parquet/part-0.snappy.parquet",
    ],
)
def test_files_of_other_splits_are_named_and_not_read(tmp_path, other):
    write_splits(tmp_path, "train-00000-of-00001.parquet", "test-00000-of-00001.parquet")
    expected = load_dataset(tmp_path).fingerprint
    write_splits(tmp_path, other)
    data = load_dataset(tmp_path)
    assert data.fingerprint == expected
    assert data.notice.startswith(f"1 Parquet file left out (not named after a split): {other}.")


def test_many_files_of_other_splits_are_counted(tmp_path):
    others = [f"extra-{i}.parquet" for i in range(5)]
    data = load_dataset(write_splits(tmp_path, "train.parquet", "test.parquet", *others))
    assert data.notice.startswith("5 Parquet files left out")
    assert data.notice.endswith("extra-0.parquet, extra-1.parquet, extra-2.parquet and 2 more.")


@pytest.mark.parametrize("litter", [".ipynb_checkpoints", "__MACOSX", ".cache", "__pycache__"])
def test_litter_is_skipped_without_a_word(tmp_path, litter):
    write_splits(tmp_path, "train.parquet", "test.parquet", "._train.parquet", ".DS_Store")
    write_splits(tmp_path / litter, "train.parquet", "test.parquet")
    write_splits(tmp_path / "data" / litter, "train.parquet")
    data = load_dataset(tmp_path, validation="test")
    assert counts(data) == (6, 6, 6) and data.notice is None


@pytest.mark.parametrize(
    "twice",
    [
        ("train.parquet", "train-0.parquet"),
        ("train-0.parquet", "train_0.parquet"),
        ("train.parquet", "data/train.parquet"),
        ("train.parquet", "train/0000.parquet"),
        ("train-00000-of-00001.parquet", "train-00000-of-00002.parquet"),
        (f"train-00000-of-00001{HASH}.parquet", "train-00000-of-00001.parquet"),
        ("train/a-00000-of-00001.parquet", "train/a-00000-of-00002.parquet"),
    ],
)
def test_a_split_that_is_there_twice_is_refused(tmp_path, twice):
    message = refusal(write_splits(tmp_path, "test.parquet", *twice))
    assert message.startswith(f"{tmp_path}: the ") and "train split" in message


def test_missing_shards_are_told(tmp_path):
    write_splits(tmp_path, "train-00001-of-00003.parquet", "test.parquet")
    assert load_dataset(tmp_path).notice == "The train split has 1 of its 3 files."


@pytest.mark.parametrize(
    ("indices", "total", "is_series"),
    [
        ((0, 1), 2, True),
        ((1, 2), 2, True),
        ((0, 2), 2, False),
        ((2, 3), 2, False),
        ((0, 1), 1, False),
    ],
)
def test_shards_are_counted_from_0_or_from_1(tmp_path, indices, total, is_series):
    files = [f"train-{index:05}-of-{total:05}.parquet" for index in indices]
    write_splits(tmp_path, *files, "test.parquet")
    if is_series:
        assert load_dataset(tmp_path).notice is None
    else:
        assert "the files of the train split are of several series" in refusal(tmp_path)


def test_several_data_sets_in_a_folder_are_a_choice(tmp_path):
    for name in ("cifar10", "cifar100"):
        write_splits(tmp_path / name, "train-0.parquet", "test-0.parquet")
    assert refusal(tmp_path) == (
        f"{tmp_path} has several data sets: name one of the folders cifar10, cifar100 in it"
    )
    assert load_dataset(tmp_path / "cifar100").name == "cifar100"


def test_a_folder_without_a_split_of_the_usual_names_lists_what_is_there(tmp_path):
    write_splits(tmp_path, "training.parquet", "test.parquet")
    assert "(test.parquet, training.parquet match no split)" in refusal(tmp_path)
    write_splits(tmp_path / "upper", "train.PARQUET", "test.PARQUET")
    assert "(test.PARQUET, train.PARQUET match no split)" in refusal(tmp_path / "upper")
    write_classes(tmp_path / "classes", "Train", "Test")
    assert "(Test/, Train/ match no split)" in refusal(tmp_path / "classes")
    write_splits(tmp_path, "train.parquet")
    (tmp_path / "test.parquet").unlink()
    assert "none for the test split" in refusal(tmp_path)


def test_shards_are_read_in_the_order_of_their_names(tmp_path):
    for i in (10, 9, 0):
        write_parquet(tmp_path / f"train-{i:05}-of-00011.parquet", blobs(2, seed=i), [0, 1])
    write_parquet(tmp_path / "test.parquet", blobs(2), alternating(2))
    data = load_dataset(tmp_path, validation="test")
    singles = []
    for i in (0, 9, 10):
        write_parquet(tmp_path / str(i) / "train.parquet", blobs(2, seed=i), [0, 1])
        write_parquet(tmp_path / str(i) / "test.parquet", blobs(2), alternating(2))
        singles.append(load_dataset(tmp_path / str(i), validation="test").train_images)
    assert torch.equal(data.train_images, torch.cat(singles))


def test_class_folders_beside_parquet_files_are_told(tmp_path):
    write_classes(tmp_path, "train")
    data = load_dataset(write_splits(tmp_path, "train.parquet", "test.parquet"))
    assert data.notice == "1 folder left out (the Parquet files are used): train/."


def test_a_link_to_its_own_folder_does_not_matter(tmp_path):
    write_splits(tmp_path, "train.parquet", "test.parquet")
    (tmp_path / "again").symlink_to(tmp_path)
    assert load_dataset(tmp_path).notice is None
