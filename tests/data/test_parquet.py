"""Parquet files: what is read is what was written, and what cannot be read is named."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pictures import (
    alternating,
    as_n_c_h_w,
    assert_sound,
    blobs,
    damaged,
    encode,
    pictures,
    refusal,
    write_parquet,
    write_splits,
)

from secnn.data import load_dataset


def test_a_folder_gives_the_written_images_in_order(folder):
    data = load_dataset(folder, validation="test")
    assert_sound(data)
    written = np.concatenate([pictures(10, seed=0), pictures(10, seed=1)])
    assert torch.equal(data.train_images, as_n_c_h_w(written))
    assert torch.equal(data.test_images, as_n_c_h_w(pictures(6, seed=2)))
    assert data.train_labels.tolist() == alternating(10) * 2
    assert data.class_names == ("cat", "dog") and data.classes == 2
    assert data.image_shape == (3, 8, 10)
    assert data.name == "pets" and data.source == f"Parquet: {folder}"
    assert data.flip and data.notice is None


def test_a_single_file_is_split_stratified_and_always_alike(tmp_path):
    images = pictures(50, size=(12, 9), channels=1)
    encoded = [encode(p) for p in images]
    file = write_parquet(tmp_path / "g.v1.parquet", encoded, alternating(50, 5), None, "image")
    first, second = load_dataset(str(file), split_seed=0), load_dataset(str(file), split_seed=9)
    assert_sound(first)
    assert first.name == "g.v1" and first.image_shape == (1, 12, 9)
    assert first.class_names == tuple("01234")
    assert not first.flip
    assert first.test_labels.bincount().tolist() == [2] * 5
    assert torch.equal(first.test_images, second.test_images)
    assert not torch.equal(first.validation_images, second.validation_images)
    parts = torch.cat([first.train_images, first.validation_images, first.test_images])
    assert sorted(p.numpy().tobytes() for p in parts) == sorted(p.tobytes() for p in images)


def test_a_validation_file_is_used_unless_the_test_split_is_asked_for(folder):
    write_parquet(folder / "validation.parquet", blobs(4, seed=5), alternating(4))
    for asked in ("held-out", "file"):
        data = load_dataset(folder, validation=asked)
        assert data.validation == "file" and len(data.train_images) == 20
        assert torch.equal(data.validation_images, as_n_c_h_w(pictures(4, seed=5)))
    assert load_dataset(folder, validation="test").validation_images.shape[0] == 6


# --- columns ------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["img", "image", "scan"])
@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.struct({"bytes": "binary"})])
def test_images_are_encoded_bytes_with_or_without_a_struct(folder, column, kind):
    encoded = blobs(6, seed=2)
    images = [{"bytes": b} for b in encoded] if pa.types.is_struct(kind) else encoded
    for file in folder.iterdir():
        table = pq.read_table(file).select(["label"])
        written = images if file.stem == "test-0" else images[:5] * 2
        pq.write_table(table.append_column(column, pa.array(written, kind)), file)
    asked = {"image_column": "scan"} if column == "scan" else {}
    assert torch.equal(load_dataset(folder, **asked).test_images, as_n_c_h_w(pictures(6, seed=2)))
    if column == "scan":
        assert "image_column (--image-column)" in refusal(folder)


def test_the_label_column_is_the_usual_or_the_only_usual_one_or_asked_for(tmp_path):
    images, fine, coarse = blobs(20), alternating(20, 4), alternating(20)
    file = write_parquet(tmp_path / "a.parquet", images, coarse, None, label="coarse_label")
    assert load_dataset(file).classes == 2
    both = pq.read_table(file).append_column("fine_label", pa.array(fine))
    pq.write_table(both, file)
    message = refusal(file)
    assert message.startswith(f"{file}: fine_label and coarse_label could each be the label")
    assert load_dataset(file, label_column="fine_label").classes == 4
    assert load_dataset(file, label_column="coarse_label").classes == 2
    assert "expected a column kind of integers" in refusal(file, label_column="kind")
    pq.write_table(both.append_column("label", pa.array(alternating(20, 5))), file)
    assert load_dataset(file).classes == 5


def test_two_columns_of_images_are_a_choice(tmp_path):
    file = write_parquet(tmp_path / "a.parquet", blobs(20), alternating(20))
    first = load_dataset(file).fingerprint
    other = write_parquet(tmp_path / "b.parquet", blobs(20, seed=1), alternating(20))
    both = pq.read_table(file).append_column("image", pq.read_table(other)["img"])
    pq.write_table(both, file)
    assert "img and image could each be the image: choose one by image_column" in refusal(file)
    assert load_dataset(file, image_column="img").fingerprint == first
    expected = load_dataset(other).fingerprint
    assert load_dataset(file, image_column="image").fingerprint == expected


def test_many_and_long_columns_are_told_shortly(tmp_path):
    columns = {f"x{i}": [{f"y{k}": 1 for k in range(50)}] for i in range(500)}
    file = tmp_path / "wide.parquet"
    pq.write_table(pa.table(columns), file)
    assert "and 480 more; image_column" in refusal(file)
    assert len(refusal(file)) < 2500
    assert "expected a column '' of encoded images" in refusal(file, image_column="")


def test_class_names_are_those_of_the_column_that_is_used(tmp_path):
    file = write_parquet(tmp_path / "a.parquet", blobs(20), alternating(20), label="kind")
    assert load_dataset(file, label_column="kind").class_names == ("cat", "dog")


def test_wrong_columns_are_listed(tmp_path):
    file = tmp_path / "wrong.parquet"
    for columns in (
        {"x": [1]},
        {"img": [1], "label": [1]},
        {"img": [{"bytes": b"a"}], "label": [1.5]},
        {"img": [{"bytes": b"a"}], "label": [[1]]},
        {"img": [{"bytes": "a"}], "label": [1]},
        {"img": [{"bytes": b"a"}]},
        {"img": [{"path": "a"}], "label": [1]},
    ):
        pq.write_table(pa.table(columns), file)
        message = refusal(file)
        assert message.startswith(f"{file}: expected a column ")
        assert all(f"{name}: " in message for name in columns)


def test_metadata_that_names_no_classes_and_metadata_that_is_damaged(folder):
    table = pq.read_table(folder / "test-0.parquet")
    for stored, accepted in (
        ('{"info": {"features": {"label": {"_type": "Value"}}}}', True),
        ("{", False),
        ("[]", False),
        ('{"info": {}}', False),
    ):
        changed = table.replace_schema_metadata({"huggingface": stored})
        pq.write_table(changed, folder / "test-0.parquet")
        if accepted:
            assert load_dataset(folder).class_names == ("cat", "dog")
        else:
            assert "'huggingface' is not JSON" in refusal(folder)


def test_shards_must_agree_on_class_names(folder):
    write_parquet(folder / "test-0.parquet", blobs(4), alternating(4), ("dog", "cat"))
    assert "class names differ" in refusal(folder)


# --- rows ---------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["train-1", "test-0"])
def test_a_missing_label_and_a_missing_image_are_named(folder, part):
    file = folder / f"{part}.parquet"
    write_parquet(file, blobs(9), [0, 1, 0, 1, 0, 1, 0, 1, None])
    assert refusal(folder) == f"{file}, row 8: the label is missing (null)"
    write_parquet(file, [*blobs(8), None], alternating(9))
    assert refusal(folder).startswith(f"{file}, row 8: the image is missing, there is only the pa")
    table = pq.read_table(file)
    images = pa.array([*table["img"].to_pylist()[:8], None], table["img"].type)
    pq.write_table(table.set_column(0, "img", images), file)
    assert refusal(folder) == f"{file}, row 8: the image is missing (null)"


@pytest.mark.parametrize("part", ["train-1", "test-0"])
@pytest.mark.parametrize("damage", damaged())
def test_an_unusable_image_is_named_with_its_row(folder, part, damage):
    blob, reason = damaged()[damage]
    file = write_parquet(folder / f"{part}.parquet", [*blobs(8), blob], alternating(9))
    message = refusal(folder)
    assert message.startswith(f"{file}, row 8: ") and reason in message
    assert " at 0x" not in message


@pytest.mark.parametrize("empty", ["train-0", "train-1", "train-2"])
def test_shards_without_rows_are_skipped_whatever_their_columns(folder, empty):
    expected = load_dataset(folder, validation="test")
    table = pa.table({"img": pa.array([], pa.null()), "label": pa.array([], pa.null())})
    if empty != "train-2":
        names = sorted(p for p in folder.glob("train-*"))
        for path in reversed(names[int(empty[-1]) :]):
            path.rename(folder / f"train-{int(path.stem[-1]) + 1}.parquet")
    pq.write_table(table, folder / f"{empty}.parquet")
    assert load_dataset(folder, validation="test").fingerprint == expected.fingerprint


def test_a_split_without_rows_and_a_single_class_are_refused(folder, tmp_path):
    one = write_parquet(tmp_path / "one.parquet", blobs(9), [0] * 9, None)
    assert refusal(one) == f"Parquet: {one} has 1 class: 2 are needed"
    file = write_parquet(folder / "test-0.parquet", [], [])
    assert refusal(folder) == f"{file}: the file has no rows"


def test_a_truncated_or_foreign_file_is_one_clear_line(folder):
    whole = (folder / "test-0.parquet").read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-20] + whole[-8:], b"", b"not parquet" * 9):
        (folder / "test-0.parquet").write_bytes(content)
        assert f"{folder / 'test-0.parquet'}: not a readable Parquet file" in refusal(folder)


def test_relative_paths_are_told_as_they_were_given(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert load_dataset("pets").source == "Parquet: pets"
    write_splits(folder.parent / "digits", "train.parquet", "test.parquet")
    assert load_dataset(folder.parent.joinpath("digits").relative_to(folder.parent)).classes == 2
