"""Modules of the user's that add to the registries: cells, criteria, expansions, presets, …

A plugin is any module that adds entries when it is imported: `secnn.CRITERIA["mine"] = Mine`. It is
loaded because a command line names it, `--import MODULE`, or because an installed package lists it
under the entry points `secnn.plugins`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from traceback import walk_tb

from secnn.commands import Parser

GROUP = "secnn.plugins"

_ours: set[str] = set()
"""The names of the plugins' top-level modules."""


class PluginError(ValueError):
    """A plugin that cannot be imported; one line says why, and where."""


def add_option(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Give `parser` the option `--import`, in what is parsed `imports`."""
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module that adds criteria, cells, expansions, presets, …; from the current folder "
        "or installed; may be repeated",
    )


def load_asked(name: str, arguments: Sequence[str] | None) -> None:
    """Load what the `arguments` of the command `name` import, before the rest of them is parsed:
    the choices depend on it. Ends the process with status 2 if one cannot be imported."""
    first = Parser(name, add_help=False)
    add_option(first)
    imports = first.parse_known_args(arguments)[0].imports
    if imports:
        sys.path.insert(0, os.getcwd())  # Where Python itself looks first for `-m`.
    try:
        load(imports)
    except PluginError as error:
        first.exit(2, f"error: {error}\n")


def load(names: Iterable[str], folders: Iterable[str] = ()) -> None:
    """Import the installed plugins and the modules `names`, also from `folders`.

    Raises:
        PluginError: one cannot be imported.
    """
    sys.path.extend(folder for folder in folders if folder not in sys.path)
    for entry in entry_points(group=GROUP):
        _load(entry.module, entry.load, _owner(entry))
    for name in names:
        if name.endswith(".py") or not all(part.isidentifier() for part in name.split(".")):
            raise PluginError(f"--import: expected a module, like own or own.cells, got {name}")
        if (top := name.partition(".")[0]) in sys.stdlib_module_names:
            raise PluginError(
                f"--import {name}: Python has a module {top} of its own; rename yours"
            )
        _load(name, partial(import_module, name), f"--import {name}")


def _load(module: str, load: Callable[[], object], what: str) -> None:
    _ours.add(module.partition(".")[0])
    try:
        load()
    except (Exception, SystemExit) as error:
        raise PluginError(f"{what}: {told(error)}") from None


def _owner(entry: EntryPoint) -> str:
    package = entry.dist.name if entry.dist else "a package"
    return f"the plugin {entry.name} of {package}"


def told(error: BaseException) -> str:
    """What `error` says, in one line: its kind, its message, and, if a plugin raised it, where:
    `KeyError: 'x' (own.py:12)`."""
    message, where = str(error), place(error)
    if isinstance(error, SyntaxError) and error.filename:
        message, where = error.msg, f"{Path(error.filename).name}:{error.lineno}"
    text = f"{type(error).__name__}: {message}".splitlines()[0].rstrip(": ")
    return f"{text} ({where})" if where else text


def place(error: BaseException) -> str | None:
    """FILE:LINE of the innermost line of a plugin that `error` passed through."""
    found = None
    for frame, number in walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__"))
        if module.partition(".")[0] in _ours:
            path = Path(frame.f_code.co_filename)
            depth = module.count(".") + 1 + (path.name == "__init__.py")
            found = f"{'/'.join(path.parts[-depth:])}:{number}"
    return found


def sources(names: Iterable[str]) -> list[Path]:
    """The file, or the package's folder, of each top-level module of `names`, which are loaded."""
    tops = dict.fromkeys(name.partition(".")[0] for name in names)
    found = (_source(top) for top in tops)
    return [source for source in found if source is not None]


def _source(top: str) -> Path | None:
    module = sys.modules[top]
    paths = [*getattr(module, "__path__", ())] or [getattr(module, "__file__", None)]
    return Path(paths[0]).absolute() if paths[0] else None
