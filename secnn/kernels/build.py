"""Compiling C++ at first use, once a machine."""

from __future__ import annotations

import ctypes
import fcntl
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
from pathlib import Path

from secnn.files import replacing

FLAGS = (
    *("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math"),
    *("-fopenmp", "-shared", "-fPIC"),
)

log = logging.getLogger("secnn")


@functools.cache
def library(source: str, channels: int = 0, inputs: int = 0) -> ctypes.CDLL | None:
    """`source`.cpp, compiled with CHANNELS and INPUTS defined; None, after one notice a process,
    where that fails."""
    sizes = {"CHANNELS": channels} | ({"INPUTS": inputs} if inputs else {})
    try:
        return ctypes.CDLL(str(_compiled(Path(__file__).with_name(f"{source}.cpp"), sizes)))
    # RuntimeError: there is no home folder, neither in $HOME nor for the user's number.
    except (OSError, subprocess.SubprocessError, RuntimeError) as error:
        _give_notice(error)
        return None


def _compiled(source: Path, sizes: dict[str, int]) -> Path:
    """The shared library's file, made if it is not there. Of processes that start together one
    compiles; the lock ends with its process, however that ends."""
    compiler = _compiler()
    path = (
        _folder()
        / f"{source.stem}-{_digest(source, compiler)}-{'-'.join(map(str, sizes.values()))}.so"
    )
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                _compile(compiler, source, sizes, path)
    return path


def _compile(compiler: list[str], source: Path, sizes: dict[str, int], path: Path) -> None:
    defined = [f"-D{name}={size}" for name, size in sizes.items()]
    with replacing(path) as temporary:
        line = [*compiler, *FLAGS, *defined, str(source), "-o", str(temporary)]
        subprocess.run(line, check=True, capture_output=True, text=True)


def _compiler() -> list[str]:
    named = shlex.split(os.environ.get("CXX", ""))
    found = named or [c for c in ("c++", "g++", "clang++") if shutil.which(c)][:1]
    if not found:
        raise FileNotFoundError("no C++ compiler (c++, g++, clang++ or $CXX)")
    return found


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "secnn"


def _digest(source: Path, compiler: list[str]) -> str:
    """Tells apart sources, compilers and processors, which may share a home folder."""
    cpu = Path("/proc/cpuinfo")
    flags = [x for x in cpu.read_text().splitlines() if x.startswith(("flags", "Features"))][:1]
    read = [source, *sorted(source.parent.glob("*.h"))]
    parts = [
        *(path.read_text(encoding="utf-8") for path in read),
        *compiler,
        *FLAGS,
        platform.machine(),
        *flags,
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _give_notice(error: Exception) -> None:
    """Once a process: the kernels are built for several numbers of channels."""
    global _noticed
    if not _noticed:
        _noticed = True
        reason = str(getattr(error, "stderr", "") or error).strip().splitlines()[0]
        log.warning("compiled operators cannot be used here (%s): plain PyTorch is, slower", reason)


_noticed = False
