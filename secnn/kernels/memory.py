"""Telling the C library's allocator to keep what is freed."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8  # glibc's malloc.h


def keep_freed_memory() -> bool:
    """Let glibc's malloc reuse large freed blocks instead of returning them to the system.

    A step of training allocates activations of tens of MB, which would otherwise be mapped and
    faulted in anew each time: on CPUs 1.1 to 2.5 times the duration of an epoch
    (docs/performance.md). It holds for the whole process, which keeps its peak of memory; so a
    program decides, not this library. Returns whether it took effect: False without glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # One arena: each thread's own would keep what it freed, and Ray has a new one for each trial.
    settings = {_M_ARENA_MAX: 1, _M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 1 << 30, _M_TOP_PAD: 64 << 20}
    return all(mallopt(name, value) == 1 for name, value in settings.items())
