"""Every image once an epoch, the loss that is stated, and a learning rate that waits its time."""

import copy
import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from secnn.data import batches as drawing
from secnn.data.batches import batches, normalize
from secnn.network.network import SECNN
from secnn.network import prediction
from secnn.training.epoch import (
    evaluate,
    mixed,
    plateau,
    resolve_precision,
    restart_patience,
    train_epoch,
)


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


# --- images -------------------------------------------------------------------------------


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


# --- an epoch -----------------------------------------------------------------------------


def small(data, **fields):
    channels, *size = data.image_shape
    return SECNN(
        input_channels=channels,
        image_size=tuple(size),
        classes=data.classes,
        channels=(4, 4),
        layers=(1, 1),
        **fields,
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("flip", [True, False])
def test_training_learns(precision, flip, make_data):
    data = make_data(flip=flip)
    network = small(data)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    metrics = [train_epoch(network, optimizer, data, 20, 1e-5, precision) for _ in range(8)]
    assert metrics[-1].loss < 0.7 * metrics[0].loss
    assert metrics[-1].accuracy > 60
    validated = evaluate(network, data.validation_images, data.validation_labels, data)
    assert validated.accuracy > 60
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert {b.dtype for b in network.buffers()} == {torch.float32, torch.int64}


def test_an_epoch_is_the_written_out_steps(make_data):
    data, l1 = make_data(), 1e-3
    network = small(data, dropout=0.0, head_dropout=0.0)
    twin = copy.deepcopy(network)
    torch.manual_seed(4)
    metrics = train_epoch(network, torch.optim.Adam(network.parameters(), lr=1e-2), data, 50, l1)
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-2)
    torch.manual_seed(4)
    losses, hits, count = 0.0, 0, 0
    for images, labels in batches(data, 50):
        optimizer.zero_grad()
        logits = twin(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        for parameter in twin.parameters():
            parameter.grad += l1 * parameter.sign()
        optimizer.step()
        losses += loss.item() * len(labels)
        hits += (logits.argmax(1) == labels).sum().item()
        count += len(labels)
    assert metrics.loss == pytest.approx(losses / count, rel=1e-5)
    assert metrics.accuracy == pytest.approx(100 * hits / count)
    for one, other in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


class Remembering(torch.optim.SGD):
    """Makes no step, and keeps the gradients."""

    def step(self):
        self.gradients = [p.grad.clone() for g in self.param_groups for p in g["params"]]


def test_the_penalty_s_gradient_is_its_weight_times_the_sign(make_data):
    data = make_data()
    network = small(data, dropout=0.0, head_dropout=0.0).double()
    with torch.no_grad():
        network.head.output.bias.zero_()  # |θ| has no derivative at 0: no gradient there.
    found = []
    for l1 in (0.0, 1e-5):
        optimizer = Remembering(network.parameters())
        torch.manual_seed(0)
        with pytest.MonkeyPatch.context() as patch:
            exact = lambda images, data: normalize(images, data).double()  # noqa: E731
            patch.setattr(drawing, "normalize", exact)
            train_epoch(network, optimizer, data, 1000, l1)
        found.append(optimizer.gradients)
    for without, penalised, parameter in zip(*found, network.parameters(), strict=True):
        # The loss is in float32, the same in both.
        torch.testing.assert_close(
            penalised - without, 1e-5 * parameter.detach().sign(), rtol=0, atol=1e-11
        )


def test_every_epoch_starts_in_training_mode(make_data):
    data = make_data()
    network = small(data).eval()
    train_epoch(network, torch.optim.SGD(network.parameters(), lr=0.0), data, 60, 0.0)
    assert network.training


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_statistics(make_data):
    data = make_data()
    network, seen = small(data), {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda m, args, out, n=name: seen.update({n: out.dtype}))
    train_epoch(network, torch.optim.Adam(network.parameters()), data, 60, 1e-5, "bfloat16")
    assert set(seen.values()) == {torch.bfloat16}
    evaluate(network, data.test_images, data.test_labels, data)
    assert set(seen.values()) == {torch.float32}


def test_precision():
    device = torch.device("cpu")
    for name in ("float32", "bfloat16"):
        assert resolve_precision(name, device) == name
    assert resolve_precision("auto", device) in ("float32", "bfloat16")
    product = torch.ones(2, 2)
    with mixed(device, "bfloat16"):
        assert (product @ product).dtype == torch.bfloat16
    with mixed(device, "float32"):
        assert (product @ product).dtype == torch.float32


# --- evaluation ---------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 7, 60, 1000])
def test_evaluation_in_batches_is_evaluation_in_one_go(batch, make_data, monkeypatch):
    data = make_data()
    network = small(data)
    train_epoch(network, torch.optim.Adam(network.parameters()), data, 20, 0.0)
    monkeypatch.setitem(prediction.EVALUATION_BATCH, "cpu", batch)
    metrics = evaluate(network, data.test_images, data.test_labels, data)
    with torch.no_grad():
        logits = network.eval()(normalize(data.test_images, data))
    loss = F.cross_entropy(logits, data.test_labels).item()
    accuracy = 100 * (logits.argmax(1) == data.test_labels).float().mean().item()
    assert metrics.loss == pytest.approx(loss, rel=1e-5)
    assert metrics.accuracy == pytest.approx(accuracy)


@pytest.mark.parametrize("mode", [True, False])
def test_evaluation_leaves_no_trace(mode, make_data):
    data = make_data()
    network = small(data).train(mode)
    state, random_state = copy.deepcopy(network.state_dict()), torch.random.get_rng_state()
    first = evaluate(network, data.test_images, data.test_labels, data)
    assert evaluate(network, data.test_images, data.test_labels, data) == first
    assert network.training is mode
    assert torch.equal(torch.random.get_rng_state(), random_state)
    for name, value in network.state_dict().items():
        same = torch.equal(value, state[name]) if torch.is_tensor(value) else value == state[name]
        assert same, name


def test_metrics_are_per_cent_and_mean_loss(make_data):
    data = make_data(classes=4)
    network = small(data)
    nn.init.zeros_(network.head.output.weight)
    with torch.no_grad():
        network.head.output.bias.copy_(torch.tensor([0.0, 0.0, 1e-6, 0.0]))
    metrics = evaluate(network, data.test_images, data.test_labels, data)
    assert metrics.accuracy == pytest.approx(25)  # 60 images, 15 of class 2.
    assert metrics.loss == pytest.approx(torch.tensor(4.0).log().item(), rel=1e-5)


# --- the learning rate --------------------------------------------------------------------


def rates(accuracies, patience, restart_after=()):
    """The learning rate of each epoch, given the validation accuracies after them."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, found = plateau(optimizer, patience), []
    for epoch, accuracy in enumerate(accuracies):
        found.append(optimizer.param_groups[0]["lr"])
        scheduler.step(accuracy)
        if epoch in restart_after:
            restart_patience(scheduler)
    return found


@pytest.mark.parametrize("patience", [1, 2, 15])
def test_the_rate_halves_after_exactly_so_many_epochs_without_better(patience):
    # The first epoch is the best; after `patience` others the next one has half the rate.
    found = rates([50.0] * (3 * patience + 2), patience)
    halvings = [max(0, (epoch - 1) // patience) for epoch in range(len(found))]
    assert found == [0.5**n for n in halvings]


def test_any_better_accuracy_starts_the_count_anew():
    patience = 3
    accuracies = [50.0, 50.0, 49.0, 50.001, 50.0, 50.0, 50.0, 50.0]
    assert rates(accuracies, patience) == [1, 1, 1, 1, 1, 1, 1, 0.5]


def test_a_rising_accuracy_keeps_the_rate():
    assert set(rates([float(n) / 100 for n in range(60)], 1)) == {1.0}


def test_an_equal_accuracy_is_not_better():
    assert rates([0.0, 0.0, 0.0], 1) == [1, 1, 0.5]


def test_an_expansion_starts_the_count_anew_and_keeps_rate_and_best():
    patience = 4
    #            best  1     2     3 | grown, 1  2     3     4    | halved
    accuracies = [50.0, 40.0, 40.0, 40.0, 45.0, 45.0, 45.0, 45.0, 45.0]
    assert rates(accuracies, patience, restart_after=[3]) == [1] * 8 + [0.5]
    # 45 is better than what followed growth, but not than the best before it.
    halved = rates([50.0] + [40.0] * 12, patience, restart_after=[6])
    assert halved == [1] * 5 + [0.5] * 6 + [0.25] * 2
