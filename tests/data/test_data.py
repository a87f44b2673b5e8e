"""Data sets: what is read is what was written, splits are sound, bad input is named."""

import dataclasses
import hashlib
import io
import json
import pickle
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from secnn.data import dataset as data_module
from secnn.data import sources
from secnn.data.dataset import DATASETS, DataError, ImageData, load_dataset
from secnn.data.sources import Splits, stratified_split

CIFAR = Path(__file__).resolve().parents[3] / "shared" / "cifar10-jpeg"
TENSORS = [
    f"{split}_{part}" for split in ("train", "validation", "test") for part in ("images", "labels")
]


def encode(pixels: np.ndarray, mode: str | None = None, kind: str = "PNG") -> bytes:
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, kind)
    return buffer.getvalue()


def pictures(count: int, size=(8, 10), channels: int = 3, seed: int = 0) -> np.ndarray:
    """Random uint8 images N×H×W×3, or N×H×W where ``channels`` is 1."""
    shape = (count, *size) if channels == 1 else (count, *size, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_parquet(path: Path, blobs, labels, names=("cat", "dog"), column="img", kind=None) -> Path:
    images = [{"bytes": blob, "path": f"{i}.png"} for i, blob in enumerate(blobs)]
    struct = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = pa.table(
        {column: pa.array(images, struct), "label": pa.array(labels, kind or pa.int64())}
    )
    if names is not None:
        features = {column: {"_type": "Image"}, "label": {"names": list(names)}}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        table = table.replace_schema_metadata(metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=7)
    return path


def alternating(count: int, classes: int = 2) -> list[int]:
    return [i % classes for i in range(count)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Parquet folder: 20 training images in two shards, 6 test images; 2 classes."""
    for index, part in enumerate(("train-0", "train-1", "test-0")):
        count = 6 if part == "test-0" else 10
        blobs = [encode(p) for p in pictures(count, seed=index)]
        write_parquet(tmp_path / "pets" / f"{part}.parquet", blobs, alternating(count))
    return tmp_path / "pets"


def as_n_c_h_w(images: np.ndarray) -> torch.Tensor:
    images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return torch.from_numpy(images.copy())


def refusal(*arguments, **keywords) -> str:
    """The message with which the arguments are refused: always one line."""
    with pytest.raises(DataError) as caught:
        load_dataset(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_sound(data: ImageData) -> None:
    for name in TENSORS:
        tensor = getattr(data, name)
        assert tensor.is_contiguous()
        assert tensor.dtype == (torch.uint8 if name.endswith("images") else torch.int64)
    for split in ("train", "validation", "test"):
        images, labels = getattr(data, f"{split}_images"), getattr(data, f"{split}_labels")
        assert len(images) == len(labels) > 0
        assert tuple(images.shape[1:]) == data.image_shape
        assert labels.min() >= 0 and labels.max() < data.classes


# --- Parquet ------------------------------------------------------------------------------


def test_parquet_folder_gives_the_written_images_in_order(folder):
    data = load_dataset(folder, validation="test")
    assert_sound(data)
    written = np.concatenate([pictures(10, seed=0), pictures(10, seed=1)])
    assert torch.equal(data.train_images, as_n_c_h_w(written))
    assert torch.equal(data.test_images, as_n_c_h_w(pictures(6, seed=2)))
    assert data.train_labels.tolist() == alternating(10) * 2
    assert data.class_names == ("cat", "dog") and data.classes == 2
    assert data.image_shape == (3, 8, 10)
    assert data.name == "pets" and str(folder) in data.source
    assert data.flip and data.notice is None


@pytest.mark.parametrize("kind", [pa.int64(), pa.int32(), pa.int8()])
def test_single_grey_file_is_split_stratified_and_always_alike(tmp_path, kind):
    images = pictures(50, size=(12, 9), channels=1)
    blobs = [encode(p) for p in images]
    file = write_parquet(tmp_path / "g.v1.parquet", blobs, alternating(50, 5), None, "image", kind)
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


def test_palette_alpha_and_cmyk_images_become_rgb(folder):
    blobs = [encode(p, m) for p, m in zip(pictures(2), ("P", "RGBA"), strict=True)]
    blobs += [encode(pictures(1)[0], "CMYK", "TIFF"), encode(pictures(1)[0], kind="WEBP")]
    write_parquet(folder / "test-0.parquet", blobs, alternating(4))
    data = load_dataset(folder)
    assert data.test_images.shape == (4, 3, 8, 10)
    assert torch.equal(data.test_images[1], as_n_c_h_w(pictures(2))[1])


def test_transparent_palette_image_warns_of_nothing(folder):
    image = Image.fromarray(pictures(1)[0]).convert("P")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=bytes(range(256)))
    write_parquet(folder / "test-0.parquet", [buffer.getvalue()] * 2, [0, 1])
    expected = np.asarray(image.convert("RGB"))[None]
    assert torch.equal(load_dataset(folder).test_images[:1], as_n_c_h_w(expected))


def test_validation_file_is_used_unless_the_test_split_is_asked_for(folder):
    blobs = [encode(p) for p in pictures(4, seed=5)]
    write_parquet(folder / "validation.parquet", blobs, alternating(4))
    for asked in ("held-out", "file"):
        data = load_dataset(folder, validation=asked)
        assert data.validation == "file" and len(data.train_images) == 20
        assert torch.equal(data.validation_images, as_n_c_h_w(pictures(4, seed=5)))
    assert load_dataset(folder, validation="test").validation_images.shape[0] == 6


@pytest.mark.parametrize("names", [("cat", "dog"), None])
@pytest.mark.parametrize("label", [-1, 2, 1 << 40])
def test_label_out_of_range_is_named(folder, names, label):
    labels = alternating(10)
    labels[7] = label
    for part in ("train-0", "train-1", "test-0"):
        blobs = [encode(p) for p in pictures(10)]
        chosen = labels if part == "test-0" else alternating(10)
        file = write_parquet(folder / f"{part}.parquet", blobs, chosen, names)
    assert refusal(folder).startswith(f"{file}, row 7: label {label} is outside 0..1")


@pytest.mark.parametrize("part", ["train-1", "test-0"])
def test_missing_label_and_missing_image_are_named(folder, part):
    file = folder / f"{part}.parquet"
    blobs = [encode(p) for p in pictures(9)]
    write_parquet(file, blobs, [0, 1, 0, 1, 0, 1, 0, 1, None])
    assert refusal(folder) == f"{file}, row 8: the label is missing (null)"
    write_parquet(file, [*blobs[:8], None], alternating(9))
    assert refusal(folder) == f"{file}, row 8: the image is missing (null)"


def damaged_blobs() -> dict[str, tuple[bytes, str]]:
    good = encode(pictures(1, size=(32, 32))[0], kind="JPEG")
    sixteen_bits = encode(np.zeros((8, 10), np.uint16))
    return {
        "truncated JPEG": (good[: len(good) // 2], "damaged image"),
        "truncated PNG": (encode(pictures(1)[0])[:60], "damaged image"),
        "no image": (b"hello", "not an image of a known format"),
        "empty": (b"", "not an image of a known format"),
        "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 10\n", "not an image"),
        "other size": (encode(pictures(1, size=(10, 8))[0]), "must have one size and mode"),
        "other mode": (encode(pictures(1, channels=1)[0]), "must have one size and mode"),
        "16 bits": (sixteen_bits, "not 8-bit grey or colour"),
    }


@pytest.mark.parametrize("part", ["train-1", "test-0"])
@pytest.mark.parametrize("damage", damaged_blobs())
def test_unusable_image_is_named_with_its_row(folder, part, damage):
    blob, reason = damaged_blobs()[damage]
    blobs = [encode(p) for p in pictures(9)]
    blobs[8] = blob
    file = write_parquet(folder / f"{part}.parquet", blobs, alternating(9))
    message = refusal(folder)
    assert message.startswith(f"{file}, row 8: ") and reason in message
    assert " at 0x" not in message


def test_too_small_image_is_refused(tmp_path):
    blobs = [encode(p) for p in pictures(10, size=(7, 20))]
    file = write_parquet(tmp_path / "small.parquet", blobs, alternating(10))
    assert "row 0: image is RGB 20×7" in refusal(file)


def test_truncated_or_foreign_file_is_one_clear_line(folder):
    whole = (folder / "test-0.parquet").read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-20] + whole[-8:], b"", b"not parquet" * 9):
        (folder / "test-0.parquet").write_bytes(content)
        assert f"{folder / 'test-0.parquet'}: not a readable Parquet file" in refusal(folder)


def test_wrong_columns_are_listed(tmp_path):
    file = tmp_path / "wrong.parquet"
    for columns in (
        {"x": [1]},
        {"img": [1], "label": [1]},
        {"img": [{"bytes": b"a"}], "label": ["cat"]},
        {"img": [{"bytes": "a"}], "label": [1]},
        {"img": [{"bytes": b"a"}]},
        {"img": [{"path": "a"}], "label": [1]},
    ):
        pq.write_table(pa.table(columns), file)
        assert all(f"{name}: " in refusal(file) for name in columns)
        assert "expected columns img (or image)" in refusal(file)


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
    blobs = [encode(p) for p in pictures(4)]
    write_parquet(folder / "test-0.parquet", blobs, alternating(4), ("dog", "cat"))
    assert "class names differ" in refusal(folder)


def test_empty_file_missing_test_split_and_single_class_are_refused(folder, tmp_path):
    one = write_parquet(tmp_path / "one.parquet", [encode(p) for p in pictures(9)], [0] * 9, None)
    assert "has 1 class: 2 are needed" in refusal(one)
    write_parquet(folder / "test-0.parquet", [], [])
    assert "no rows" in refusal(folder)
    (folder / "test-0.parquet").unlink()
    assert "no test*.parquet" in refusal(folder)


# --- class folders ------------------------------------------------------------------------


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    for index, split in enumerate(("train", "test")):
        for name in ("zebra", "ant", "Bee"):
            place = tmp_path / "animals" / split / name
            place.mkdir(parents=True)
            for i, pixels in enumerate(pictures(5, seed=10 * index + len(name))):
                (place / f"{i}.png").write_bytes(encode(pixels))
    return tmp_path / "animals"


def test_class_folders_are_read_in_torchvision_order(class_folders):
    (class_folders / "train" / "ant" / "notes.txt").write_text("not an image")
    data = load_dataset(class_folders, validation="test")
    assert_sound(data)
    assert data.class_names == ("Bee", "ant", "zebra") and data.name == "animals" and data.flip
    assert data.train_labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert torch.equal(data.train_images[10:], as_n_c_h_w(pictures(5, seed=5)))
    assert torch.equal(data.test_images[10:], as_n_c_h_w(pictures(5, seed=15)))


def test_validation_class_folder_is_used(class_folders):
    (class_folders / "test").rename(class_folders / "validation")
    assert f"{class_folders / 'test'}: " in refusal(class_folders)
    (class_folders / "test").symlink_to(class_folders / "validation")
    data = load_dataset(class_folders)
    assert data.validation == "file" and torch.equal(data.validation_images, data.test_images)


@pytest.mark.parametrize("damage", damaged_blobs())
def test_unusable_file_in_a_class_folder_is_named(class_folders, damage):
    blob, reason = damaged_blobs()[damage]
    file = class_folders / "test" / "ant" / "3.png"
    file.write_bytes(blob)
    message = refusal(class_folders)
    assert message.startswith(f"{file}: ") and reason in message


def test_class_folders_must_agree_and_hold_images(class_folders):
    (class_folders / "test" / "ant").rename(class_folders / "test" / "wasp")
    assert refusal(class_folders).endswith("its classes differ from those of train: ant, wasp")
    (class_folders / "train" / "wasp").mkdir()
    assert f"{class_folders / 'train'}: " in refusal(class_folders)
    assert "wasp" in refusal(class_folders)


# --- named data sets ----------------------------------------------------------------------


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


def test_unknown_name_lists_names_and_layouts(tmp_path):
    message = refusal("cifar11")
    layouts = ("train*.parquet", "train/<class>/", "Parquet file")
    for part in ("'cifar11'", "auto", *DATASETS, *layouts):
        assert part in message
    assert "has no training data" in refusal(tmp_path)
    assert "neither a data set nor a path" in refusal(tmp_path / "missing")


# --- splits -------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.05, 0.1, 1 / 3, 0.5, 0.9, 0.999])
def test_stratified_split_keeps_proportions_and_every_class(fraction):
    counts = [1, 2, 3, 10, 37, 100, 251]
    order = torch.randperm(sum(counts), generator=torch.Generator().manual_seed(1))
    labels = torch.repeat_interleave(torch.tensor(counts))[order]
    kept, taken = stratified_split(labels, fraction, seed=3)
    assert sorted([*kept.tolist(), *taken.tolist()]) == list(range(len(labels)))
    assert kept.equal(kept.sort().values) and taken.equal(taken.sort().values)
    got = labels[taken].bincount(minlength=len(counts)).tolist()
    for n, m in zip(counts, got, strict=True):
        assert abs(m - fraction * n) < 1 and m < n
    assert abs(len(taken) - fraction * len(labels)) <= 1 or fraction > 0.5


def test_hold_out_depends_on_its_seed_alone(folder):
    torch.manual_seed(0)
    first = load_dataset(folder, validation_fraction=0.3, split_seed=4)
    torch.manual_seed(1)
    np.random.seed(1)
    again = load_dataset(folder, validation_fraction=0.3, split_seed=4)
    other = load_dataset(folder, validation_fraction=0.3, split_seed=5)
    assert all(torch.equal(getattr(first, t), getattr(again, t)) for t in TENSORS)
    assert not torch.equal(first.validation_images, other.validation_images)
    assert torch.equal(first.test_images, other.test_images)
    assert first.validation == "held-out"
    assert first.validation_labels.bincount().tolist() == [3, 3]


def test_hold_out_and_training_are_disjoint_and_complete(folder):
    everything = load_dataset(folder, validation="test").train_images
    data = load_dataset(folder, validation_fraction=0.3)
    parts = [p.numpy().tobytes() for p in (*data.train_images, *data.validation_images)]
    assert sorted(parts) == sorted(p.numpy().tobytes() for p in everything)
    assert len(set(parts)) == len(parts) == 20


def test_validation_on_the_test_split_trains_on_everything(folder):
    data = load_dataset(folder, validation="test")
    assert data.validation == "test" and len(data.train_images) == 20
    assert data.validation_images is data.test_images
    assert data.validation_labels is data.test_labels


def test_bad_arguments_are_named(folder):
    for fraction in (0, 1, -0.1, float("nan")):
        assert "validation_fraction=" in refusal(folder, validation_fraction=fraction)
    assert "held-out, file, test" in refusal(folder, validation="train")
    assert "split_seed=-1" in refusal(folder, split_seed=-1)
    assert "no validation split" in refusal(folder, validation="file")
    assert "takes none" in refusal(folder, validation_fraction=0.001)


# --- ImageData ----------------------------------------------------------------------------


def test_mean_and_std_are_those_of_the_training_images(folder, monkeypatch):
    monkeypatch.setattr(data_module, "CHUNK", 7)
    data = load_dataset(folder)
    values = data.train_images.double() / 255
    mean, std = values.mean(dim=(0, 2, 3)), values.std(dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(torch.tensor(data.mean, dtype=torch.float64), mean)
    torch.testing.assert_close(torch.tensor(data.std, dtype=torch.float64), std)


def test_fingerprint_tells_any_change_of_the_data(folder):
    data = load_dataset(folder)
    assert data.fingerprint == load_dataset(folder).fingerprint
    prints = {data.fingerprint}
    for name in TENSORS:
        changed = getattr(data, name).clone()
        changed.view(-1)[0] += 1
        prints.add(dataclasses.replace(data, **{name: changed}).fingerprint)
    prints.add(dataclasses.replace(data, class_names=("dog", "cat")).fingerprint)
    prints.add(load_dataset(folder, split_seed=8).fingerprint)
    assert len(prints) == len(TENSORS) + 3


@pytest.mark.parametrize("notice", [None, "read this"])
def test_arrays_round_trip_shares_memory_and_keeps_everything(folder, notice):
    data = dataclasses.replace(load_dataset(folder), notice=notice)
    arrays = data.arrays()
    for array in arrays.values():
        array.flags.writeable = False
    again = ImageData.from_arrays(arrays)
    for name in TENSORS:
        assert getattr(again, name).data_ptr() == getattr(data, name).data_ptr()
    for name in ("name", "source", "class_names", "flip", "validation", "notice"):
        assert getattr(again, name) == getattr(data, name)
        assert type(getattr(again, name)) is type(getattr(data, name))
    for name in ("mean", "std", "fingerprint", "classes", "image_shape"):
        assert getattr(again, name) == getattr(data, name)


def test_to_keeps_what_was_computed_and_shares_what_is_there(folder):
    data = load_dataset(folder)
    moved = data.to("cpu")
    assert moved.train_images.data_ptr() == data.train_images.data_ptr()
    on_meta = data.to("meta")
    assert on_meta.train_images.device.type == "meta"
    assert (on_meta.mean, on_meta.std) == (data.mean, data.std)
    assert on_meta.fingerprint == data.fingerprint


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_statistics_are_the_same_on_a_gpu(folder):
    data = load_dataset(folder)
    bare = {name: getattr(data, name).cuda() for name in TENSORS}
    on_gpu = dataclasses.replace(data, **bare)
    for name in ("mean", "std", "fingerprint"):
        assert getattr(on_gpu, name) == getattr(data, name)


@pytest.mark.skipif(not CIFAR.is_dir(), reason="no CIFAR-10 in Parquet beside the project")
def test_cifar10_in_parquet():
    data = load_dataset(CIFAR)
    assert_sound(data)
    assert data.image_shape == (3, 32, 32) and data.flip
    assert data.class_names[0] == "airplane" and data.class_names[9] == "truck"
    assert data.train_labels.bincount().tolist() == [4500] * 10
    assert data.validation_labels.bincount().tolist() == [500] * 10
    assert data.test_labels.bincount().tolist() == [1000] * 10
    torch.testing.assert_close(
        torch.tensor(data.mean), torch.tensor([0.491, 0.482, 0.447]), atol=2e-3, rtol=0
    )
