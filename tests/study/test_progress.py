"""What the terminal tells of running trials."""

from types import SimpleNamespace

import pytest

from secnn.study import progress
from secnn.study.progress import ProgressLines, duration


def trial(key):
    return SimpleNamespace(config={"key": key})


def result(epoch, seconds, expansion=None):
    row = {"epoch": epoch, "parameters": 9024, "expansion": expansion}
    row |= {"train_accuracy": 50.0, "val_accuracy": 40.0}
    return row | {f"{part}_seconds": seconds / 3 for part in ("train", "eval", "score")}


def test_the_rest_is_estimated_from_what_epochs_took(capsys):
    lines = ProgressLines({"a": 10, "b": 10, "c": 20}, lambda: 2)
    trials = [trial("a"), trial("b"), trial("c")]
    lines.on_trial_result(0, trials, trials[0], result(4, 60))
    assert "left" not in capsys.readouterr().out  # Another runs too, of which nothing is known yet.
    lines.on_trial_result(0, trials, trials[1], result(1, 120))
    assert lines.rest(2) == pytest.approx(max(20 * 90, (6 * 60 + 9 * 120 + 20 * 90) / 2))
    assert "About 30 minutes left" in capsys.readouterr().out
    assert lines.rest(1) == pytest.approx(6 * 60 + 9 * 120 + 20 * 90)
    assert lines.rest(0) == lines.rest(1)


def test_the_estimate_is_repeated_from_time_to_time(capsys, monkeypatch):
    lines, only = ProgressLines({"a": 10}, lambda: 2), trial("a")
    monkeypatch.setattr(progress, "PAUSE", 0)
    for epoch in (1, 2):
        lines.on_trial_result(0, [only], only, result(epoch, 600, "AddLayer(block=0)"))
    monkeypatch.undo()
    lines.on_trial_result(0, [only], only, result(3, 600))
    shown = capsys.readouterr().out
    assert shown.count("epoch ") == 3
    assert shown.count("-> AddLayer(block=0)") == 2
    assert [hours in shown for hours in ("90 minutes", "80 minutes", "70 minutes")] == [1, 1, 0]


def test_the_estimate_tells_of_trials_that_it_leaves_out(capsys):
    only = trial("a")
    ProgressLines({"a": 10}, lambda: 2, 2).on_trial_result(0, [only], only, result(1, 60))
    assert "longer as they grow, and without the 2 that follow." in capsys.readouterr().out


def test_a_trial_that_ended_early_is_not_waited_for(capsys):
    lines = ProgressLines({"a": 10, "b": 1000}, lambda: 2)
    trials = [trial("a"), trial("b")]
    lines.on_trial_complete(0, trials, trials[1])
    lines.on_trial_result(0, trials, trials[0], result(4, 600))
    assert "About 60 minutes left at the sizes that the networks have now, 1 at" in (
        capsys.readouterr().out
    )


def test_durations_have_their_unit():
    found = [duration(s) for s in (0, 60, 100, 7100, 7200, 90_000)]
    assert found == ["1 minute", "1 minute", "2 minutes", "118 minutes", "2.0 hours", "25.0 hours"]
