"""Trials with the preset of the authors' program: their data, how they grow, and their files."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from examples.authors_program import AUTHORS
from secnn import Trial, load, load_dataset, replay
from secnn.data.batches import batches, normalize
from secnn.store import checkpoint


@pytest.fixture(scope="module")
def data():
    """Random images of three channels, 300 to train on and 140 to validate on."""
    generator = torch.Generator().manual_seed(0)

    def split(n):
        images = torch.randint(256, (n, 3, 16, 16), generator=generator, dtype=torch.uint8)
        return images, torch.arange(n) % 4

    return load_dataset({"train": split(300), "validation": split(140), "test": split(20)})


SMALL = replace(
    AUTHORS,
    tau=1e-3,
    epochs=12,
    batch_size=64,
    score_samples=32,
    channels=(4, 4, 4),
    kernel="reference",
    precision="float32",
)


def test_only_full_batches_are_trained_and_validated_on(data, monkeypatch):
    drawn = [len(labels) for _, labels in batches(data, 64, full=True)]
    assert drawn == [64] * 4
    trial = Trial(replace(SMALL, criterion="never", epochs=1), data)
    trial.step()
    with torch.no_grad():
        images = normalize(data.validation_images[:128], trial.data)
        logits = trial.network.eval()(images)
    labels = data.validation_labels[:128]
    record = trial.records[0]
    assert record.val_accuracy == 100 * (logits.argmax(1) == labels).float().mean()
    assert record.val_loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert 0 <= record.train_accuracy <= 100
    assert (record.train_accuracy * 256 / 100) % 1 == pytest.approx(0, abs=1e-6)


def test_images_are_normalised_by_the_programs_constants(data):
    trial = Trial(SMALL, data)
    white = torch.full((1, 3, 16, 16), 255, dtype=torch.uint8)
    expected = [(1 - 0.4914) / 0.2023, (1 - 0.4822) / 0.1994, (1 - 0.4465) / 0.2010]
    assert normalize(white, trial.data)[0, :, 0, 0].tolist() == pytest.approx(expected, rel=1e-5)
    assert trial.state()["data"]["mean"] == [0.4914, 0.4822, 0.4465]
    assert data.mean != trial.data.mean
    assert data.fingerprint == trial.data.fingerprint


def test_constants_for_other_images_are_refused(data):
    with pytest.raises(ValueError, match=r"image_mean: expected 3 numbers.* got 1;"):
        Trial(replace(SMALL, image_mean=(0.5,)), data)
    with pytest.raises(ValueError, match="image_std: expected numbers above 0"):
        replace(SMALL, image_std=(0.2, 0.0, 0.2))


@pytest.mark.parametrize("kinds", [("BoxLayer", "ResetChannels"), ("ResetChannels",)])
def test_it_grows_rests_and_goes_on_bit_for_bit_where_it_was_stopped(data, tmp_path, kinds):
    config = replace(SMALL, expansions=kinds)
    whole = Trial(config, data)
    while not whole.done:
        whole.step()
    grew = [record.epoch for record in whole.records if record.expansion]
    assert grew == [1, 6, 11]
    assert {type(expansion).__name__ for expansion in whole.expansions} <= {*kinds}

    stopped = Trial(config, data)
    for _ in range(7):
        stopped.step()
    checkpoint.save(tmp_path / "last.pt", stopped.state())
    resumed = Trial(config, data)
    resumed.restore(checkpoint.read(tmp_path / "last.pt"))
    while not resumed.done:
        resumed.step()
    assert [r.val_loss for r in resumed.records] == [r.val_loss for r in whole.records]
    pairs = zip(whole.network.parameters(), resumed.network.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)

    checkpoint.save(tmp_path / "last.pt", whole.state())
    images = normalize(data.test_images, whole.data)
    loaded = load(tmp_path / "last.pt")
    assert loaded.spec.cell == "authors"
    torch.testing.assert_close(loaded(images), whole.network.eval()(images))
    assert replay(tmp_path / "last.pt").spec == whole.network.spec


@pytest.mark.parametrize(
    "changes",
    [
        {"scorer": "same-flips"},
        {"expansions": ("DiracLayer", "ResetChannels")},
        {"expansions": ("AddLayer", "ResetChannels")},
        {"fisher": "diagonal"},
        {"expansions": ("BoxLayer", "AddChannels")},
        {"scorer": "per-sample", "fisher": "diagonal", "damping": None},
        {"cell": "conv"},
        {"schedule": "plateau", "batches": "equal", "image_mean": None, "image_std": None},
    ],
)
def test_each_deviation_can_be_turned_back_alone(data, changes):
    trial = Trial(replace(SMALL, epochs=2, **changes), data)
    trial.step(), trial.step()
    assert trial.expansions
    assert {type(e).__name__ for e in trial.expansions} <= {*trial.config.expansions}
