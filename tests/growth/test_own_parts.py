"""Criteria and scorers of one's own: what they are told, and answers that are refused."""

import dataclasses

import pytest

from secnn.growth.candidates import SCORERS, Candidate
from secnn.growth.consideration import consider
from secnn.growth.criterion import CRITERIA
from secnn.growth.decision import Decision
from secnn.growth.expansion import AddChannels, AddLayer
from secnn.training import audit
from secnn.training.config import TrialConfig

LOSSES = [2.0, 1.5, 1.2, 1.1, 1.0]
CONFIG = TrialConfig(tau=1.01, channel_steps=(2, 4), score_samples=20)


class Answering:
    """A criterion that answers what it was made with."""

    scored = False

    def __init__(self, answer):
        self.answer = answer

    def decide(self, growth):
        return self.answer


class Unscored:
    def decide(self, growth):
        return Decision(None, "never")


def fail(settings):
    raise KeyError("price")


@pytest.mark.parametrize(
    "answer",
    [
        *(None, "a layer", AddLayer(0), Decision(AddChannels(0, 999), "mine")),
        *(Decision("x", "mine"), Decision(None, None), Decision(AddLayer(0), 3.5)),
    ],
)
def test_an_answer_that_is_no_decision_on_a_candidate_is_refused(
    answer, network, scoring_set, monkeypatch
):
    monkeypatch.setitem(CRITERIA, "own", lambda settings: Answering(answer))
    config = dataclasses.replace(CONFIG, criterion="own")
    with pytest.raises(ValueError, match="criterion own: expected") as refused:
        consider(network, config, scoring_set, [], LOSSES, seed=3)
    assert "\n" not in str(refused.value)


SCORED = [Candidate(e, 1, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0) for e in (AddLayer(0),)]


@pytest.mark.parametrize(
    "answer",
    [None, 1.0, (1.0, SCORED), ([], SCORED), (1.0, None), (1.0, []), (1.0, [AddLayer(0)] * 6)],
    ids=str,
)
def test_scores_that_are_not_of_all_candidates_are_refused(
    answer, network, scoring_set, monkeypatch
):
    monkeypatch.setitem(SCORERS, "own", lambda *given: answer)
    config = dataclasses.replace(CONFIG, scorer="own")
    with pytest.raises(ValueError, match="scorer own: expected the network's eta and") as refused:
        consider(network, config, scoring_set, [], LOSSES, seed=3)
    assert "\n" not in str(refused.value)


def test_a_criterion_knows_when_the_network_grew(network, scoring_set, monkeypatch):
    seen = []

    class Looking(Answering):
        def decide(self, growth):
            seen.append((growth.expansions, growth.grown_after))
            return self.answer

    monkeypatch.setitem(CRITERIA, "own", lambda settings: Looking(Decision(None, "looking")))
    config = dataclasses.replace(CONFIG, criterion="own")
    consider(network, config, scoring_set, [AddLayer(0)], LOSSES, 3, [2])
    assert seen == [([AddLayer(0)], [2])]


@pytest.mark.parametrize("make", [lambda settings: Unscored(), lambda: None, fail, 1])
def test_what_gives_no_criterion_is_named(make, network, scoring_set, monkeypatch):
    monkeypatch.setitem(CRITERIA, "own", make)
    config = dataclasses.replace(CONFIG, criterion="own")
    with pytest.raises(ValueError, match="criterion own: expected a function of the settings"):
        consider(network, config, scoring_set, [], LOSSES, seed=3)


def test_a_refusal_without_scores_is_told_too(network, scoring_set, monkeypatch):
    answer = Decision(None, "still falling")
    monkeypatch.setitem(CRITERIA, "own", lambda settings: Answering(answer))
    config = dataclasses.replace(CONFIG, criterion="own")
    records = audit.records(consider(network, config, scoring_set, [], LOSSES, 0), 5, None)
    assert [(r.chosen, r.reason, r.eta) for r in records] == [(False, "still falling", None)] * 6
