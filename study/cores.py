"""How many cores this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

ROOT, GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cores() -> int:
    """The cores that the process is bound to, or as many as its control group's quota pays for if
    those are fewer; at least 1."""
    if hasattr(os, "sched_getaffinity"):  # Linux: taskset, srun --cpu-bind, cpusets.
        bound = len(os.sched_getaffinity(0))
    else:
        bound = os.cpu_count() or 1
    return max(1, int(min([bound, *quotas()])))


def quotas(root: Path = ROOT, groups: Path = GROUPS) -> Iterator[float]:
    """Cores that each of the control groups that the process is in may use at a time: of Linux'
    version 2, `cpu.max`, also of the groups around its own; of version 1, `cpu.cfs_quota_us`."""
    for folder in control_groups("cpu", root, groups):
        yield from _quota(folder)


def control_groups(controller: str, root: Path, groups: Path) -> Iterator[Path]:
    """The folders of the control groups that limit the process by `controller`, its own first."""
    for line in text_of(groups).splitlines():
        _, controllers, group = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            top = root / controllers
            own = top / group.lstrip("/")
            yield from (own, *(p for p in own.parents if p.is_relative_to(top)))


def _quota(folder: Path) -> list[float]:
    words = text_of(folder / "cpu.max").split()
    words = words or [text_of(folder / f"cpu.cfs_{n}_us").strip() for n in ("quota", "period")]
    if words[0].isdigit() and words[1].isdigit():  # Not "max" or "-1", without a limit.
        return [int(words[0]) / int(words[1])]
    return []


def text_of(path: Path) -> str:
    """Empty where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
