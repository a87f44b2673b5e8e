"""A fence has one holder at a time, and none after a crash."""

import errno
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from secnn.study.fence import Fence, FenceError, holder, is_held

HOLD = """
import sys, time
from pathlib import Path
from secnn.study.fence import Fence
fence = Fence(Path(sys.argv[1]))
fence.acquire()
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trial" / "OWNER"


@contextmanager
def another_holder(path):
    line = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_second_holder_is_refused_and_told_who_has_it(path):
    with Fence(path):
        assert is_held(path)
        with pytest.raises(FenceError, match="process"):
            Fence(path).acquire()
    assert not is_held(path)
    with Fence(path):
        pass


def test_a_killed_process_holds_nothing(path):
    with another_holder(path) as process:
        with pytest.raises(FenceError, match=f"process {process.pid}"):
            Fence(path).acquire()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not is_held(path)
        with Fence(path):
            assert str(process.pid) not in holder(path)


def test_waiting_gets_the_fence_once_it_is_free(path):
    with another_holder(path) as process:
        threading.Timer(0.5, process.kill).start()
        fence = Fence(path)
        fence.acquire(wait=30)
        fence.check()
        assert str(os.getpid()) in holder(path)
        fence.release()


def test_an_owner_notices_that_another_took_over(path):
    with Fence(path) as fence:
        fence.check()
        path.write_text("another machine process 1 token")
        with pytest.raises(FenceError, match="another machine process 1"):
            fence.check()


def test_a_file_that_may_only_be_read_is_asked(path):
    with Fence(path):
        path.chmod(0o444)
        assert is_held(path)
    assert not is_held(path)
    with another_holder(path):
        assert is_held(path)
    before = path.read_bytes()
    assert not is_held(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(number, path, monkeypatch):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    path.parent.mkdir()
    path.touch()
    monkeypatch.setattr("fcntl.flock", flock)
    for ask in (lambda: Fence(path).acquire(), lambda: is_held(path)):
        with pytest.raises(OSError, match=f"{path}: its file system gives no locks .*--out") as e:
            ask()
        assert e.value.errno == number


def test_a_damaged_token_names_nobody(path):
    path.parent.mkdir()
    for token in (b"", b"\xff\xfe\x00", b"one\ntwo three four"):
        path.write_bytes(token)
        assert "\n" not in holder(path)
        assert holder(path)
        with Fence(path) as fence:
            path.write_bytes(token)
            with pytest.raises(FenceError):
                fence.check()


def test_asking_does_not_take(path):
    assert not is_held(path)
    with Fence(path) as fence:
        is_held(path)
        fence.check()
