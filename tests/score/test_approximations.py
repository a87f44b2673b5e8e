"""Every approximation of F gives the score of the matrix written out, for every kind of module."""

import pytest
import torch
from dense_oracles import flat, one_at_a_time, scores
from toy_networks import NETWORKS, draw, drawn, make

from secnn.growth.expansion import AddChannels, AddLayer
from secnn.score import gradients
from secnn.score.fisher import FISHERS, Gradients
from secnn.score.natural import natural_expansion_score

# torch's own, at its first such convolution.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")

fishers = pytest.mark.parametrize("fisher", FISHERS)


def assert_dense(fisher, network, damping=1e-3):
    given = draw()
    expected, unbiased = scores(fisher, network, *given, damping)
    found = natural_expansion_score(network, *given, fisher, damping)
    assert found == pytest.approx(expected, rel=1e-7)
    found = natural_expansion_score(network, *given, fisher, damping, unbiased=True)
    assert found == pytest.approx(unbiased, rel=1e-6, abs=1e-9)


@fishers
@pytest.mark.parametrize("name", NETWORKS)
def test_every_known_module_in_every_form(fisher, name):
    assert_dense(fisher, make(name))


@fishers
@pytest.mark.parametrize("seed", range(12))
def test_networks_drawn_at_random(fisher, seed):
    assert_dense(fisher, drawn(seed))


@fishers
@pytest.mark.parametrize("damping", [1e-6, 10.0])
@pytest.mark.parametrize("name", ["depthwise", "linear at positions"])
def test_any_damping(fisher, damping, name):
    assert_dense(fisher, make(name), damping)


@fishers
@pytest.mark.parametrize("chunk", [1, 4])
def test_chunks_do_not_change_the_score(fisher, chunk, monkeypatch):
    network = make("replicated, grouped")
    monkeypatch.setattr(gradients, "CHUNK", chunk)
    assert_dense(fisher, network)


@pytest.mark.parametrize("damping", [1e-6, 1e-3, 10.0])
@pytest.mark.parametrize("count", [3, 12])
def test_the_exact_score_is_that_of_the_full_matrix(count, damping, make_network, draw_images):
    network = make_network(
        [AddLayer(0), AddChannels(1, 2)], channels=(2, 3, 2), units=4, image_size=(8, 11)
    )
    images, labels = draw_images(network, count)
    rows = flat(one_at_a_time(network, images, labels))
    mean, information = rows.mean(0), rows.T @ rows / count
    damped = information + damping * torch.eye(len(mean)).double()
    expected = (mean @ torch.linalg.solve(damped, mean)).item()
    found = FISHERS["exact"](network, images, labels, damping)
    assert found == pytest.approx(expected, rel=1e-6)
    assert 0 <= found < 1


def score_of_rows(name, rows, damping):
    """η of per-sample gradients, N×p."""
    weights = torch.full((1, len(rows)), 1 / len(rows)).double()
    statistic = FISHERS[name].statistic(Gradients(rows[:, None]), weights, damping)
    return FISHERS[name].score(statistic, weights, damping)[0].item()


def test_approximations_agree_where_they_must():
    """Gradients that share no parameter have a diagonal Gram and Fisher matrix."""
    samples = torch.diag(torch.rand(6, generator=torch.Generator().manual_seed(0)).double() + 0.1)
    scores = {name: score_of_rows(name, samples, 1e-3) for name in FISHERS}
    assert scores["exact"] == pytest.approx(scores["diagonal"])
    # With the mean gradient squared in place of the mean square every term saturates at 1.
    assert scores["diagonal"] < 1 < scores["batch"] < 6


def test_with_many_samples_the_exact_score_of_independent_gradients_is_the_diagonal_one():
    samples = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)).double()
    samples = samples * torch.tensor([0.1, 1.0, 5.0]) + torch.tensor([0.01, 0.1, 0.5])
    expected = score_of_rows("diagonal", samples, 1e-9)
    assert score_of_rows("exact", samples, 1e-9) == pytest.approx(expected, rel=0.05)


def test_every_fisher_has_one_signature_and_no_negative_score(make_network, draw_images):
    network = make_network()
    for compute in FISHERS.values():
        assert compute(network, *draw_images(network, 5), 1e-4) >= 0
