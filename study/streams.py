"""Standard streams that may end before the study does: a pipe whose reader is gone, a terminal that
was closed, or none at all."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Outlet(io.FileIO):
    """A file on which what cannot be written is lost, and nothing else."""

    def write(self, data: Buffer) -> int:
        with suppress(OSError):
            return super().write(data)
        return memoryview(data).nbytes


def outlive_readers() -> None:
    """From now on a study goes on, unseen, where nobody takes what it prints: `run | head -1`, a
    closed terminal, `run >&-`. Streams of somebody else's, say a notebook's, stay as they are."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__"):
            continue
        if stream is None:
            _occupy(number)
        if number:
            setattr(sys, name, _lasting(number, stream))


def _occupy(number: int) -> None:
    """Have a file of that number: the next one to be opened would be taken for the stream."""
    try:
        os.fstat(number)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_RDWR), number)


def _lasting(number: int, like: io.TextIOWrapper | None) -> io.TextIOWrapper:
    file = io.BufferedWriter(Outlet(number, "w", closefd=False))
    if like is None:
        return io.TextIOWrapper(file, "utf-8")
    with suppress(OSError):
        like.flush()
    lines, through = like.line_buffering, like.write_through
    return io.TextIOWrapper(
        file, like.encoding, like.errors, line_buffering=lines, write_through=through
    )
