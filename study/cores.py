"""How many cores this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def cores() -> int:
    """The cores that the process is bound to, or as many as its control group's quota pays for if
    those are fewer; at least 1."""
    if hasattr(os, "sched_getaffinity"):  # Linux: taskset, srun --cpu-bind, cpusets.
        bound = len(os.sched_getaffinity(0))
    else:
        bound = os.cpu_count() or 1
    return max(1, int(min([bound, *quotas()])))


def quotas(root: Path = ROOT, groups: Path = Path("/proc/self/cgroup")) -> Iterator[float]:
    """Cores that each of the control groups that the process is in may use at a time: of Linux'
    version 2, `cpu.max`, also of the groups around its own; of version 1, `cpu.cfs_quota_us`."""
    for line in _text(groups).splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers in ("", "cpu", "cpu,cpuacct"):
            top = root / controllers
            own = top / group.lstrip("/")
            for folder in (own, *(p for p in own.parents if p.is_relative_to(top))):
                yield from _quota(folder)


def _quota(folder: Path) -> list[float]:
    words = _text(folder / "cpu.max").split()
    words = words or [_text(folder / f"cpu.cfs_{n}_us").strip() for n in ("quota", "period")]
    if words[0].isdigit() and words[1].isdigit():  # Not "max" or "-1", without a limit.
        return [int(words[0]) / int(words[1])]
    return []


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
