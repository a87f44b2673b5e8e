"""A candidate's score is that of the network it makes, and scoring leaves no trace."""

import copy
import math

import pytest
import torch
from torch import nn

from secnn.growth.candidates import Candidate, propose, ratio, regularize, score_candidates
from secnn.growth.expansion import AddChannels, AddLayer, Expansion
from secnn.growth.proposal import PROPOSALS, propose_filters
from secnn.network import surgery
from secnn.score.fisher import FISHERS, diagonal
from secnn.score.natural import natural_expansion_score

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


def test_an_unknown_penalty_is_refused(scoring):
    with pytest.raises(ValueError, match=r"^penalty: expected one of absolute, relative, got"):
        score_candidates(*scoring, [AddLayer(1)], penalty="none")


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


def grown_by_hand(network, expansion, images, seed, filters=None):
    """A copy with the expansion made."""
    grown = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(seed)
    expansion.apply(grown, None, images, generator, filters)
    return grown


# The gradients of new channels' incoming weights are as small as the noise, and their squares must
# exceed the damping; those of old weights that no output depends on must not, as noise reaches them
# through a new layer.
KINDS = {AddLayer: 1e-9, AddChannels: 1e-24}


# New channels are blocks of their own for kfac: tests/test_kfac.py.
SCORED = [(f, k) for f in FISHERS for k in KINDS if (f, k) != ("kfac", AddChannels)]


@pytest.mark.parametrize("fields", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("fisher, kind", SCORED)
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
        grown = grown_by_hand(network, candidate.expansion, images, seed)
        assert candidate.added_parameters == grown.n_parameters - network.n_parameters
        expected = natural_expansion_score(grown, images, labels, fisher, damping)
        assert candidate.score == pytest.approx(expected, rel=1e-4)
        assert candidate.gain == pytest.approx(expected - current, rel=1e-3, abs=1e-6)
        penalty = math.exp(-1e-5 * candidate.added_parameters**2)
        assert candidate.regularized == pytest.approx(candidate.score * penalty)
        assert candidate.ratio == pytest.approx(candidate.regularized / current)


@pytest.mark.parametrize("proposal", PROPOSALS)
@pytest.mark.parametrize("fisher", ["diagonal", "exact"])
def test_proposed_filters_are_scored_as_copies_by_hand(
    proposal, fisher, make_network, draw_images, monkeypatch
):
    monkeypatch.setattr(surgery, "NOISE", 1e-7)
    network = make_network(GROWTH)
    images, labels = draw_images(network, 24)
    widening = [AddChannels(block, 3) for block in range(3)]
    damping, seed = KINDS[AddChannels] if fisher != "exact" else 1e-3, 11
    scored = score_candidates(
        network, images, labels, widening, 0.0, fisher, damping, seed, proposal
    )[1]
    filters = propose_filters(proposal, network, widening, images, labels, seed)
    for candidate in scored:
        proposed = filters[candidate.expansion]
        grown = grown_by_hand(network, candidate.expansion, images, seed, proposed)
        expected = natural_expansion_score(grown, images, labels, fisher, damping)
        assert candidate.score == pytest.approx(expected, rel=1e-4)


def test_kinds_without_a_rule_are_scored_on_copies(scoring, monkeypatch):
    network, proposals = scoring[0], propose(scoring[0], 2)
    ruled = score_candidates(*scoring, proposals, seed=3)[1]
    for kind in (AddLayer, AddChannels):
        monkeypatch.setattr(kind, "parts", Expansion.parts)
    for candidate, fast in zip(
        score_candidates(*scoring, proposals, seed=3)[1], ruled, strict=True
    ):
        grown = grown_by_hand(network, candidate.expansion, scoring[1], 3)
        expected = natural_expansion_score(grown, *scoring[1:])
        assert candidate.score == pytest.approx(expected, rel=1e-9)
        assert fast.score == pytest.approx(expected, rel=2e-2)  # The noise of 1e-4 apart.


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


def test_the_relative_penalty_has_no_unit(scoring):
    """It is the same for a network and an expansion twice as large."""
    network, images, labels = scoring
    (layer,) = score_candidates(network, images, labels, [AddLayer(1)], 2.0, penalty="relative")[1]
    share = layer.added_parameters / network.n_parameters
    assert layer.regularized == pytest.approx(layer.score * math.exp(-2 * share**2))


def test_nothing_to_score_gives_the_network_s_own_score(scoring):
    current, candidates = score_candidates(*scoring, [])
    assert current == pytest.approx(natural_expansion_score(*scoring), rel=1e-12)
    assert candidates == []


def test_a_candidate_without_scores_says_so():
    candidate = Candidate(AddLayer(0), 2336)
    assert candidate.score is candidate.regularized is candidate.ratio is None
    assert candidate.gain_per_parameter is candidate.predicted_reduction is None
