"""What the terminal tells of running trials."""

import io
import math
import pickle
from types import SimpleNamespace

import pytest
from rich.console import Console

from secnn.study import progress
from secnn.study.progress import Bars, Lines, Pace, duration


def trial(key):
    return SimpleNamespace(config={"key": key})


def result(epoch, seconds, expansion=None, **more):
    row = {"epoch": epoch, "parameters": 9024, "expansion": expansion}
    row |= {"train_accuracy": 50.0, "val_accuracy": 40.0, **more}
    return row | {f"{part}_seconds": seconds / 3 for part in ("train", "eval", "score")}


def alike(epochs):
    """Costs of trials whose epochs cost one second each."""
    return {key: [1.0] * count for key, count in epochs.items()}


def lines(epochs, slots, follow=0):
    return Lines(Pace(alike(epochs), lambda: slots), follow)


@pytest.fixture
def bars():
    """Makes bars in a terminal of some width; what `shown` returns is the screen's last picture."""

    def made(epochs, slots=2, follow=0, width=120):
        screen = io.StringIO()
        console = Console(file=screen, width=width, force_terminal=True, color_system=None)
        found = Bars(Pace(alike(epochs), lambda: slots), follow, console)

        def shown():
            with console.capture() as picture:
                console.print(found.bars.get_renderable())
            return picture.get().splitlines()

        return found, shown, screen

    return made


def test_the_rest_is_estimated_from_what_epochs_took(capsys):
    told = lines({"a": 10, "b": 10, "c": 20}, 2)
    trials = [trial("a"), trial("b"), trial("c")]
    told.on_trial_result(0, trials, trials[0], result(4, 60))
    assert "left" not in capsys.readouterr().out  # Another runs too, of which nothing is known yet.
    told.on_trial_result(0, trials, trials[1], result(1, 120))
    pace = told.pace
    assert pace.rest(2) == pytest.approx(max(20 * 90, (6 * 60 + 9 * 120 + 20 * 90) / 2))
    assert "About 30 minutes left" in capsys.readouterr().out
    assert pace.rest(1) == pytest.approx(6 * 60 + 9 * 120 + 20 * 90)
    assert pace.rest(0) == pace.rest(1)


def test_epochs_to_come_are_taken_for_what_they_will_cost():
    pace = Pace({"a": [1.0, 1.0, 4.0], "b": [2.0, 6.0]}, lambda: 1, {"a": 1})
    assert pace.rest(1) == 5 + 8  # Before any was trained costs are seconds.
    pace.observe("a", result(2, 3.0))
    assert pace.rest_of("a") == pytest.approx(3 * 4)
    assert pace.rest(1) == pytest.approx(3 * 4 + 3 * 8)
    pace.observe("b", result(1, 2.0))
    assert pace.rest_of("b") == pytest.approx(6)
    pace.observe("a", result(3, 9.0))
    assert pace.rest_of("a") == 0


def test_the_estimate_is_repeated_from_time_to_time(capsys, monkeypatch):
    told, only = lines({"a": 10}, 2), trial("a")
    monkeypatch.setattr(progress, "PAUSE", 0)
    for epoch in (1, 2):
        told.on_trial_result(0, [only], only, result(epoch, 600, "AddLayer(block=0)"))
    monkeypatch.undo()
    told.on_trial_result(0, [only], only, result(3, 600))
    shown = capsys.readouterr().out
    assert shown.count("epoch ") == 3
    assert shown.count("-> AddLayer(block=0)") == 2
    assert [hours in shown for hours in ("90 minutes", "80 minutes", "70 minutes")] == [1, 1, 0]


@pytest.mark.parametrize("rung", [None, 3])
def test_a_line_tells_the_epoch_of_all_epochs_and_the_rung_if_there_is_one(rung, capsys):
    lines({"a": 30}, 1).on_trial_result(0, [], trial("a"), result(12, 60, rung=rung))
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("a ") and "epoch 12/30 " in first
    assert ("rung 3" in first) == (rung == 3) and "None" not in first


UNUSUAL = [
    ({"eta_current": math.nan}, "the network's score is nan"),
    ({"logit_change": 3.68, "expansion": "AddLayer(block=0)"}, "moved the logits by 3.7 of"),
]


@pytest.mark.parametrize("more, told", UNUSUAL)
def test_growth_that_went_wrong_is_told(more, told, capsys, bars):
    lines({"a": 30}, 1).on_trial_result(0, [], trial("a"), result(12, 60, **more))
    assert told in capsys.readouterr().out
    drawn, _, screen = bars({"a": 30})
    drawn.on_trial_result(0, [], trial("a"), result(12, 60, **more))
    assert told in screen.getvalue()
    usual = {"eta_current": 900.0, "logit_change": 0.003, "expansion": "AddLayer(block=0)"}
    lines({"a": 30}, 1).on_trial_result(0, [], trial("a"), result(12, 60, **usual))
    assert capsys.readouterr().out.splitlines()[0].endswith("-> AddLayer(block=0)")


def test_the_estimate_tells_of_trials_that_it_leaves_out(capsys):
    lines({"a": 10}, 2, follow=2).on_trial_result(0, [], trial("a"), result(1, 60))
    assert "1 at a time, and without the 2 that follow." in capsys.readouterr().out


def test_a_trial_that_ended_early_is_not_waited_for(capsys):
    told = lines({"a": 10, "b": 1000}, 2)
    told.on_trial_complete(0, [], trial("b"))
    told.on_trial_result(0, [], trial("a"), result(4, 600))
    assert "About 60 minutes left at the sizes to be expected, 1 at" in capsys.readouterr().out


def test_nothing_is_left_when_all_have_ended():
    pace = Pace(alike({"a": 10}), lambda: 2)
    pace.observe("a", result(10, 60))
    pace.end("a")
    assert (pace.rest(1), pace.running) == (0, 1)


def test_durations_have_their_unit():
    found = [duration(s) for s in (0, 60, 100, 7100, 7200, 90_000)]
    assert found == ["1 minute", "1 minute", "2 minutes", "118 minutes", "2.0 hours", "25.0 hours"]
    found = [progress.short(s) for s in (0, 40, 600, 12_600)]
    assert found == ["", "40 s left", "10 min left", "3.5 h left"]


def test_a_bar_for_each_trial_that_runs_and_one_for_the_study(bars):
    told, shown, _ = bars({"criterion=never,seed=0": 10, "criterion=never,seed=1": 30})
    assert [line.split()[0] for line in shown()] == ["study"]
    told.on_trial_result(0, [], trial("criterion=never,seed=0"), result(4, 60, rung=2))
    told.on_trial_result(0, [], trial("criterion=never,seed=1"), result(1, 60))
    study, first, second = shown()
    assert study.split()[0] == "study" and "epoch 5/40" in study and "29 min left" in study
    assert first.startswith("never,seed=0") and "epoch 4/10" in first and "rung 2" in first
    assert "9,024 parameters" in first and "40.0 %" in first and "6 min left" in first
    assert "epoch 1/30" in second and "rung" not in second and "None" not in second


@pytest.mark.parametrize("follow", [0, 6])
@pytest.mark.parametrize("width", [60, 72, 80, 100, 120])
def test_bars_fit_every_terminal_and_tell_seeds_apart(bars, width: int, follow: int):
    keys = [f"criterion=balanced,tau=0.5,lam=1e-06,seed={seed}" for seed in range(3)]
    told, shown, _ = bars(dict.fromkeys(keys, 300), width=width, follow=follow)
    for key in keys:
        told.on_trial_result(0, [], trial(key), result(234, 6000, rung=12, parameters=43_514))
    assert all(len(line) <= width for line in shown())
    assert len(shown()) == 4
    for seed, line in enumerate(shown()[1:]):
        name, numbers = line.split()[0], line.split(maxsplit=1)[1]
        assert name.startswith("bal") and name.endswith(f"seed={seed}")
        for number in ("234/300", "rung 12", "43,514", "40.0 %", "110.0 h"):
            assert number in numbers
    assert ("left" in shown()[1]) == (width >= 80)


@pytest.mark.parametrize("room", range(8, 40))
def test_a_name_that_is_too_long_keeps_its_ends(room: int):
    name = "balanced,tau=0.5,lam=1e-06,seed=10"
    found = progress.fitted(name, room)
    assert len(found) == min(room, len(name))
    head, _, tail = found.partition("…")
    assert name.startswith(head) and name.endswith(tail)
    assert found == name or len(tail) > len(head)


def test_a_trial_that_is_over_leaves_a_line_and_no_bar(bars):
    told, shown, screen = bars({"a[b]": 10, "c": 10})
    with told:
        told.on_trial_result(0, [], trial("a[b]"), result(10, 60))
        told.on_trial_complete(0, [], trial("a[b]"))
        told.on_trial_error(0, [], trial("c"))
    assert "a[b]: epoch 10/10, 9,024 parameters, 40.0 %" in screen.getvalue()
    (study,) = shown()
    assert "epoch 20/20" in study and "left" not in study


def test_bars_are_for_terminals_that_can_draw_them(monkeypatch):
    pace = Pace(alike({"a": 1}), lambda: 1)
    assert isinstance(progress.reporter(pace, 0, verbose=False), Lines)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(progress.reporter(pace, 0, verbose=False), Bars)
    assert isinstance(progress.reporter(pace, 0, verbose=True), Lines)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(progress.reporter(pace, 0, verbose=False), Lines)


def test_tune_can_pickle_what_holds_a_terminal(bars):
    told, _, _ = bars({"a": 1})
    with told:
        assert pickle.loads(pickle.dumps(told)).__dict__ == {}
