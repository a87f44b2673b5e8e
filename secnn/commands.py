"""Command lines: how to call each command, and one line for bad input."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from secnn.files import FileError, reason

COMMANDS = {
    "run": ("secnn.study.run", "train the trials of a study on Ray, or go on with them"),
    "status": ("secnn.study.status", "where every trial of a study stands"),
    "table": ("secnn.analysis.make_table", "the paper's table, from a study's logs"),
    "plot pareto": ("secnn.analysis.plot_pareto", "accuracy against parameters"),
    "plot growth": ("secnn.analysis.plot_growth", "parameters and accuracy over the epochs"),
    "plot sweep": ("secnn.analysis.plot_sweep", "what the thresholds and penalties decide"),
    "plot calibration": ("secnn.analysis.calibration", "what expansions promised, and brought"),
    "report": ("secnn.analysis.report", "a study on one page, as HTML"),
    "ladder": ("secnn.study.ladder", "the networks of all sizes that were kept"),
    "export": ("secnn.export", "a network for other programs: ONNX or safetensors"),
}
"""Name → the module whose `main` it is, imported when it is called, and what it is for."""

SCRIPTS = {
    name: module.removeprefix("secnn.").replace(".", "/") + ".py"
    for name, (module, _) in COMMANDS.items()
    if name != "export"
}
"""What can be run without being installed, from a checkout."""


def line(name: str, *arguments: object) -> str:
    """The command `name`, such as "plot pareto", with `arguments`, to be pasted into a shell."""
    return " ".join([program(name), shlex.join(map(str, arguments))]).rstrip()


def unread() -> int:
    """Whoever read the output is gone, as `head` does: say no more; the exit status, 0."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def called() -> str:
    """The line that started this process, to be pasted into a shell."""
    return shlex.join([*_start(), *sys.argv[1:]])


def program(name: str) -> str:
    """How to call the command `name` in the form in which this process was started: `secnn table`,
    `python -m secnn table`, or, if that was `python ../study/run.py`, the script beside it."""
    start = _start()
    if _is_script(start[-1]):
        return f"python {shlex.quote(_beside(start[-1], name))}"
    if start[:2] == ["python", "-m"]:
        own = start[2].rpartition(".")[2] == name  # `python -m secnn.export`
        return f"python -m {start[2]}" if own else f"python -m secnn {name}".rstrip()
    return f"{shlex.quote(start[0])} {name}".rstrip()


def _start() -> list[str]:
    """The words before the first argument."""
    script = sys.argv[0]
    module = getattr(sys.modules["__main__"], "__spec__", None)
    if module is not None and module.name.partition(".")[0] == "secnn":
        return ["python", "-m", module.name.removesuffix(".__main__")]
    if _is_script(script):
        return ["python", script]
    installed = Path(script).stem == "secnn"
    return [script if installed and not _is_found(script) else "secnn"]


def _is_script(path: str) -> bool:
    return "/".join(Path(path).absolute().parts[-2:]) in SCRIPTS.values()


def _beside(script: str, name: str) -> str:
    """The script of the command `name`, its path written like that of `script`."""
    wanted = SCRIPTS[name]
    if Path(script).absolute().parts[-2:] == Path(wanted).parts:
        return script
    return os.path.normpath(os.path.join(os.path.dirname(script), "..", wanted))


def _is_found(script: str) -> bool:
    """Whether a shell finds this `secnn` by its name alone."""
    found = shutil.which("secnn")
    return found is not None and os.path.exists(script) and os.path.samefile(found, script)


class Once(argparse.Action):
    """An option of which a second value would hide the first."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        assert isinstance(parser, Parser)
        if option_string and self.dest in parser.given:
            raise argparse.ArgumentError(self, "expected once, got it twice")
        parser.given.add(self.dest)
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """The options of a command: bad input is answered by one line, options with a value are given
    at most once unless their action says otherwise, and `command` of what is parsed is the line to
    paste."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(prog=program(name), **options)
        self.given: set[str] = set()
        for action in (None, "store"):
            self.register("action", action, Once)

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """As argparse's. What is printed from here on is never refused by the terminal: signs that
        it does not know become question marks."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError):  # A notebook's stream has no encoding.
                stream.reconfigure(errors="replace")  # type: ignore[union-attr]
        given = sys.argv[1:] if args is None else args
        self.given.clear()
        asked = super().parse_args(given, namespace)
        asked.command = " ".join([self.prog, shlex.join(given)]).rstrip()
        return asked

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {' '.join(message.splitlines())}; see {self.prog} --help\n")


def folder(text: str) -> Path:
    """For argparse: an empty name is a variable that nobody set, not the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("expected a folder, got an empty name")
    return Path(os.path.expanduser(text))  # A shell leaves the ~ of --out=~/x alone.


def add_folder(parser: Parser) -> None:
    """Give `parser` the argument OUT, in what is parsed `out`."""
    parser.add_argument(
        "out", nargs="?", type=folder, metavar="OUT", help="results folder (the newest under runs)"
    )


@contextmanager
def writing() -> Iterator[None]:
    """Around what writes a file that --output can name: if it cannot, a FileError that says so."""
    try:
        yield
    except OSError as error:
        raise FileError(f"{reason(error)}; write it elsewhere with --output") from None


def answered(action: Callable[[], None]) -> int:
    """Do `action`; the exit status, after one line of what prevented it."""
    try:
        action()
        print(end="", flush=True)  # Standard output may be closed: None.
    except BrokenPipeError:
        return unread()
    except (FileError, OSError) as error:
        print(f"error: {reason(error)}", file=sys.stderr)
        return 2
    return 0


MOST = 10**15


def whole(lowest: int, highest: int = MOST) -> Callable[[str], int]:
    """For argparse: whole numbers from `lowest` to `highest`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = lowest - 1
        _expect(value >= lowest, f"a whole number of at least {lowest}", text)
        _expect(value <= highest, f"at most {highest:,}", text)
        return value

    return parse


def real(lowest: float, expected: str) -> Callable[[str], float]:
    """For argparse: finite numbers of at least `lowest`, as `expected` says in words."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        _expect(lowest <= value < math.inf, expected, text)
        return value

    return parse


def _expect(condition: bool, expected: str, text: str) -> None:
    if not condition:
        shown = text if len(text) <= 40 else f"{text[:40]}…"
        raise argparse.ArgumentTypeError(f"expected {expected}, got {shown}")


positive = real(math.nextafter(0, 1), "a number above 0")
not_negative = real(0, "a number of at least 0")
