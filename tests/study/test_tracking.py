"""Trackers are asked for by options, and one that is not installed is told of before all else."""

import pytest

from secnn.study import run, tracking


@pytest.mark.parametrize(
    ("option", "package"), [("--wandb=mine", "wandb"), ("--mlflow=sqlite:///x.db", "mlflow")]
)
def test_a_tracker_that_is_not_installed_is_one_line(option, package, monkeypatch, capsys):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None if name == package else object())
    assert run.main(["--dataset", "digits", "--dry-run", option]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"--{package}: expected the package {package}" in error
    assert f"pip install 'secnn[{package}]'" in error


def test_nothing_is_needed_for_what_nobody_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    asked = run.options().parse_args([])
    tracking.expect_installed(asked)
    assert tracking.trackers(asked, tmp_path) == []
    asked = run.options().parse_args(["--tensorboard"])
    with pytest.raises(ValueError, match="--tensorboard: expected the package tensorboardX"):
        tracking.expect_installed(asked)


def test_tensorboard_is_rays_own_callback(tmp_path):
    from ray.tune.logger import TBXLoggerCallback

    (callback,) = tracking.trackers(run.options().parse_args(["--tensorboard"]), tmp_path)
    assert isinstance(callback, TBXLoggerCallback)
