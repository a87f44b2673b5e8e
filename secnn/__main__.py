"""All that can be run: `secnn COMMAND …`, or `python -m secnn COMMAND …`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module

import secnn
from secnn.commands import COMMANDS, Parser, unread


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns its exit status."""
    try:
        os.getcwd()
    except OSError as error:  # PyTorch's libraries would end the process.
        print(f"error: current folder: {error.strerror}; cd to another one", file=sys.stderr)
        return 2
    given = list(sys.argv[1:] if arguments is None else arguments)
    words = 2 if given[:1] == ["plot"] else 1
    name = " ".join(given[:words])
    if name not in COMMANDS:
        front = parser("plot " if words == 2 else "")
        front.parse_args(given[words - 1 :])
        front.error(f"expected a command first, got {shlex.join(given[words - 1 :])}")
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
