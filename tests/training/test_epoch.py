"""An epoch minimises the loss that is stated; evaluation leaves no trace."""

import copy
import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from secnn.data import batches as drawing
from secnn.data.batches import batches, normalize
from secnn.network import prediction
from secnn.network.network import SECNN
from secnn.training.epoch import Step, evaluate, mixed, resolve_precision, train_epoch


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


# --- training -----------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("flip", [True, False])
def test_training_learns(precision, flip, make_data):
    data = make_data(flip=flip)
    network = small(data)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    metrics = [train_epoch(Step(network, optimizer, 1e-5, precision), data, 20) for _ in range(8)]
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
    metrics = train_epoch(
        Step(network, torch.optim.Adam(network.parameters(), lr=1e-2), l1), data, 50
    )
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


@pytest.mark.parametrize(("full", "counts"), [(True, [25, 25]), (False, [20, 20, 20])])
def test_the_rate_is_told_the_part_of_the_epoch_that_is_done(full, counts, make_data):
    data, told, seen = make_data(), [], []
    images, labels = data.train_images[:60], data.train_labels[:60]
    data = dataclasses.replace(data, train_images=images, train_labels=labels)
    step = Step(network := small(data), torch.optim.SGD(network.parameters(), lr=1.0), 0.0)

    def run(images, labels):
        seen.append(len(labels))
        return torch.zeros(2)

    train_epoch(step, data, 25, full=full, rate=lambda part: told.append(part) or 1.0, run=run)
    assert seen == counts
    assert told == [i / len(counts) for i in range(len(counts))]


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
            train_epoch(Step(network, optimizer, l1), data, 1000)
        found.append(optimizer.gradients)
    for without, penalised, parameter in zip(*found, network.parameters(), strict=True):
        # The loss is in float32, the same in both.
        torch.testing.assert_close(
            penalised - without, 1e-5 * parameter.detach().sign(), rtol=0, atol=1e-11
        )


def test_every_epoch_starts_in_training_mode(make_data):
    data = make_data()
    network = small(data).eval()
    train_epoch(Step(network, torch.optim.SGD(network.parameters(), lr=0.0), 0.0), data, 60)
    assert network.training


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_statistics(make_data):
    data = make_data()
    network, seen = small(data), {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda m, args, out, n=name: seen.update({n: out.dtype}))
    train_epoch(Step(network, torch.optim.Adam(network.parameters()), 1e-5, "bfloat16"), data, 60)
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
    train_epoch(Step(network, torch.optim.Adam(network.parameters()), 0.0), data, 20)
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
