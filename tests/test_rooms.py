"""The rooms are built on those before them: what imports what, read from the sources.

Every import counts, also one inside a function or under TYPE_CHECKING. `ROOMS` is the order. Files
at the top of secnn/ (registry, files, plugins, …) are below all rooms. The front door is above all:
`secnn.__main__`, `secnn.export` and `secnn.gradients`, which stay for old scripts, and the public
names of `secnn`, which its `__init__` tells type checkers and imports at first use; `from secnn
import Trial` counts as an import of the module in which `Trial` is at home. What else is in
`secnn/__init__.py` is below all rooms. That an import of `a.b` runs `a/__init__.py` as well counts
only where the question is what comes along.
"""

import ast
import functools
import re
import shutil
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import secnn

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("kernels", "score", "data", "network", "growth", "store", "training")
OUTSIDE = ("analysis", "study")
FRONT_DOOR = ("secnn.__main__", "secnn.export", "secnn.gradients")
FOREIGN_TO_SECNN = {"ray", "pandas", "matplotlib"}
WITHOUT_PAPER = {"kernels"}
"""Rooms that hold nothing which the paper describes."""

MOST_LINES = 300


def sources(root: Path) -> dict[str, Path]:
    """Module → file, of secnn, secnn.study and secnn.analysis."""
    files = [file for top in ("secnn", *OUTSIDE) for file in sorted((root / top).rglob("*.py"))]
    return {_name(file.relative_to(root)): file for file in files}


def _name(file: Path) -> str:
    parts = file.with_suffix("").parts
    parts = parts if parts[0] == "secnn" else ("secnn", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(file: Path, known: dict[str, Path]) -> set[str]:
    """The modules that `file` imports: `secnn.store.record`, but `torch` for `torch.nn`."""
    found = {_home(*name, known) for name in _imported(file.read_text(encoding="utf-8"))}
    return {name if name in known else name.partition(".")[0] for name in found}


@functools.cache
def _imported(text: str) -> list[tuple[str, str]]:
    """Module and name, "" for the module itself, of every import in `text`."""
    return [found for node in ast.walk(ast.parse(text)) for found in _names(node)]


def _names(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        yield from ((alias.name, "") for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0 and node.module, "imports are absolute here"
        yield from ((node.module, alias.name) for alias in node.names)
    elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "secnn":
        yield "secnn", node.attr
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        yield from ((name.value, "") for name in node.args if isinstance(name, ast.Constant))


def _home(module: str, name: str, known: dict[str, Path]) -> str:
    """The module that `from module import name` is about."""
    if module == "secnn" and name in secnn._MODULES:
        return f"secnn.{secnn._MODULES[name]}"
    return f"{module}.{name}" if f"{module}.{name}" in known else module


def graph(root: Path) -> dict[str, set[str]]:
    """Module → what it imports, foreign packages included."""
    known = sources(root)
    arrows = {name: imports(file, known) - {name} for name, file in known.items()}
    arrows["secnn"] = {name for name in arrows["secnn"] if name not in known}
    return arrows


def rank(module: str) -> int:
    """How high up a module is."""
    rooms = ["", *ROOMS, *OUTSIDE]
    room = module.split(".")[1] if "." in module else ""
    return len(rooms) if module in FRONT_DOOR else rooms.index(room if room in rooms else "")


# --- what may not be ----------------------------------------------------------------------


def circles(root: Path) -> list[str]:
    """Files that import each other in a circle, the first that is found."""
    try:
        TopologicalSorter(graph(root)).prepare()
    except CycleError as error:
        return [" <- ".join(error.args[1])]
    return []


def upward(root: Path) -> list[str]:
    """Imports of a room by one that is below it."""
    arrows = graph(root)
    return [
        f"{module} imports {other}"
        for module, others in arrows.items()
        for other in sorted(others & arrows.keys())
        if rank(module) < rank(other)
    ]


def foreign(root: Path) -> list[str]:
    """Imports of ray, pandas and matplotlib within secnn, and of ray anywhere but in study."""
    within = {m: o & FOREIGN_TO_SECNN for m, o in graph(root).items() if rank(m) <= len(ROOMS)}
    others = [file for top in ("analysis", "examples") for file in (root / top).rglob("*.py")]
    doors = {name: sources(root)[name] for name in FRONT_DOOR if name in sources(root)}
    beside = {str(f): imports(f, {}) & {"ray"} for f in [*others, *doors.values()]}
    return [f"{m} imports {o}" for m, found in (within | beside).items() for o in sorted(found)]


def heavy(root: Path) -> list[str]:
    """What comes along with analysis and imports torch or ray."""
    arrows = graph(root)
    reached = {name for name in arrows if name.startswith("secnn.analysis")}
    left = set(reached)
    while left:
        module = left.pop()
        new = {p for o in arrows[module] & arrows.keys() for p in (o, *_packages(o))} - reached
        reached, left = reached | new, left | new
    return [f"{m} imports {o}" for m in sorted(reached) for o in arrows[m] & {"torch", "ray"}]


def _packages(module: str) -> list[str]:
    """Whose `__init__` an import of `module` runs."""
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def long(root: Path) -> list[str]:
    """Modules of too many lines."""
    tops = ("secnn", *OUTSIDE, "examples", "tests")
    files = [file for top in tops for file in sorted((root / top).rglob("*.py"))]
    lines = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    return [f"{file.relative_to(root)}: {n}" for file, n in lines.items() if n > MOST_LINES]


def silent(root: Path) -> list[str]:
    """Rooms that do not say what they are for, or where the paper describes that."""
    found = []
    rooms = {path.parent.name for path in (root / "secnn").glob("*/__init__.py")} - {*OUTSIDE}
    for room in sorted(rooms):
        text = ast.get_docstring(ast.parse((root / "secnn" / room / "__init__.py").read_text()))
        named = re.search(r"arXiv:2401\.05686|section \d|\bpaper\b", text or "")
        if not text or not (named or room in WITHOUT_PAPER):
            found.append(room)
    return found


@pytest.mark.parametrize("faults", [circles, upward, foreign, heavy, long, silent])
def test_the_rooms_are_in_order(faults):
    assert faults(ROOT) == []


def test_every_room_has_its_place():
    rooms = {path.parent.name for path in (ROOT / "secnn").glob("*/__init__.py")}
    assert rooms == {*ROOMS, *OUTSIDE}
    assert len(sources(ROOT)) > 50


# --- that the checks can fail -------------------------------------------------------------

BROKEN = {
    "a circle": (circles, "secnn/files.py", "from secnn.store import checkpoint"),
    "a circle in a function": (
        circles,
        "secnn/network/spec.py",
        "def late():\n    from secnn.network.network import SECNN",
    ),
    "upward": (upward, "secnn/score/natural.py", "import secnn.network.spec"),
    "upward for types": (
        upward,
        "secnn/growth/decision.py",
        "if TYPE_CHECKING:\n    from secnn.training import trial",
    ),
    "upward by a public name": (upward, "secnn/data/batches.py", "from secnn import SECNN"),
    "upward by an attribute": (upward, "secnn/store/record.py", "secnn.Trial"),
    "upward by name": (upward, "secnn/files.py", 'importlib.import_module("secnn.data")'),
    "a file below the rooms": (upward, "secnn/registry.py", "from secnn.kernels import build"),
    "the study": (upward, "secnn/training/trial.py", "from secnn.study import fence"),
    "the front door": (upward, "secnn/training/trial.py", "from secnn import __main__"),
    "pandas": (foreign, "secnn/store/record.py", "import pandas as pd"),
    "ray at the front door": (foreign, "secnn/__main__.py", "import ray.tune"),
    "ray in an example": (foreign, "examples/one.py", "from ray import tune"),
    "ray in analysis": (foreign, "analysis/summary.py", "import ray"),
    "torch in analysis": (heavy, "analysis/summary.py", "import torch.nn"),
    "torch with a package": (heavy, "analysis/logs.py", "from secnn.network.spec import x"),
    "a long module": (long, "tests/test_x.py", "\n" * 300),
    "a room without words": (silent, "secnn/another/__init__.py", ""),
    "a room without the paper": (silent, "secnn/another/__init__.py", '"""What else?"""'),
}


@pytest.fixture(scope="session")
def sound(tmp_path_factory) -> Path:
    """A copy of the sources."""
    copy = tmp_path_factory.mktemp("rooms")
    for top in ("secnn", *OUTSIDE):
        shutil.copytree(
            ROOT / top, copy / top, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    return copy


@pytest.mark.parametrize("name", BROKEN)
def test_a_fault_is_found(name, sound):
    faults, place, lines = BROKEN[name]
    file, known = sound / place, set(faults(sound))
    before = file.read_bytes() if file.exists() else None
    file.parent.mkdir(exist_ok=True)
    with open(file, "a", encoding="utf-8") as text:
        text.write(f"{lines}\n")
    try:
        assert set(faults(sound)) - known
    finally:
        file.unlink() if before is None else file.write_bytes(before)
