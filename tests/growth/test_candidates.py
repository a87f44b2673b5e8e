"""A candidate's score is that of the network it makes, and scoring leaves no trace."""

import copy
import math
from unittest import mock

import pytest
import torch

from secnn.growth.candidates import Candidate, propose, score_candidates
from secnn.growth.expansion import AddChannels, AddLayer, Expansion
from secnn.growth.proposal import PROPOSALS, propose_filters
from secnn.network import surgery
from secnn.score.fisher import FISHERS
from secnn.score.natural import natural_expansion_score

GROWTH = (AddLayer(0), AddChannels(1, 2))


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


# --- scores -------------------------------------------------------------------------------


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

# New channels are blocks of their own for kfac: tests/score/test_kfac.py.
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


def test_only_what_knows_how_to_grow_has_candidates(scoring):
    with pytest.raises(ValueError, match=r"network: expected a SECNN, .* got Linear"):
        score_candidates(torch.nn.Linear(2, 2), *scoring[1:], [])


def test_nothing_to_score_gives_the_network_s_own_score(scoring):
    current, candidates = score_candidates(*scoring, [])
    assert current == pytest.approx(natural_expansion_score(*scoring), rel=1e-12)
    assert candidates == []


def test_a_candidate_without_scores_says_so():
    candidate = Candidate(AddLayer(0), 2336)
    assert candidate.score is candidate.regularized is candidate.ratio is None
    assert candidate.gain_per_parameter is candidate.predicted_reduction is None


def test_what_adds_no_parameters_has_no_density(scoring):
    nothing = AddChannels(0, 2)
    with mock.patch.object(AddChannels, "added_parameters", lambda self, network: 0):
        (candidate,) = score_candidates(*scoring, [nothing])[1]
    assert candidate.density == 0
    assert candidate.gain_per_parameter is None


# --- side effects -------------------------------------------------------------------------


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
