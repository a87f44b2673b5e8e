"""Trackers are asked for by options, and one that is not installed is told of before all else."""

import socket

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
    assert f"; pip install {package}" in error


@pytest.mark.parametrize("uri", ["http://127.0.0.1:{port}", "http://127.0.0.1:port", "https://"])
def test_a_server_that_does_not_answer_is_one_line_before_anything_starts(
    uri, tmp_path, monkeypatch, capsys
):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = uri.format(port=free.getsockname()[1])
    monkeypatch.setattr(tracking, "find_spec", lambda name: object())
    assert run.main(["--dataset", "digits", "--out", str(tmp_path / "out"), "--mlflow", uri]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"--mlflow: nothing answers at {uri}" in error and "sqlite:///" in error
    assert not (tmp_path / "out").exists()
    assert run.main(["--dataset", "digits", "--dry-run", "--mlflow", uri]) == 0


def test_a_server_that_listens_and_files_are_let_through():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        tracking.expect_listener(f"http://127.0.0.1:{server.getsockname()[1]}/path")
        asked, caller = server.accept()
        asked.close()
        assert caller[0] == "127.0.0.1"
    tracking.expect_listener("sqlite:///runs.db")


@pytest.mark.parametrize("option", tracking.REMEDIES)
def test_what_a_tracker_refuses_is_one_line_with_a_remedy(option):
    with pytest.raises(ValueError, match=f"--{option}: ") as caught, tracking.told(option):
        raise RuntimeError("no\nkey " + "found " * 200)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 450
    assert text.startswith(f"--{option}: no key found") and text.endswith(tracking.REMEDIES[option])


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
