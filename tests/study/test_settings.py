"""The settings that a command line asks for."""

import dataclasses
import json

import pytest

from secnn import SETTINGS, TrialConfig
from secnn.study.command import parser
from secnn.study.run import main
from secnn.study.settings import reference
from secnn.training.presets import PRESETS, SMALL_EPOCHS

PAPER = PRESETS["paper"].reference


def asked(*arguments):
    return reference(parser().parse_args(arguments), PAPER)


def test_options_change_the_reference():
    config = asked("--epochs", "7", "--seed-offset", "10", "--max-parameters", "30000")
    assert (config.epochs, config.seed, config.max_parameters) == (7, 10, 30000)
    config = asked("--set", "tau=1.5", "channel_steps=4", "channels=8,8", "penalty=relative")
    assert (config.tau, config.channel_steps, config.channels) == (1.5, (4,), (8, 8))
    assert config.penalty == "relative"
    config = asked("--proposal", "random", "--fisher", "exact", "--set", "damping=3e-3")
    assert (config.proposal, config.fisher, config.damping) == ("random", "exact", 3e-3)
    config = asked("--set", "cell=conv", "expansions=AddChannels,AddLayer", "channels=16,16,16")
    assert (config.cell, config.expansions) == ("conv", ("AddChannels", "AddLayer"))
    assert config.channels == (16, 16, 16)
    assert asked("--set", "damping=none", "targets=", "l1=1e-4").targets == ()
    assert asked() == PAPER


def test_the_results_folder_may_be_at_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert str(parser().parse_args(["--out=~/mine"]).out) == "/home/me/mine"


def test_repeated_options_add_up():
    once = parser().parse_args(
        ["--set", "capacity=4", "l1=0", "--tau", "1", "2", "--lam", "--criterion", "never"]
    )
    twice = parser().parse_args(
        [*("--set", "capacity=4", "--set", "l1=0", "--tau", "1", "--tau", "2"),
         *("--lam", "--criterion", "never", "--lam", "--criterion")]
    )  # fmt: skip
    for name in ("set", "tau", "lam", "criterion"):
        assert getattr(once, name) == getattr(twice, name)
    assert reference(once, PAPER) == reference(twice, PAPER)
    assert parser().parse_args([]).tau is None


def test_settings_that_small_data_changes_are_told(tmp_path, capsys):
    options = ["--preset", "paper", "--dataset", "digits", "--dry-run", "--num-samples", "1"]
    options = [*options, "--tau", "--lam", "--retrain", "--out", str(tmp_path / "out")]
    assert main(options) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("3 trials of preset paper on ")
    assert f"2 trials × {SMALL_EPOCHS} epochs, and 1 more for as many FLOPs. " in shown
    assert f"epochs {SMALL_EPOCHS} instead of 300, batch_size 128 instead of 512" in shown
    line = shown.splitlines()[1]
    back = line[line.index("--epochs") :].split()
    assert back[:3] == ["--epochs", "300", "--set"]
    assert set(back[3:]) == {"batch_size=512", "score_samples=512"}
    assert main([*(o for o in options if o != "--retrain"), *back]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("1 trial of preset paper on ")
    assert shown.splitlines()[1] == "1 trial × 300 epochs."


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("image_mean=0.5,0.5,0.5", "image_mean: expected 1 numbers, one a channel of the images"),
        ("image_std=1,1", "image_std: expected 1 numbers"),
        ("shift=32", "shift: expected fewer pixels than the 32 of an image's side, got 32"),
        ("learning_rate=1e300", "expected a value like learning_rate=0.002"),
        ("negative_slope=1e-300", "expected a value like negative_slope=0.01"),
    ],
)
def test_settings_of_which_each_trial_would_fail_are_refused_at_once(
    setting, told, tmp_path, capsys
):
    options = ["--preset", "quick", "--dataset", "digits", "--dry-run", "--set", setting]
    assert main([*options, "--out", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert told in shown
    assert shown.count("\n") == 1


@pytest.fixture
def own(monkeypatch):
    for name, default in {"margin": 0.5, "steps": 3, "rule": "strict"}.items():
        monkeypatch.setitem(SETTINGS, name, default)


def test_settings_of_ones_own_are_set_like_others(own):
    config = asked("--set", "margin=1e-1", "rule=a=b", "capacity=4")
    assert config.own == ("margin=0.1", "rule=a=b") and config.capacity == 4
    found = [config.own_setting(name) for name in SETTINGS]
    assert found == [0.1, 3, "a=b"] and [type(v) for v in found] == [float, int, str]
    assert asked().own == () and asked().own_setting("margin") == 0.5
    assert TrialConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_settings_of_ones_own_in_a_preset_can_be_changed(own):
    preset = dataclasses.replace(PAPER, own=("margin=2.0", "steps=5"))
    changed = reference(parser().parse_args(["--set", "steps=7"]), preset)
    assert (changed.own_setting("margin"), changed.own_setting("steps")) == (2.0, 7)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["margin=x"], "--set: expected a value like margin=0.5, got margin=x"),
        (["margin=nan"], "--set: expected a value like margin=0.5, got margin=nan"),
        (["steps=1.5"], "--set: expected a value like steps=3, got steps=1.5"),
        (["steps=1", "steps=2"], "--set: expected steps once, got it twice"),
        (["own=margin=1"], "--set: expected NAME=VALUE with one of "),
        (["margins=1"], "margin, steps, rule, got margins=1"),
    ],
)
def test_values_that_settings_of_ones_own_cannot_take_are_refused(settings, told, own):
    with pytest.raises(ValueError) as refused:
        asked("--set", *settings)
    assert told in str(refused.value)


@pytest.mark.parametrize("entry", ["margin=x", "margin=inf", "steps=", "other=1", "tau=1", ""])
def test_a_configuration_has_no_other_settings_of_ones_own(entry, own):
    with pytest.raises(ValueError, match=r"^own: expected "):
        TrialConfig(own=(entry,))


def test_a_setting_of_secnn_s_is_not_added_again(monkeypatch):
    monkeypatch.setitem(SETTINGS, "patience", 3)
    with pytest.raises(ValueError, match="SETTINGS: secnn has a setting patience itself"):
        asked()
