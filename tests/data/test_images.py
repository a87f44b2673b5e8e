"""`ImageData`: statistics, fingerprints, and copies that share memory."""

import dataclasses
from pathlib import Path

import pytest
import torch
from pictures import TENSORS, assert_sound

from secnn.data import ImageData, load_dataset
from secnn.data import images as images_module

CIFAR = Path(__file__).resolve().parents[3] / "shared" / "cifar10-jpeg"


def test_mean_and_std_are_those_of_the_training_images(folder, monkeypatch):
    monkeypatch.setattr(images_module, "CHUNK", 7)
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
