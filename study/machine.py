"""What a machine may deny that Ray needs: told before it starts, each by its own cause."""

from __future__ import annotations

import os
import resource
import secrets
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from secnn.study.cores import GROUPS, ROOT, control_groups, text_of

SESSION = "/ray/session_2026-01-01_00-00-00_000000_{}/sockets/plasma_store"
"""The longest of Ray's sockets, below its temporary folder; the number is that of this process."""
LONGEST = 107 if sys.platform == "linux" else 103
"""Bytes in the path of a socket."""
THREADS, THREADS_A_CORE = 200, 40
"""What Ray and its workers were seen to start, and a quarter more."""
UNLIMITED = 1 << 24 | 1 << 21
"""CAP_SYS_RESOURCE and CAP_SYS_ADMIN: whoever has one is not held to RLIMIT_NPROC."""


def expect_process() -> None:
    """Prepare for Ray to be imported; ValueError if this thread cannot use it."""
    if threading.current_thread() is not threading.main_thread():
        raise ValueError(
            "run: expected to be called from the main thread, which alone gets signals, got "
            f"{threading.current_thread().name}; start it as a process of its own"
        )
    try:
        Path.home()
    except RuntimeError:  # As container engines do for users whom the system does not list.
        os.environ["HOME"] = "/"


def expect_local(cores: int) -> None:
    """Prepare for Ray to start here, for `cores` trials at a time.

    Raises:
        OSError: it could not.
    """
    token = Path.home() / ".ray" / "auth_token"
    place = next(path for path in (token, *token.parents) if path.exists())
    if place != token and not os.access(place, os.W_OK | os.X_OK):
        # What Ray's processes know each other by; Ray would write one there.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    folders = {name: os.environ.get(name, "") for name in ("RAY_TMPDIR", "TMPDIR")}
    for name, folder in folders.items():
        if folder:
            os.environ[name] = os.path.abspath(folder)
        else:  # Set but empty, Ray would take it for this folder.
            os.environ.pop(name, None)
    name = next((name for name in folders if name in os.environ), "/tmp")
    expect_folder(Path(os.environ.get(name, name)), name)
    expect_threads(THREADS + THREADS_A_CORE * cores)


def expect_folder(folder: Path, name: str) -> None:
    """Raise OSError if Ray cannot work in `folder`, the value of the variable `name`."""
    room = LONGEST - len(SESSION.format(os.getpid()))
    if len(os.fsencode(folder)) > room:
        raise OSError(
            f"{name}: expected a folder whose path has at most {room} bytes, as Ray opens sockets "
            f"below it, got {folder}; set RAY_TMPDIR to a shorter one, such as /tmp"
        )
    ray = folder / "ray"
    place = ray if ray.exists() else folder
    if not os.access(place, os.W_OK | os.X_OK):
        owner = f" of user {place.stat().st_uid}" if place.exists() else ""
        raise OSError(
            f"{name}: expected a folder that can be written to, as Ray works in {ray}, got "
            f"{place}{owner}; set RAY_TMPDIR to a short path of your own"
        )


def expect_threads(needed: int) -> None:
    """Raise OSError if fewer than `needed` more processes and threads may be started: Ray would
    hang, or crash."""
    for name, most, there in limits():
        if most - there < needed:
            raise OSError(
                f"{name}: expected room for {needed} more processes and threads, which Ray needs, "
                f"got {max(0, most - there)}: {there} of {most} are there; raise the limit"
            )


def limits(root: Path = ROOT, groups: Path = GROUPS) -> Iterator[tuple[str, int, int]]:
    """Each limit on processes and threads: what it is called, how many, and how many there are."""
    most, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if most != resource.RLIM_INFINITY and not exempt():
        yield "ulimit -u", most, sum(own_threads())
    for folder in control_groups("pids", root, groups):
        most_here, there = (text_of(folder / f"pids.{n}").strip() for n in ("max", "current"))
        if most_here.isdigit() and there.isdigit():  # Not "max", without a limit.
            yield f"{folder}/pids.max", int(most_here), int(there)


def exempt() -> bool:
    """Whether the limit of the user's processes does not hold for this one."""
    return os.getuid() == 0 or bool(int(_field("self", "CapEff") or "0", 16) & UNLIMITED)


def own_threads() -> Iterator[int]:
    """The threads of each process of this user."""
    for process in Path("/proc").glob("[0-9]*"):
        if (_field(process.name, "Uid") or "-1").split()[0] == str(os.getuid()):
            yield int(_field(process.name, "Threads") or 1)


def _field(process: str, name: str) -> str:
    """One of the lines of /proc/<process>/status; empty where there is none."""
    lines = text_of(Path("/proc", process, "status")).splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "")
