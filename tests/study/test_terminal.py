"""A study in a real terminal, and what trackers are told, as users run it."""

import contextlib
import fcntl
import os
import pty
import re
import shlex
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
from importlib.util import find_spec

import pytest
from studies import ROOT, secnn

SHORT = ("--preset", "quick", "--dataset", "digits", "--num-samples", "1", "--tau", "--lam")


def in_terminal(*arguments: object, interrupt_at: str | None = None) -> tuple[int, str]:
    """`python -m secnn run arguments` in a terminal of 120 columns; SIGINT once it shows
    `interrupt_at`. The exit status, and all that was shown."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    line = [sys.executable, "-m", "secnn", "run", *map(str, arguments)]
    ends = {"stdin": follower, "stdout": follower, "stderr": follower}
    # pytest-xdist tells its workers of a terminal of its own.
    sizes = {"COLUMNS", "LINES"}
    environment = {name: value for name, value in os.environ.items() if name not in sizes}
    environment |= {"TERM": "xterm", "NO_COLOR": "1"}
    shown, sent = b"", False
    with subprocess.Popen(line, cwd=ROOT, env=environment, start_new_session=True, **ends) as run:
        os.close(follower)
        while True:
            try:
                read = os.read(leader, 65536)
            except OSError:  # The other end is closed.
                break
            shown += read
            if not read:
                break
            if interrupt_at and not sent and interrupt_at in shown.decode(errors="replace"):
                run.send_signal(signal.SIGINT)
                sent = True
    os.close(leader)
    return run.returncode, shown.decode(errors="replace").replace("\r", "\n")


def test_a_terminal_has_live_bars_and_no_tables_of_rays(tmp_path):
    status, shown = in_terminal(*SHORT, "--epochs", "2", "--out", tmp_path / "out")
    assert status == 0, shown
    assert re.search(r"balanced,tau=0.5,lam=0,seed=0 .* epoch [12]/2 +rung [12]", shown)
    assert re.search(r"study .* epoch 2/2", shown)
    assert re.search(r"seed=0: epoch 2/2, [\d,]+ parameters, [\d.]+ %", shown)
    assert "1 of 1 trials are done" in shown
    assert "Trial name" not in shown and "== Status ==" not in shown
    # The cursor is hidden while bars are drawn, and back at the end.
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l") >= 0


def test_an_interruption_in_a_terminal_ends_with_the_line_that_goes_on(tmp_path):
    arguments = (*SHORT, "--epochs", "500", "--out", tmp_path / "out")
    status, shown = in_terminal(*arguments, interrupt_at="epoch 2/500")
    assert status == 130, shown
    again = shlex.join(["python", "-m", "secnn", "run", *map(str, arguments)])
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown)
    assert plain.rstrip().endswith(f"interrupted: repeat the command to go on: {again}")
    assert plain.count("interrupted") == 1
    assert "Traceback" not in shown and "SIGINT" not in shown and "Tuner" not in shown
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l")


def scalars(path) -> dict[str, list[float]]:
    """Tag → values of a TensorBoard file: records of a length, its checksum, an event, its
    checksum."""
    from tensorboardX.proto.event_pb2 import Event

    content, place, found = path.read_bytes(), 0, {}
    while place < len(content):
        (size,) = struct.unpack_from("<Q", content, place)
        event = Event.FromString(content[place + 12 : place + 12 + size])
        place += 16 + size
        for value in event.summary.value:
            found.setdefault(value.tag.removeprefix("ray/tune/"), []).append(value.simple_value)
    return found


def test_tensorboard_and_rays_tables_are_there_if_asked_for(tmp_path):
    out = tmp_path / "out"
    run = secnn("run", *SHORT, "--epochs", 2, "--out", out, "--tensorboard", "--verbose")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Trial name" in run.stdout
    (events,) = out.glob("ray/*/*/events.out.tfevents.*")
    found = scalars(events)
    assert found["rung"] == [1, 2]
    assert found["parameters"][0] == 8736 and found["parameters"][1] > 8736
    assert all(0 < accuracy <= 100 for accuracy in found["val_accuracy"])
    assert len(found["train_accuracy"]) == 2 and len(found["best_layer_ratio"]) == 1


@pytest.mark.skipif(find_spec("wandb") is None, reason="needs secnn[wandb]")
def test_weights_and_biases_gets_the_epochs(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = secnn("run", *SHORT, "--epochs", 1, "--out", tmp_path / "out", "--wandb", "mine")
    assert run.returncode == 0, run.stdout + run.stderr
    (log,) = tmp_path.glob("out/wandb/offline-run-*/*.wandb")
    assert b"val_accuracy" in log.read_bytes()


@pytest.mark.skipif(find_spec("mlflow") is None, reason="needs secnn[mlflow]")
def test_mlflow_gets_the_epochs(tmp_path):
    store = tmp_path / "runs.db"
    given = (*SHORT, "--epochs", 1, "--out", tmp_path / "out", "--mlflow", f"sqlite:///{store}")
    run = secnn("run", *given)
    assert run.returncode == 0, run.stdout + run.stderr
    with contextlib.closing(sqlite3.connect(store)) as database:
        names = {name for (name,) in database.execute("SELECT key FROM metrics")}
    assert {"parameters", "rung", "val_accuracy"} <= names
