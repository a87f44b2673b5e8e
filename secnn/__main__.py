"""All that can be run: `secnn COMMAND …`, or `python -m secnn COMMAND …`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

import secnn
from secnn.commands import Parser, unread

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


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    words = 2 if given[:1] == ["plot"] else 1
    name = " ".join(given[:words])
    if name not in COMMANDS:
        parser("plot " if words == 2 else "").parse_args(given[words - 1 :])
    return call(name, given[words:])


def call(name: str, arguments: list[str]) -> int:
    """Run the command `name`; its exit status."""

    def run() -> int:
        return import_module(COMMANDS[name][0]).main(arguments)

    interrupts = import_module("secnn.study.interrupts")
    if name == "run":
        return interrupts.interruptible(run)
    try:
        return run()
    except BrokenPipeError:
        return unread()
    except KeyboardInterrupt:
        return interrupts.INTERRUPTED


def parser(group: str) -> Parser:
    """Of what is no command: the names, `group` before them, and what each is for."""
    listed = {name: text for name, (_, text) in COMMANDS.items() if name.startswith(group)}
    epilog = "\n".join(f"  {name:<17} {text}" for name, text in listed.items())
    top = Parser(
        group.strip(),
        description=secnn.__doc__.partition("\n")[0],
        epilog=f"commands:\n{epilog}\n\nEach has a --help of its own.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"secnn {secnn.__version__}")
    names = [name.removeprefix(group).partition(" ")[0] for name in listed]
    top.add_argument("command", choices=[*dict.fromkeys(names)], metavar="COMMAND")
    return top


if __name__ == "__main__":
    sys.exit(main())
