"""Named data sets: on disk, downloadable or not, and those of the user."""

import hashlib
import io
import pickle
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import alternating, assert_sound, refusal, write_classes

from secnn.data import DATASETS, load_dataset, sources
from secnn.data.splits import DataError, Splits


def test_digits_are_bundled_grey_and_never_flipped():
    data = load_dataset("digits")
    assert_sound(data)
    assert data.image_shape == (1, 32, 32) and data.classes == 10 and not data.flip
    counts = [len(getattr(data, f"{s}_labels")) for s in ("train", "validation", "test")]
    assert counts == [1294, 144, 359]
    assert data.train_images.max() == 255 and data.train_images.min() == 0


@pytest.fixture
def offline(monkeypatch):
    """No address answers; the list of those asked."""
    asked = []
    monkeypatch.setattr(sources, "_starts", lambda url: bool(asked.append(url)))
    return asked


def test_auto_falls_back_to_digits_and_says_so(tmp_path, offline):
    data = load_dataset("auto", data_dir=tmp_path / "nothing")
    assert data.name == "digits" and len(offline) == 1
    assert "not on CIFAR-10" in data.notice and "1,797" in data.notice
    assert str(tmp_path / "nothing") in data.notice
    assert load_dataset("digits").notice is None
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_named_cifar_without_disk_or_net_says_what_to_do(tmp_path, offline, name):
    message = refusal(name, data_dir=tmp_path)
    assert offline[0] in message and str(tmp_path) in message and "unpack" in message


def test_a_silent_server_counts_as_no_download(monkeypatch):
    test_is_over = threading.Event()

    def say_nothing(url, timeout):
        test_is_over.wait()
        raise TimeoutError

    monkeypatch.setattr(sources, "PROBE_SECONDS", 0.05)
    monkeypatch.setattr(sources.urllib.request, "urlopen", say_nothing)
    assert not sources._starts("https://example.invalid/")
    test_is_over.set()


def test_an_answering_server_counts_as_a_download(monkeypatch):
    monkeypatch.setattr(sources.urllib.request, "urlopen", lambda *_, **__: io.BytesIO(b"x"))
    assert sources._starts("https://example.invalid/")
    monkeypatch.setattr(sources.urllib.request, "urlopen", lambda *_, **__: io.BytesIO(b""))
    assert not sources._starts("https://example.invalid/")


@pytest.fixture
def tiny_cifar(tmp_path, monkeypatch):
    """A CIFAR-10 folder of 20 + 10 images whose MD5 sums torchvision is made to expect."""
    from torchvision.datasets import CIFAR10

    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    for index, (attribute, file) in enumerate(
        (
            ("train_list", "data_batch_1"),
            ("train_list", "data_batch_2"),
            ("test_list", "test_batch"),
        )
    ):
        pixels = np.random.default_rng(index).integers(0, 256, (10, 3072), dtype=np.uint8)
        content = pickle.dumps({"data": pixels, "labels": alternating(10, 5)}, protocol=2)
        # As an old numpy wrote it: numbers, not booleans, in the type; numpy 2.4 warns of them.
        content = content.replace(b"\x89\x88\x87", b"K\x01K\x01\x87")
        (folder / file).write_bytes(content)
        listed = [] if index == 0 else [e for e in getattr(CIFAR10, attribute) if index == 1]
        entry = [file, hashlib.md5(content).hexdigest()]
        monkeypatch.setattr(CIFAR10, attribute, [*listed, entry])
    content = pickle.dumps({"label_names": list("abcde")})
    (folder / "batches.meta").write_bytes(content)
    md5 = hashlib.md5(content).hexdigest()
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5})
    return folder


def test_a_torchvision_of_another_pytorch_is_told(monkeypatch, tmp_path):
    """As pip leaves it where it took the two from different indices."""
    for module in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, module)
    package = tmp_path / "torchvision"
    package.mkdir()
    broken = "raise RuntimeError('operator torchvision::nms does not exist')"
    (package / "__init__.py").write_text(broken)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match=r"cannot be imported \(operator torchvision::nms does not"):
        load_dataset("cifar10", data_dir=tmp_path)
    data = load_dataset("auto", data_dir=tmp_path)
    assert data.name == "digits" and "install the build of it that fits" in data.notice


@pytest.mark.parametrize("name", ["cifar10", "auto"])
def test_cifar_on_disk_is_read_without_asking_the_net(tiny_cifar, offline, name):
    data = load_dataset(name, data_dir=tiny_cifar.parent, validation="test")
    assert_sound(data)
    assert data.name == "cifar10" and data.flip and data.notice is None and not offline
    expected = np.random.default_rng(2).integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)
    assert np.array_equal(data.test_images.numpy(), expected)
    assert data.train_labels.tolist() == alternating(10, 5) * 2


@pytest.mark.parametrize("file", ["data_batch_2", "test_batch", "batches.meta"])
def test_cifar_file_with_another_md5_is_never_unpickled(tiny_cifar, offline, monkeypatch, file):
    path = tiny_cifar / file
    path.write_bytes(b"\x80\x02c__builtin__\nexit\nK\x07\x85R.")
    assert "is incomplete or damaged" in refusal("cifar10", data_dir=tiny_cifar.parent)
    assert len(offline) == 1
    assert "is incomplete or damaged" in load_dataset("auto", data_dir=tiny_cifar.parent).notice


def test_a_new_data_set_is_one_entry(monkeypatch):
    images, labels = torch.zeros(40, 2, 8, 8, dtype=torch.uint8), torch.arange(40) % 4

    def stripes(data_dir):
        return Splits("stripes", "test", tuple("abcd"), True, (images, labels), (images, labels))

    monkeypatch.setitem(DATASETS, "stripes", stripes)
    data = load_dataset("stripes")
    assert data.image_shape == (2, 8, 8)
    assert data.mean == (0, 0) and data.std == (1 / 255, 1 / 255)


def test_an_unknown_name_lists_names_and_layouts(tmp_path):
    message = refusal("cifar11")
    layouts = ("train*.parquet", "train/<class>/", "Parquet file", "hf:OWNER/NAME")
    for part in ("'cifar11'", "auto", *DATASETS, *layouts):
        assert part in message
    assert "has no training data" in refusal(tmp_path)
    assert "neither a data set nor a path" in refusal(tmp_path / "missing")


@pytest.mark.parametrize("name", ["", " ", "~nobody-is-called-so/x", "a\0b", "a" * 5000])
def test_what_can_be_no_path_is_refused_shortly(name, tmp_path, monkeypatch):
    """Also where this folder itself is a data set: an empty name is one that nobody set."""
    monkeypatch.chdir(write_classes(tmp_path, "train", "test"))
    message = refusal(name)
    assert "is neither a data set nor a path" in message and len(message) < 700
    assert load_dataset(".").classes == 3


def test_a_path_is_never_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "neither a data set nor a path" in refusal(Path("digits"))


def test_a_name_is_given_once():
    with pytest.raises(ValueError, match="dataset: the name 'digits' is taken"):
        DATASETS["digits"] = DATASETS["cifar10"]


def test_names_have_no_columns():
    message = refusal("digits", label_column="label")
    assert message == "label_column='label': there are no columns in dataset 'digits'"


def unsound() -> dict[str, tuple]:
    """(images, labels), and what is refused of it."""
    images, labels = torch.zeros(40, 1, 8, 8, dtype=torch.uint8), torch.arange(40) % 2
    return {
        "floats": (images.float(), labels, "got float32 40×1×8×8"),
        "no channels": (images[:, 0], labels, "got uint8 40×8×8"),
        "small": (images[..., :7], labels, "8 to 4096 pixels a side"),
        "other size": (images.repeat(1, 1, 1, 2), labels, "must have one size"),
        "fewer labels": (images, labels[1:], "for each of 40 images, got int64 39"),
        "other labels": (images, labels.int(), "got int32 40"),
        "no images": (images[:0], labels[:0], "for each of 0 images"),
        "negative": (images, labels - 1, "labels are -1..0, expected 0..1"),
        "classes": (images, labels + 1, "labels are 1..2, expected 0..1"),
    }


@pytest.mark.parametrize("split", ["train", "test", "validation"])
@pytest.mark.parametrize("fault", unsound())
def test_what_a_data_set_of_the_users_has_wrong_is_named(monkeypatch, split, fault):
    images, labels, reason = unsound()[fault]
    sound = torch.zeros(40, 1, 8, 8, dtype=torch.uint8), torch.arange(40) % 2
    parts = {"train": sound, "test": sound, split: (images, labels)}
    splits = Splits("mine", "my images", ("a", "b"), False, **parts)
    monkeypatch.setitem(DATASETS, "mine", lambda data_dir: splits)
    message = refusal("mine")
    assert reason in message
    assert message.startswith("my images, ")
    assert split in message or fault == "other size"


def test_named_images_are_resized_too():
    data = load_dataset("digits", resize=16)
    assert data.image_shape == (1, 16, 16)
    assert data.source.endswith("scaled to 16 pixels on the shorter side and cut to 16×16")
    assert load_dataset("digits", resize=32).fingerprint == load_dataset("digits").fingerprint
