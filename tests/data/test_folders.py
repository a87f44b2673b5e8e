"""Class folders: every image in them is read, and every other file is named."""

import io
import os

import pytest
import torch
from pictures import (
    as_n_c_h_w,
    assert_sound,
    blobs,
    damaged,
    encode,
    pictures,
    refusal,
    write_classes,
)
from PIL import Image

from secnn.data import load_dataset

FORMATS = {"PNG": {}, "BMP": {}, "TIFF": {}, "PPM": {}, "WEBP": {"lossless": True}}


def test_images_are_read_in_torchvisions_order(class_folders):
    from torchvision.datasets import ImageFolder

    inner = class_folders / "train" / "ant" / "a"
    for name in ("a", "a-b", "a/c"):
        (class_folders / "train" / "ant" / name).mkdir(parents=True)
        (class_folders / "train" / "ant" / name / "0.PNG").write_bytes(blobs(1, seed=len(name))[0])
    (inner / "10.png").write_bytes(blobs(1, seed=8)[0])
    (inner / "9.png").write_bytes(blobs(1, seed=9)[0])
    data = load_dataset(class_folders, validation="test")
    assert_sound(data)
    assert data.class_names == ("Bee", "ant", "zebra") and data.name == "animals" and data.flip
    assert data.source == f"image folders: {class_folders}" and data.notice is None
    for split, images, labels in (
        ("train", data.train_images, data.train_labels),
        ("test", data.test_images, data.test_labels),
    ):
        folder = ImageFolder(class_folders / split)
        assert labels.tolist() == folder.targets
        read = [torch.tensor(list(image.tobytes())) for image, _ in folder]
        assert torch.equal(images.permute(0, 2, 3, 1).flatten(1), torch.stack(read))


@pytest.mark.parametrize("suffix", ["", ".jfif", ".gif", ".image", ".JPG", ".txt"])
@pytest.mark.parametrize("kind", FORMATS)
def test_content_tells_an_image_not_its_suffix(class_folders, kind, suffix):
    file = class_folders / "train" / "ant" / "3.png"
    file.unlink()
    file.with_suffix(suffix).write_bytes(encode(pictures(5, seed=3)[3], kind=kind, **FORMATS[kind]))
    data = load_dataset(class_folders, validation="test")
    assert torch.equal(data.train_images[5:10], as_n_c_h_w(pictures(5, seed=3)))
    assert data.notice is None


def test_the_first_frame_of_a_moving_image_is_read(class_folders):
    frames = [Image.fromarray(p) for p in pictures(2, channels=1)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    for split in ("train", "test"):
        for file in (class_folders / split).glob("*/*"):
            file.with_suffix(".gif").write_bytes(buffer.getvalue())
            file.unlink()
    images = load_dataset(class_folders).train_images
    assert (images == as_n_c_h_w(pictures(2, channels=1))[0]).all()


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev"])
def test_a_validation_folder_has_several_names(tmp_path, name):
    data = load_dataset(write_classes(tmp_path, "train", "test", name))
    assert data.validation == "file"
    assert torch.equal(data.validation_images[5:10], as_n_c_h_w(pictures(5, seed=23)))
    other = "val" if name != "val" else "dev"
    (tmp_path / other).symlink_to(tmp_path / name)
    assert "both name the validation split" in refusal(tmp_path)


def test_a_test_folder_is_needed(class_folders):
    (class_folders / "test").rename(class_folders / "val")
    assert refusal(class_folders).startswith(f"{class_folders / 'test'}: no such folder")


@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize("litter", [".ipynb_checkpoints", "__MACOSX", ".git", "@eaDir"])
def test_hidden_folders_are_skipped_everywhere(class_folders, litter, empty):
    expected = load_dataset(class_folders).fingerprint
    for place in ("", "train", "test", "train/ant", "test/Bee"):
        folder = class_folders / place / litter
        folder.mkdir()
        if not empty:
            (folder / "0-checkpoint.png").write_bytes(blobs(1, size=(9, 9))[0])
    data = load_dataset(class_folders)
    assert data.fingerprint == expected and data.notice is None


@pytest.mark.parametrize("litter", [".DS_Store", "Thumbs.db", "._0.png", "desktop.ini"])
def test_hidden_files_are_skipped_everywhere(class_folders, litter):
    expected = load_dataset(class_folders).fingerprint
    for place in ("", "train", "train/ant", "test/Bee"):
        (class_folders / place / litter).write_bytes(b"litter")
    data = load_dataset(class_folders)
    assert data.fingerprint == expected and data.notice is None


def test_other_files_and_folders_are_counted_and_named(class_folders):
    expected = load_dataset(class_folders).fingerprint
    (class_folders / "train" / "labels.csv").write_text("a,b")
    (class_folders / "test" / "0.png").write_bytes(blobs(1)[0])
    for i in range(3):
        (class_folders / "train" / "ant" / f"note{i}.txt").write_text("not an image")
    os.mkfifo(class_folders / "train" / "ant" / "pipe.png")
    (class_folders / "extra").mkdir()
    (class_folders / "README.md").write_text("no image either, and in no split")
    (class_folders / "preview").write_bytes(blobs(1)[0])
    data = load_dataset(class_folders)
    assert data.fingerprint == expected
    assert data.notice == (
        "7 files left out (not in a class folder, or no images of a known format): "
        "train/labels.csv, train/ant/note0.txt, train/ant/note1.txt and 4 more. "
        "1 folder left out (not named after a split): extra/."
    )


@pytest.mark.parametrize("damage", damaged())
def test_an_unusable_image_is_named(class_folders, damage):
    blob, reason = damaged()[damage]
    file = class_folders / "test" / "ant" / "3.png"
    file.write_bytes(blob)
    message = refusal(class_folders)
    assert message.startswith(f"{file}: ") and reason in message


def test_a_damaged_image_without_a_suffix_is_named(class_folders):
    file = class_folders / "test" / "ant" / "3"
    file.write_bytes(damaged()["truncated JPEG"][0])
    assert refusal(class_folders).startswith(f"{file}: damaged image")


def test_a_link_to_nothing_is_named_and_one_that_leads_back_is_not_followed(class_folders):
    expected = load_dataset(class_folders).fingerprint
    (class_folders / "train" / "ant" / "again").symlink_to(class_folders / "train" / "ant")
    assert load_dataset(class_folders).fingerprint == expected
    link = class_folders / "train" / "ant" / "gone.png"
    link.symlink_to(class_folders / "nothing.png")
    assert refusal(class_folders).startswith(f"{link}: cannot be read (No such file")


def test_a_link_to_a_folder_that_holds_other_classes_too_is_not_followed(class_folders):
    expected = load_dataset(class_folders).fingerprint
    for up in (class_folders, class_folders / "train", class_folders.parent):
        link = class_folders / "train" / "ant" / "up"
        link.symlink_to(up)
        assert load_dataset(class_folders).fingerprint == expected
        link.unlink()


def test_names_that_end_lines_or_colour_terminals_become_text(tmp_path):
    folder = tmp_path / "my\npets"
    write_classes(folder, "train", "test", classes=("a\nb", "\x1b[31mred"))
    data = load_dataset(folder)
    assert data.class_names == (r"\x1b[31mred", r"a\nb")
    assert data.name == r"my\npets" and "\n" not in data.source


def test_names_that_are_not_utf8_become_text(tmp_path):
    """What tells of them, JSON and Parquet, is UTF-8."""
    folder = tmp_path / os.fsdecode(b"pets\xfe")
    write_classes(folder, "train", "test", classes=(os.fsdecode(b"\xff"), "花 の種", "e\u0301"))
    data = load_dataset(folder)
    assert data.class_names == ("e\u0301", "花 の種", r"\udcff")
    assert data.name == r"pets\udcfe"
    "".join((data.name, data.source, *data.class_names)).encode("utf-8")


def test_folders_must_agree_on_classes_and_hold_images(class_folders):
    (class_folders / "test" / "ant").rename(class_folders / "test" / "wasp")
    assert refusal(class_folders).endswith("its classes differ from those of train: ant, wasp")
    (class_folders / "train" / "ant").rename(class_folders / "train" / "wasp")
    for file in (class_folders / "train" / "wasp").iterdir():
        file.write_text("not an image")
        file.rename(file.with_suffix(".txt"))
    assert refusal(class_folders) == (
        f"{class_folders / 'train' / 'wasp'}: there are no images in this folder"
    )


def test_folders_have_no_columns(class_folders):
    assert "there are no columns in the image folders of" in refusal(
        class_folders, image_column="image"
    )
