"""Replacing files so that a reader, or a crash, never meets half of one; damaged files."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unicodedata import category


def reason(error: BaseException) -> str:
    """What `error` says in one line; of what the system refuses, the file and why: `best.pt: Is a
    directory`."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    return printable(" ".join(text.splitlines()))


def first_line(error: BaseException) -> str:
    """What the error says in its first line, else its kind."""
    return (str(error) or type(error).__name__).splitlines()[0]


def printable(text: str) -> str:
    r"""`text` without what ends a line, moves a cursor, or UTF-8 cannot hold: that becomes
    `\n`, `\x1b`, `\udcff`."""
    return "".join(repr(c)[1:-1] if category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in text)


class FileError(ValueError):
    """A file that does not hold what it should; one line names it, and says what to do."""


def as_text(name: str) -> str:
    r"""`name`, which may be a file's, as UTF-8 can hold it: other bytes in it become `\udcff`."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; it takes `path`'s place if the body succeeds.
    If `path` is a link, it stays one, and what it leads to is replaced.

    What was written is on the disk before the rename; if the body fails, `path` stays as it was
    and the temporary file is removed.

    Raises:
        OSError: it cannot be written, and `filename` is `path`; or it is a device or a pipe.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(f"{path}: expected a file, or a name for one, got a device or a pipe")
    with suppress(FileExistsError):  # No folder: writing says so.
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno and error.filename in (None, temporary, str(temporary)):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with suppress(FileNotFoundError, NotADirectoryError):
            temporary.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Replace `path` by `text`, UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
