"""The score without its noise is the mean over pairs of different samples."""

import itertools
import math

import pytest
import torch
from dense_oracles import dense, flat, mean_of_pairs, one_at_a_time, products

from secnn.score.fisher import FISHERS, Gradients, diagonal


@pytest.mark.parametrize("fisher", ["diagonal", "batch", "exact"])
def test_the_unbiased_score_is_the_mean_over_pairs(fisher, make_network, draw_images):
    network = make_network(channels=(2, 3, 2), units=4, image_size=(8, 11))
    images, labels = draw_images(network, 9)
    rows = flat(one_at_a_time(network, images, labels))
    pairs = products(fisher, rows, 1e-3)
    found = FISHERS[fisher](network, images, labels, 1e-3, unbiased=True)
    assert found == pytest.approx(mean_of_pairs(pairs), rel=1e-6)


@pytest.mark.parametrize("fisher", FISHERS)
def test_resampled_weights_count_pairs_of_different_samples(fisher):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    weights = torch.tensor([[0.2] * 5, [0.4, 0.0, 0.2, 0.2, 0.2], [0.0, 0.6, 0.0, 0.0, 0.4]])
    whole = rows @ torch.linalg.inv(dense(fisher, rows, 0.1)) @ rows.T
    pairs, compute = products(fisher, rows, 0.1), FISHERS[fisher]
    found = compute.score(
        compute.statistic(Gradients(rows[:, None]), weights, 0.1), weights.double(), 0.1
    )
    for row, biased, unbiased in zip(weights.double(), *found, strict=True):
        both = torch.outer(row, row)
        assert biased.item() == pytest.approx((both * whole).sum().item())
        apart = both - torch.diag(both.diagonal())
        expected = ((apart * pairs).sum() / apart.sum()).item()
        assert unbiased.item() == pytest.approx(expected)


@pytest.mark.parametrize("fisher", ["diagonal", "exact"])
def test_random_signs_score_nothing_without_the_noise(fisher):
    """Over all 2^N signs, equally likely, η has mean tr(K)/N², and η_U zero."""
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights, compute, scores = torch.full((1, 6), 1 / 6).double(), FISHERS[fisher], []
    for signs in itertools.product([-1.0, 1.0], repeat=6):
        signed = rows * torch.tensor(signs).double()[:, None]
        scores.append(
            compute.score(
                compute.statistic(Gradients(signed[:, None]), weights, 0.01), weights, 0.01
            )
        )
    biased, unbiased = torch.stack(scores).mean(0)
    trace = (rows @ torch.linalg.inv(dense(fisher, rows, 0.01)) @ rows.T).trace()
    assert biased.item() == pytest.approx(trace.item() / 36)
    assert unbiased.item() == pytest.approx(0, abs=1e-12)


def test_a_single_sample_has_no_pair(make_network, draw_images):
    network = make_network()
    assert math.isnan(diagonal(network, *draw_images(network, 1), 1e-8, unbiased=True))
