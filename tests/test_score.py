"""A candidate's score is that of the network it makes, and scoring leaves no trace."""

import copy
import math

import pytest
import torch

from secnn import surgery
from secnn.expansion import AddChannels, AddLayer
from secnn.fisher import FISHERS, diagonal
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


SHAPES = {
    "start": {},
    "grown": {"growth": (AddLayer(0), AddChannels(1, 2), AddLayer(1), AddLayer(1), AddLayer(2))},
    "grey, not square": {"input_channels": 1, "image_size": (9, 13)},
    "one block": {"channels": (4,), "layers": (2,)},
    "four blocks": {"channels": (2, 3, 2, 3), "layers": (1, 2, 1, 1), "image_size": (17, 19)},
}


# The gradients of new channels' incoming weights are as small as the noise, and their squares must
# exceed the damping; those of old weights that no output depends on must not, as noise reaches them
# through a new layer.
KINDS = {AddLayer: 1e-9, AddChannels: 1e-24}


@pytest.mark.parametrize("fields", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("fisher", FISHERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [True, False])
def test_candidates_are_scored_as_copies_by_hand(
    fields, fisher, kind, training, make_network, draw_images, monkeypatch
):
    """Exactly so in the limit in which the noise moves no activation."""
    monkeypatch.setattr(surgery, "NOISE", 1e-7)
    network = make_network(**fields).train(training)
    images, labels = draw_images(network, 24)
    proposals = [e for e in propose(network, 3) if isinstance(e, kind)]
    damping, seed = KINDS[kind] if fisher != "exact" else 1e-3, 11
    current, candidates = score_candidates(
        network, images, labels, proposals, 1e-5, fisher, damping, seed
    )
    expected = natural_expansion_score(network, images, labels, fisher, damping)
    assert current == pytest.approx(expected, rel=1e-9)
    assert [c.expansion for c in candidates] == proposals
    for candidate in candidates:
        grown = copy.deepcopy(network)
        generator = torch.Generator().manual_seed(seed)
        candidate.expansion.apply(grown, images=images, generator=generator)
        assert candidate.added_parameters == grown.n_parameters - network.n_parameters
        expected = natural_expansion_score(grown, images, labels, fisher, damping)
        assert candidate.score == pytest.approx(expected, rel=1e-4)
        assert candidate.gain == pytest.approx(expected - current, rel=1e-3, abs=1e-6)
        penalty = math.exp(-1e-5 * candidate.added_parameters**2)
        assert candidate.regularized == pytest.approx(candidate.score * penalty)
        assert candidate.ratio == pytest.approx(candidate.regularized / current)


def test_kinds_without_a_rule_are_scored_on_copies(scoring, monkeypatch):
    network, proposals = scoring[0], propose(scoring[0], 2)
    ruled = score_candidates(*scoring, proposals, seed=3)[1]
    monkeypatch.setattr("secnn.score.ATTACHMENTS", {})
    for candidate, fast in zip(
        score_candidates(*scoring, proposals, seed=3)[1], ruled, strict=True
    ):
        grown = copy.deepcopy(network)
        generator = torch.Generator().manual_seed(3)
        candidate.expansion.apply(grown, images=scoring[1], generator=generator)
        expected = natural_expansion_score(grown, *scoring[1:])
        assert candidate.score == pytest.approx(expected, rel=1e-9)
        assert fast.score == pytest.approx(expected, rel=2e-2)  # The noise of 1e-4 apart.


def test_the_interval_of_a_gain_is_that_of_new_samples(make_network, draw_images):
    """It covers the gain measured on other samples of the same size about as often as it says."""
    network = make_network()
    images, labels = draw_images(network, 40 * 64)
    sets = list(zip(images.split(64), labels.split(64), strict=True))
    (first,) = score_candidates(network, *sets[0], [AddLayer(1)])[1]
    gains = [score_candidates(network, *s, [AddLayer(1)])[1][0].gain for s in sets]
    width = first.gain_high - first.gain_low
    assert first.gain_low < first.gain < first.gain_high
    assert width / 4 < 1.96 * torch.tensor(gains).std() < width


def test_on_labels_that_the_network_draws_itself_the_gain_is_noise(make_network, draw_images):
    """The expected gradient is zero there: η is about p/N, and falls as the samples grow."""
    network = make_network().eval()
    images, _ = draw_images(network, 4096)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        labels = torch.multinomial(network(images).softmax(1), 1, generator=generator).squeeze(1)
    for count in (256, 1024, 4096):
        current, (layer,) = score_candidates(network, images[:count], labels[:count], [AddLayer(1)])
        assert 1 / 3 < current * count / network.n_parameters < 3
        assert 1 / 3 < layer.gain * count / layer.added_parameters < 3


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
    assert current == pytest.approx(natural_expansion_score(*scoring), rel=1e-12)
    assert candidates == []


def test_a_candidate_without_scores_says_so():
    candidate = Candidate(AddLayer(0), 2336)
    assert candidate.score is candidate.regularized is candidate.ratio is None
