"""Splits: what is held out, and what is never mixed."""

import numpy as np
import pytest
import torch
from pictures import TENSORS, refusal

from secnn.data import load_dataset
from secnn.data.splits import stratified_split


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


def test_too_few_images_for_a_test_split_are_answered_with_what_can_be_done():
    images = np.zeros((4, 8, 8), np.uint8)
    said = refusal((images, [0, 1, 2, 3]))
    assert "for the test split, takes none" in said
    assert "more images per class, or give a test split of your own" in said
    assert "larger fraction" not in said
    held_out = {"train": (images, [0, 1, 2, 3]), "test": (images, [0, 1, 2, 3])}
    assert "for the validation split, takes none" in refusal(held_out)
    assert "a larger validation_fraction, or a validation split" in refusal(held_out)


def test_bad_arguments_are_named(folder):
    for fraction in (0, 1, -0.1, float("nan"), "0.1", None):
        assert "validation_fraction=" in refusal(folder, validation_fraction=fraction)
    assert "held-out, file, test" in refusal(folder, validation="train")
    for seed in (-1, 1.5, "1", None):
        assert f"split_seed={seed!r}" in refusal(folder, split_seed=seed)
    assert "no validation split" in refusal(folder, validation="file")
    assert "takes none" in refusal(folder, validation_fraction=0.001)
