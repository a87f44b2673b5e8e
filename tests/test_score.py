"""A candidate's score is that of the network it makes, and scoring leaves no trace."""

import copy
import math

import pytest
import torch

from secnn.expansion import AddChannels, AddLayer
from secnn.fisher import diagonal
from secnn.score import (
    Candidate,
    natural_expansion_score,
    propose,
    ratio,
    regularize,
    score_candidates,
)

GROWTH = (AddLayer(0), AddChannels(1, 2))


@pytest.fixture
def scoring(make_network, draw_images):
    """A network with its scoring images and labels."""
    network = make_network(GROWTH)
    return network, *draw_images(network, 24)


def test_the_score_is_the_named_fisher_s(scoring):
    expected = diagonal(*scoring, 1e-8)
    assert natural_expansion_score(*scoring) == expected
    assert natural_expansion_score(*scoring, fisher="diagonal", damping=1e-8) == expected
    assert natural_expansion_score(*scoring, damping=1e-2) == diagonal(*scoring, 1e-2)


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


# --- regularisation and ratio -------------------------------------------------------------


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


@pytest.mark.parametrize(
    "score, current, expected",
    [(3.0, 2.0, 1.5), (0.0, 2.0, 0.0), (1e-300, 0.0, math.inf), (0.0, 0.0, 1.0)],
)
def test_the_ratio_is_defined_everywhere(score, current, expected):
    assert ratio(score, current) == expected


# --- proposals ----------------------------------------------------------------------------


def test_proposals_are_layers_first_and_lower_blocks_first(make_network):
    assert propose(make_network(), 4) == [
        *(AddLayer(b) for b in range(3)),
        *(AddChannels(b, 4) for b in range(3)),
    ]


def test_full_blocks_get_channels_only(make_network):
    network = make_network(GROWTH, capacity=2)
    assert propose(network, 2) == [
        AddLayer(1),
        AddLayer(2),
        *(AddChannels(b, 2) for b in range(3)),
    ]
    assert propose(make_network(capacity=1), 1) == [AddChannels(b, 1) for b in range(3)]


# --- candidates ---------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_candidates_are_scored_as_copies_by_hand(scoring, training):
    network, images, labels = scoring
    network.train(training)
    proposals, lam, damping, seed = propose(network, 3), 1e-5, 1e-6, 11
    current, candidates = score_candidates(
        network, images, labels, proposals, lam, "diagonal", damping, seed
    )
    assert current == natural_expansion_score(network, images, labels, damping=damping)
    assert [c.expansion for c in candidates] == proposals
    for candidate in candidates:
        grown = copy.deepcopy(network)
        generator = torch.Generator().manual_seed(seed)
        candidate.expansion.apply(grown, images=images, generator=generator)
        assert candidate.added_parameters == grown.n_parameters - network.n_parameters
        expected = natural_expansion_score(grown, images, labels, damping=damping)
        assert candidate.score == expected
        penalty = math.exp(-lam * candidate.added_parameters**2)
        assert candidate.regularized == pytest.approx(expected * penalty)
        assert candidate.ratio == pytest.approx(expected * penalty / current)


@pytest.mark.parametrize("training", [True, False])
def test_scoring_leaves_no_trace(scoring, training):
    network, images, labels = scoring
    network.train(training)
    network.kernel = "fused"
    before, spec = copy.deepcopy(network.state_dict()), network.spec
    parameters = list(network.parameters())
    given = images.clone(), labels.clone()
    random_state = torch.random.get_rng_state()
    score_candidates(network, images, labels, propose(network, 2))
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert torch.equal(images, given[0])
    assert torch.equal(labels, given[1])
    assert network.spec == spec
    assert network.kernel == "fused"
    assert all(m.training is training for m in network.modules())
    assert all(p is q for p, q in zip(network.parameters(), parameters, strict=True))
    assert all(p.grad is None for p in parameters)
    for name, value in network.state_dict().items():
        same = torch.equal(value, before[name]) if torch.is_tensor(value) else value == before[name]
        assert same, name


def test_scores_depend_on_the_seed_alone(scoring):
    network, images, labels = scoring
    proposals = propose(network, 2)

    def scores(seed, expansions):
        torch.rand(3)  # The global generator is somewhere else each time.
        return score_candidates(network, images, labels, expansions, seed=seed)

    assert scores(1, proposals) == scores(1, proposals)
    assert scores(1, proposals)[1] != scores(2, proposals)[1]
    # Nor on the other candidates.
    alone = [scores(1, [e])[1][0] for e in reversed(proposals)]
    assert alone[::-1] == scores(1, proposals)[1]


def test_the_penalty_changes_no_score_but_the_regularised(scoring):
    network, images, labels = scoring
    proposals = propose(network, 2)
    free, penalised = (
        score_candidates(network, images, labels, proposals, lam)[1] for lam in (0.0, 1e-5)
    )
    for one, other in zip(free, penalised, strict=True):
        assert one.score == one.regularized == other.score > other.regularized


def test_nothing_to_score_gives_the_network_s_own_score(scoring):
    current, candidates = score_candidates(*scoring, [])
    assert current == natural_expansion_score(*scoring)
    assert candidates == []


def test_a_candidate_without_scores_says_so():
    candidate = Candidate(AddLayer(0), 2336)
    assert candidate.score is candidate.regularized is candidate.ratio is None
