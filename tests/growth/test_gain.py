"""A gain is told without its noise, with an interval that covers it."""

import copy

import pytest
import torch
from torch import nn

from secnn.growth.candidates import propose, score_candidates
from secnn.growth.expansion import AddLayer
from secnn.score.natural import natural_expansion_score

NULL = {"diagonal": 1e-14, "kfac": 1e-6, "exact": 1e-4}
"""Fishers whose score without noise is zero on labels that the network draws, with a damping."""


def draw_labels(network, images, seed):
    """From the network's own softmax: the expected gradient is exactly zero."""
    with torch.no_grad():
        chances = network.eval()(images).softmax(1)
    generator = torch.Generator().manual_seed(seed)
    return torch.multinomial(chances, 1, generator=generator).squeeze(1)


def repeated(network, images, labels, size, fisher="diagonal", damping=1e-8):
    """η_c and the candidate of a layer, from each `size` of the samples in turn."""
    sets = zip(images.split(size), labels.split(size), strict=True)
    scored = [
        score_candidates(network, *s, [AddLayer(1)], fisher=fisher, damping=damping) for s in sets
    ]
    return [current for current, _ in scored], [candidate for _, (candidate,) in scored]


@pytest.mark.parametrize("fisher", NULL)
def test_without_its_noise_the_score_of_nothing_is_zero(fisher, make_network, draw_images):
    """With two classes of nearly equal chances, so that g_n and −g_n are about equally likely. For
    other chances F's dependence on the samples leaves a small bias, but none in `exact`."""
    network, damping = make_network(classes=5 if fisher == "exact" else 2), NULL[fisher]
    for parameter in network.head.output.parameters():
        nn.init.normal_(parameter, std=0.1)
    images, _ = draw_images(network, 40 * 64)
    labels = draw_labels(network, images, seed=0)
    current, layers = repeated(network, images, labels, 64, fisher, damping)
    sets = zip(images.split(64), labels.split(64), strict=True)
    scores = [natural_expansion_score(network, *s, fisher, damping, unbiased=True) for s in sets]
    for values in (scores, [c.gain_unbiased for c in layers]):
        values = torch.tensor(values).double()
        assert values.mean().abs() < 3 * values.std() / len(values) ** 0.5
    # While with it η is about p/N, and more than any standard error from zero.
    noise = torch.tensor(current)
    assert noise.mean() > 5 * noise.std() / len(noise) ** 0.5
    if fisher == "diagonal":
        assert noise.mean() == pytest.approx(network.n_parameters / 64, rel=0.25)
        gain = sum(c.gain for c in layers) / len(layers)
        assert gain == pytest.approx(layers[0].added_parameters / 64, rel=0.25)


@pytest.mark.parametrize("null", [True, False])
def test_the_interval_of_a_gain_covers_as_often_as_it_says(null, make_network, draw_images):
    """Of 60, 57 shall; more where the gradient is nothing but noise, where it is known to be
    wider than it need be (the resampled noise adds to the noise)."""
    network = make_network()
    images, labels = draw_images(network, 60 * 64)
    if null:
        labels = draw_labels(network, images, seed=1)
    candidates = repeated(network, images, labels, 64)[1]
    gains = torch.tensor([c.gain_unbiased for c in candidates])
    truth = 0.0 if null else gains.mean().item()
    covering = sum(c.gain_low <= truth <= c.gain_high for c in candidates)
    assert covering >= 54
    widths = torch.tensor([c.gain_high - c.gain_low for c in candidates])
    assert 0.7 < widths.mean() / (2 * 1.96 * gains.std()) < 2.2
    for c in candidates:
        assert c.gain_low < c.gain_unbiased < c.gain_high


def test_a_candidate_s_measures_follow_from_its_gain(scoring):
    network, images, labels = scoring
    current, candidates = score_candidates(*scoring, propose(network, 2), 1e-6)
    without_noise = natural_expansion_score(*scoring, unbiased=True)
    for c in candidates:
        grown = copy.deepcopy(network)
        c.expansion.apply(grown, images=images, generator=torch.Generator().manual_seed(0))
        score = natural_expansion_score(grown, images, labels, unbiased=True)
        assert c.gain_unbiased == pytest.approx(score - without_noise, rel=5e-2, abs=1e-2)
        assert c.gain == pytest.approx(c.score - current)
        assert c.gain_per_parameter == pytest.approx(c.gain_unbiased / c.added_parameters)
        assert c.predicted_reduction == pytest.approx(c.gain_unbiased / 2)
        assert c.regularized < c.score
        gain = c.regularized - current
        expected = (gain / c.added_parameters) / (current / network.n_parameters)
        assert c.density == pytest.approx(expected)
