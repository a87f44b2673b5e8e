"""A lock on a file that tells who holds it, and that a crash releases."""

from __future__ import annotations

import fcntl
import os
import socket
import time
import uuid
from pathlib import Path
from typing import IO


class FenceError(RuntimeError):
    """Somebody else holds the fence."""


class Fence:
    """At most one holder of `path`, over all processes and machines that see the file.

    The operating system's lock decides, and drops it when its holder dies, however it dies; on a
    network file system the server does so (NFS 4, where `flock` locks the file's bytes). The file's
    text is the owner's token, which `check` compares, in case a server forgot the lock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.token = f"{socket.gethostname()} process {os.getpid()} {uuid.uuid4().hex}"

    def acquire(self, wait: float = 0.0) -> None:
        """Take the fence, waiting up to `wait` seconds for another holder to go.

        Raises:
            FenceError: it is held; the message says by whom.
            OSError: the token cannot be written, or the file system gives no locks.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Without a buffer: on a full disk, closing would try to write its rest again.
        self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115
        try:
            self._wait(time.monotonic() + wait)
            self._file.truncate(0)
            self._file.write(self.token.encode())
        except (FenceError, OSError):
            self._file.close()
            raise

    def _wait(self, deadline: float) -> None:
        while not _lock(self._file, fcntl.LOCK_EX, self.path):
            if time.monotonic() >= deadline:
                raise FenceError(f"{self.path} is held by {holder(self.path)}")
            time.sleep(0.2)

    def check(self) -> None:
        """Raise FenceError if another owner has taken the fence since."""
        if self.path.read_text(encoding="utf-8", errors="replace") != self.token:
            raise FenceError(f"{self.path} was taken over by {holder(self.path)}")

    def release(self) -> None:
        """Let the next owner in. The file stays: removing it would let two hold it."""
        self._file.close()

    def __enter__(self) -> Fence:
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def holder(path: Path) -> str:
    """Host and process of the last owner."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return " ".join(text.split()).rpartition(" ")[0][:200] or "an unknown process"


def is_held(path: Path) -> bool:
    """Whether some process holds the fence at `path` now; it is enough that it may be read."""
    if not path.exists():
        return False
    with open(path, "rb") as file:
        # Shared, as NFS locks exclusively only what is open for writing.
        return not _lock(file, fcntl.LOCK_SH, path)


def _lock(file: IO[bytes], kind: int, path: Path) -> bool:
    """Whether the operating system gives the lock on `file`, opened from `path`, now.

    Raises:
        OSError: it gives none on that file system.
    """
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise OSError(
            error.errno,
            f"{path}: its file system gives no locks ({error.strerror}); choose an --out on "
            "another one",
        ) from None
    return True
