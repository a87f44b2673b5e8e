"""The Fisher, its damping and the penalty are those that are named."""

import math

import pytest

from secnn.growth.candidates import propose, ratio, regularize, score_candidates
from secnn.growth.expansion import AddLayer
from secnn.score.fisher import FISHERS, diagonal
from secnn.score.natural import natural_expansion_score


def test_the_score_is_the_named_fisher_s(scoring):
    expected = diagonal(*scoring, 1e-8)
    assert natural_expansion_score(*scoring) == expected
    assert natural_expansion_score(*scoring, fisher="diagonal", damping=1e-8) == expected
    assert natural_expansion_score(*scoring, damping=1e-2) == diagonal(*scoring, 1e-2)


@pytest.mark.parametrize("fisher", FISHERS)
def test_each_fisher_has_a_damping_of_its_own(scoring, fisher):
    own = FISHERS[fisher].damping
    found = natural_expansion_score(*scoring, fisher=fisher)
    assert found == FISHERS[fisher](*scoring, own) != FISHERS[fisher](*scoring, 2 * own)
    asked = score_candidates(*scoring, [AddLayer(1)], fisher=fisher)
    assert asked == score_candidates(*scoring, [AddLayer(1)], fisher=fisher, damping=own)
    assert asked[0] == pytest.approx(found)


@pytest.mark.parametrize("damping", [0.0, -1e-8])
def test_damping_must_be_positive(scoring, damping):
    with pytest.raises(ValueError, match=rf"damping above 0, got 24 images and {damping}"):
        natural_expansion_score(*scoring, damping=damping)


def test_no_images_are_refused(scoring):
    network, images, labels = scoring
    with pytest.raises(ValueError, match=r"^images.*got 0 images"):
        natural_expansion_score(network, images[:0], labels[:0])


def test_an_unknown_fisher_is_named_with_those_there_are(scoring):
    with pytest.raises(ValueError, match=r"^fisher: expected one of .*diagonal.*, got 'full'"):
        natural_expansion_score(*scoring, fisher="full")


def test_an_unknown_penalty_is_refused(scoring):
    with pytest.raises(ValueError, match=r"^penalty: expected one of absolute, relative, got"):
        score_candidates(*scoring, [AddLayer(1)], penalty="none")


@pytest.mark.parametrize("score", [0.0, 1e-9, 3.0, 1e6])
def test_regularisation(score):
    assert regularize(score, 0.0, 2336) == score
    assert regularize(score, 3e-6, 0) == score
    added = 500
    assert regularize(score, 1 / added**2, added) == pytest.approx(score / math.e)
    assert regularize(score, 1.0, 10**6) == 0.0  # No underflow error.
    penalised = [regularize(score, 1e-6, p) for p in (10, 100, 1000)]
    assert penalised == sorted(penalised, reverse=True)
    penalised = [regularize(score, lam, 700) for lam in (0, 1e-7, 1e-6, 1e-5)]
    assert penalised == sorted(penalised, reverse=True)


def test_the_penalty_changes_no_score_but_the_regularised(scoring):
    network, images, labels = scoring
    proposals = propose(network, 2)
    free, penalised = (
        score_candidates(network, images, labels, proposals, lam)[1] for lam in (0.0, 1e-5)
    )
    for one, other in zip(free, penalised, strict=True):
        assert one.score == one.regularized == other.score > other.regularized


def test_the_relative_penalty_has_no_unit(scoring):
    """It is the same for a network and an expansion twice as large."""
    network, images, labels = scoring
    (layer,) = score_candidates(network, images, labels, [AddLayer(1)], 2.0, penalty="relative")[1]
    share = layer.added_parameters / network.n_parameters
    assert layer.regularized == pytest.approx(layer.score * math.exp(-2 * share**2))


@pytest.mark.parametrize(
    "score, current, expected",
    [(3.0, 2.0, 1.5), (0.0, 2.0, 0.0), (1e-300, 0.0, math.inf), (0.0, 0.0, 1.0)],
)
def test_the_ratio_is_defined_everywhere(score, current, expected):
    assert ratio(score, current) == expected
