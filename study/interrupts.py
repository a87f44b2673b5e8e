"""What SIGINT and SIGTERM do to the command."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from secnn.commands import called
from secnn.study.streams import outlive_readers

INTERRUPTED = 130
FRESH = ("--fr", "--fre", "--fres", "--fresh")
"""What the parser takes for that option."""


def notice(command: str) -> str:
    """What is said at the end of an interrupted `command`."""
    return f"interrupted: repeat the command to go on: {resumed(command)}"


def resumed(command: str) -> str:
    """The line that goes on with what `command` began: without --fresh, which would start anew."""
    kept = (word for word in shlex.split(command) if word not in FRESH)
    return shlex.join(kept)


def interruptible(main: Callable[[], int]) -> int:
    """Call `main`, which may import for seconds and start Ray; its exit status, unless the process
    ends as interrupted."""
    leave_at_once()
    outlive_readers()
    status = main()
    if status == INTERRUPTED:
        end()
    return status


def leave(*_: object) -> NoReturn:
    """Tell of the interruption, and `end`."""
    with suppress(OSError):
        os.write(2, f"{notice(called())}\n".encode(errors="surrogateescape"))
    end()


def end() -> NoReturn:
    """End this process as interrupted, at once.

    Nothing is torn down, as Ray crashes in that when it was still starting; the operating system
    ends Ray's processes with this one, and drops the locks.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # The signal may have come while it was being written to.
            stream.flush()
    os._exit(INTERRUPTED)


def leave_at_once() -> None:
    """From now on both signals `leave`: for as long as there is nothing to clean up, as an
    exception is lost, or turned into another, within imports and the start of Ray."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)


def raise_interrupt() -> None:
    """From now on both signals raise KeyboardInterrupt, or do what Tune makes SIGINT do."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
