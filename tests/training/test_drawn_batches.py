"""Every image once an epoch, normalised, mirrored where that is allowed."""

import dataclasses

import pytest
import torch

from secnn.data import batches as drawing
from secnn.data.batches import batches, normalize
from secnn.training.config import TrialConfig
from secnn.training.trial import Trial

# --- normalisation ------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_normalised_training_images_have_mean_0_and_deviation_1(channels, make_data):
    data = make_data(channels=channels, size=(9, 7))
    images = normalize(data.train_images, data)
    assert images.dtype == torch.float32
    assert images.shape == data.train_images.shape
    assert images.is_contiguous(memory_format=torch.channels_last)
    variance, mean = torch.var_mean(images.double(), (0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-5)
    torch.testing.assert_close(variance, torch.ones_like(variance), rtol=0, atol=1e-5)


def test_normalisation_is_the_formula_and_keeps_its_input(make_data):
    data = make_data(channels=3)
    given = data.test_images.clone()
    mean = torch.tensor(data.mean, dtype=torch.float64).view(-1, 1, 1)
    std = torch.tensor(data.std, dtype=torch.float64).view(-1, 1, 1)
    expected = (data.test_images.double() / 255 - mean) / std
    found = normalize(data.test_images, data)
    torch.testing.assert_close(found, expected.float(), rtol=0, atol=1e-5)
    assert torch.equal(data.test_images, given)


# --- batches ------------------------------------------------------------------------------


def numbered(data, count):
    """Training images that can be told apart, mirrored or not: two bytes of their number in the
    left column, zero elsewhere."""
    images = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)
    numbers = torch.arange(count)
    images[:, 0, 0, 0] = numbers % 256
    images[:, 0, 1, 0] = numbers // 256
    images[:, 0, 2, 0] = 255
    return dataclasses.replace(data, train_images=images, train_labels=numbers % data.classes)


def drawn(data, size):
    """Numbers and mirrorings of an epoch's images, and the sizes of its batches."""
    numbers, mirrored, sizes = [], [], []
    for images, labels in batches(data, size):
        pixels = (images * data.std[0] + data.mean[0]) * 255
        flipped = pixels[:, 0, 2, 7] > 128
        pixels = torch.where(flipped.view(-1, 1, 1, 1), pixels.flip(3), pixels)
        found = (pixels[:, 0, 0, 0].round() + 256 * pixels[:, 0, 1, 0].round()).long()
        assert torch.equal(labels, found % data.classes)
        numbers.append(found)
        mirrored.append(flipped)
        sizes.append(len(labels))
    return torch.cat(numbers), torch.cat(mirrored), sizes


@pytest.mark.parametrize("count, size", [(600, 512), (512, 512), (513, 512), (300, 7), (5, 100)])
def test_an_epoch_has_every_image_once_in_equal_batches(count, size, make_data):
    numbers, _, sizes = drawn(numbered(make_data(), count), size)
    assert numbers.sort().values.tolist() == list(range(count))
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == -(-count // size)


def test_half_of_the_images_are_mirrored_where_the_data_allows_it(make_data):
    count = 4000
    _, mirrored, _ = drawn(numbered(make_data(flip=True), count), 512)
    assert mirrored.float().mean().item() == pytest.approx(0.5, abs=0.04)  # 5 σ
    _, mirrored, _ = drawn(numbered(make_data(flip=False), count), 512)
    assert not mirrored.any()


def test_each_epoch_draws_another_order_and_other_mirrorings(make_data):
    data = numbered(make_data(flip=True), 1000)
    (first, mirrored, _), (second, others, _) = drawn(data, 300), drawn(data, 300)
    assert not torch.equal(first, second)
    assert not torch.equal(mirrored[first.argsort()], others[second.argsort()])


def test_batches_are_decided_by_torch_s_seed(make_data):
    data = make_data(flip=True)

    def epoch(seed):
        torch.manual_seed(seed)
        return torch.cat([images for images, _ in batches(data, 50)])

    assert torch.equal(epoch(1), epoch(1))
    assert not torch.equal(epoch(1), epoch(2))


def test_the_order_does_not_depend_on_flipping(make_data):
    orders = []
    for flip in (True, False):
        torch.manual_seed(3)
        orders.append(drawn(numbered(make_data(flip=flip), 500), 100)[0])
    assert torch.equal(*orders)


# --- moving -------------------------------------------------------------------------------


def test_moved_images_are_cut_out_of_themselves_with_their_edges_repeated(make_data):
    data = dataclasses.replace(make_data(channels=3, size=(9, 7)), flip=True)
    shift = 3
    torch.manual_seed(0)
    order, mirrored = torch.randperm(120), torch.rand(120) < 0.5
    moves = torch.randint(2 * shift + 1, (120, 2))
    torch.manual_seed(0)
    seen = torch.cat([x for x, _ in batches(data, 40, shift)])
    for i, drawn in enumerate(order):
        image = data.train_images[drawn : drawn + 1].float()
        wide = torch.nn.functional.pad(image, (shift,) * 4, mode="replicate")
        y, x = moves[drawn].tolist()
        cut = wide[:, :, y : y + 9, x : x + 7]
        cut = cut.flip(3) if mirrored[drawn] else cut
        torch.testing.assert_close(seen[i : i + 1], normalize(cut, data))


def test_without_a_shift_the_same_images_are_drawn_as_ever(make_data):
    data = dataclasses.replace(make_data(), flip=True)
    torch.manual_seed(3)
    plain = torch.cat([x for x, _ in batches(data, 50)])
    torch.manual_seed(3)
    assert torch.equal(plain, torch.cat([x for x, _ in batches(data, 50, 0)]))


@pytest.mark.parametrize("side", [1, 4, 5])
def test_a_square_of_each_image_becomes_the_mean(side, make_data):
    data = make_data(channels=3, size=(9, 7), flip=False)
    torch.manual_seed(0)
    order, _, places = torch.randperm(120), torch.rand(120), torch.rand(120, 2)
    torch.manual_seed(0)
    seen = torch.cat([x for x, _ in batches(data, 40, 0, side)])
    mean = (255 * torch.tensor(data.mean)).round().to(torch.uint8).view(3, 1, 1)
    for i, drawn in enumerate(order):
        image = data.train_images[drawn].clone()
        top, left = (int(p * n) - side // 2 for p, n in zip(places[drawn], (9, 7), strict=True))
        image[:, max(top, 0) : top + side, max(left, 0) : left + side] = mean
        torch.testing.assert_close(seen[i : i + 1], normalize(image[None], data))


def test_images_are_cut_from_a_number_of_parameters_on(make_data, monkeypatch):
    sides, given = [], {"criterion": "schedule", "schedule": "rungs", "rungs": 2, "epochs": 4}

    def noted(data, size, shift, cutout, **how):
        sides.append(cutout)
        return batches(data, size, shift, cutout, **how)

    monkeypatch.setattr("secnn.training.epoch.batches", noted)
    small = TrialConfig(**given, channels=(4,), batch_size=40, score_samples=16)
    trial = Trial(small, make_data())
    config = dataclasses.replace(small, cutout=3, cutout_from=trial.network.n_parameters + 1)
    trial, sizes = Trial(config, make_data()), []
    while not trial.done:
        sizes.append(trial.network.n_parameters)
        trial.step()
    assert sides == [3 if size > sizes[0] else 0 for size in sizes]
    assert set(sides) == {0, 3}


@pytest.mark.parametrize("side", [0, 3])
@pytest.mark.parametrize("shift", [0, 2])
def test_batches_that_are_drawn_ahead_are_the_same(shift, side, make_data, monkeypatch):
    """As on a GPU, sixteen at once; the last ones are fewer, and smaller."""
    data = dataclasses.replace(make_data(flip=True))

    def epoch():
        torch.manual_seed(5)
        return list(batches(data, 7, shift, side))

    plain = epoch()
    monkeypatch.setitem(drawing.AHEAD, "cpu", 16)
    ahead = epoch()
    assert len(plain) > 16
    for (images, labels), (others, theirs) in zip(plain, ahead, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, theirs)
