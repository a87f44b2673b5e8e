"""The diagonal score, the paper's, is that of the dense matrices, and has their properties."""

import itertools
import random

import pytest
import torch
from dense_oracles import flat, one_at_a_time
from torch import nn

from secnn.growth.expansion import AddChannels, AddLayer
from secnn.network.network import SECNN
from secnn.score import gradients
from secnn.score.fisher import diagonal

GROWTH = (AddLayer(0), AddChannels(1, 2), AddLayer(2), AddChannels(0, 1), AddLayer(2))


def oracle(network, images, labels, damping):
    """gᵀ(diag(F) + damping·I)⁻¹g with all matrices written out."""
    rows = flat(one_at_a_time(network, images, labels))
    mean = rows.mean(0)
    information = rows.T @ rows / len(rows)
    damped = torch.diag(information.diagonal()) + damping * torch.eye(len(mean)).double()
    return (mean @ torch.linalg.solve(damped, mean)).item()


@pytest.mark.parametrize("damping", [1e-8, 1e-3, 10.0])
@pytest.mark.parametrize("growth", [(), GROWTH[:3]], ids=["start", "grown"])
def test_the_score_is_that_of_the_dense_matrices(growth, damping, make_network, draw_images):
    network = make_network(growth, channels=(2, 3, 2), units=4, image_size=(8, 11))
    images, labels = draw_images(network, 12)
    expected = oracle(network, images, labels, damping)
    assert diagonal(network, images, labels, damping) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("chunk", [1, 3, 13, 1000])
def test_chunks_do_not_change_the_score(chunk, make_network, draw_images, monkeypatch):
    network = make_network(GROWTH)
    images, labels = draw_images(network, 13)
    monkeypatch.setattr(gradients, "CHUNK", 5)
    expected = diagonal(network, images, labels, 1e-8)
    monkeypatch.setattr(gradients, "CHUNK", chunk)
    assert diagonal(network, images, labels, 1e-8) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("count", [1, 2, 10, 40])
@pytest.mark.parametrize("damping", [1e-30, 1e-8, 1.0])
def test_the_score_is_between_0_and_the_parameter_count(count, damping, make_network, draw_images):
    network = make_network(GROWTH)
    score = diagonal(network, *draw_images(network, count), damping)
    assert 0 <= score <= network.n_parameters


def test_a_single_sample_counts_the_parameters_it_moves(make_network, draw_images):
    # With N = 1 every term is g²/g².
    network = make_network(GROWTH)
    images, labels = draw_images(network, 1)
    moved = (flat(one_at_a_time(network, images, labels)).abs() > 1e-12).sum().item()
    assert diagonal(network, images, labels, 1e-40) == pytest.approx(moved, abs=1e-3)
    assert 0 < moved <= network.n_parameters


def test_more_damping_never_raises_the_score(make_network, draw_images):
    network = make_network()
    images, labels = draw_images(network, 20)
    scores = [diagonal(network, images, labels, 10.0**e) for e in range(-12, 4)]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < 1e-3 * scores[0]


def test_the_order_and_the_repetition_of_samples_do_not_matter(make_network, draw_images):
    network = make_network()
    images, labels = draw_images(network, 12)
    expected = diagonal(network, images, labels, 1e-8)
    order = torch.randperm(12)
    assert diagonal(network, images[order], labels[order], 1e-8) == pytest.approx(expected)
    twice = (images.repeat(2, 1, 1, 1), labels.repeat(2))
    assert diagonal(network, *twice, 1e-8) == pytest.approx(expected)


def test_the_score_does_not_depend_on_the_parameters_units(make_network, draw_images):
    # LeakyReLU(c·x) = c·LeakyReLU(x): the head's maps times c, their readers by c, is the same
    # function, and each of these gradients is scaled, in ḡ² as in F. Damping breaks this.
    network = make_network(GROWTH)
    images, labels = draw_images(network, 12)
    before = network.eval()(images)
    expected = diagonal(network, images, labels, 1e-30)
    with torch.no_grad():
        for parameter in (network.head.last.weight, network.head.last.bias):
            parameter.mul_(8)
        network.head.skip.weight.mul_(8)
        network.head.hidden.weight.div_(8)
    torch.testing.assert_close(network(images), before)
    assert diagonal(network, images, labels, 1e-30) == pytest.approx(expected, rel=1e-7)


def test_gradients_that_cancel_score_nothing(make_network, draw_images):
    # With no output weights every class has the same probability: over all labels of an image
    # the mean gradient is zero.
    network = make_network()
    nn.init.zeros_(network.head.output.weight)
    nn.init.zeros_(network.head.output.bias)
    images, _ = draw_images(network, 5)
    classes = network.spec.classes
    labels = torch.arange(classes).repeat_interleave(len(images))
    score = diagonal(network, images.repeat(classes, 1, 1, 1), labels, 1e-8)
    assert score < 1e-20


@pytest.mark.parametrize("count", [1, 4, 6])
def test_labels_of_pure_chance_score_one_nth_for_each_parameter(count, make_network, draw_images):
    """The noise floor: E[ḡ²/F] = 1/N where the per-sample gradients have random signs.

    With no output weights and two classes, the other label is the negative gradient. Over all 2^N
    labellings, equally likely, E[(Σ ±a_n)²] = Σ a_n², so that η has mean p/N, p counting the
    parameters with any gradient: the output layer's.
    """
    network = make_network(classes=2)
    nn.init.zeros_(network.head.output.weight)
    nn.init.zeros_(network.head.output.bias)
    images, _ = draw_images(network, count)
    scores = [
        diagonal(network, images, torch.tensor(labels), 1e-30)
        for labels in itertools.product([0, 1], repeat=count)
    ]
    active = network.head.output.weight.numel() + 2
    assert sum(scores) / len(scores) == pytest.approx(active / count, rel=1e-9)


def test_float32_is_exact_to_its_precision(make_network, draw_images):
    rng = random.Random(0)
    for _ in range(3):
        exact = make_network(GROWTH, classes=rng.randint(2, 9))
        images, labels = draw_images(exact, 30)
        single = SECNN(exact.spec)
        single.load_state_dict(exact.state_dict())
        expected = diagonal(exact, images, labels, 1e-8)
        assert diagonal(single, images.float(), labels, 1e-8) == pytest.approx(expected, rel=1e-3)
