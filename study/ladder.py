"""The networks of all sizes that a study or a trial has kept."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from secnn.commands import Parser, add_folder, answered, not_negative, program, whole
from secnn.files import FileError
from secnn.store.ladder import chosen, fits, ladder, possible
from secnn.study.status import newest_study

COLUMNS = {
    "trial": ("trial", "{}"),
    "name": ("name", "{}"),
    "parameters": ("parameters", "{:,}"),
    "flops": ("FLOPs", "{:,}"),
    "val_accuracy": ("validation %", "{:.2f}"),
    "test_accuracy": ("test %", "{:.2f}"),
    "epoch": ("epoch", "{}"),
}
"""Key of a row → its head, and how its values are shown."""


LIMITS = ("max_parameters", "max_flops", "min_accuracy")
"""The options that are budgets, in the order of `secnn.store.ladder.fits`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    asked = parser().parse_args(arguments)

    def show() -> None:
        rows = fitting(asked.out or newest_study(), asked)
        print(listed(rows, asked.min_accuracy))

    return answered(show)


def parser() -> Parser:
    """The options."""
    top = Parser("ladder", description="The networks that were kept, smallest first.")
    add_folder(top)
    top.add_argument("--max-parameters", type=whole(1), metavar="N", help="show no larger ones")
    top.add_argument("--max-flops", type=whole(1), metavar="N", help="of one image; likewise")
    top.add_argument(
        "--min-accuracy", type=not_negative, metavar="A", help="in validation, per cent; likewise"
    )
    return top


def fitting(folder: Path, asked: argparse.Namespace) -> list[dict]:
    """The networks below `folder` that the options ask for.

    Raises:
        FileError: there is none.
        FileNotFoundError, CheckpointError: as for `secnn.ladder`.
    """
    rows = ladder(folder)
    budgets = [getattr(asked, name) for name in LIMITS]
    found = [row for row in rows if fits(row, *budgets)]
    if not found:
        raise FileError(f"no network below {folder} is within {_limits(asked)}; {possible(rows)}")
    return found


def _limits(asked: argparse.Namespace) -> str:
    given = {name: getattr(asked, name) for name in LIMITS}
    return " ".join(f"--{k.replace('_', '-')} {n}" for k, n in given.items() if n is not None)


def listed(rows: list[dict], min_accuracy: float | None = None) -> str:
    """The table of the networks, and how to export the one that `secnn.load_within` would take."""
    exporting = shlex.join([chosen(rows, min_accuracy)["file"], "network.onnx"])
    return f"{table(networks(rows))}\nNext: {exporter()} {exporting}"


def networks(rows: Iterable[dict]) -> list[dict]:
    """One row a network, which several files may hold: `name` then has all of theirs."""
    found: dict[tuple, list[dict]] = {}
    for row in rows:
        found.setdefault((Path(row["file"]).parent, row["epoch"]), []).append(row)
    return [same[0] | {"name": _names([row["name"] for row in same])} for same in found.values()]


def _names(names: list[str]) -> str:
    """`size-8736 target-60,65`: the targets are many, and share their prefix."""
    targets = [name.removeprefix("target-") for name in names if name.startswith("target-")]
    others = [name for name in names if not name.startswith("target-")]
    return " ".join(others + [f"target-{','.join(targets)}"] * bool(targets))


def exporter() -> str:
    """How to call the command `export`, of which there is no script."""
    return "python -m secnn export" if __name__ == "__main__" else program("export")


def table(rows: list[dict]) -> str:
    """A line a network, under the heads of the columns; `-` for what is not known yet."""
    cells = [[head for head, _ in COLUMNS.values()]]
    for row in rows:
        shown = ((row[key], form) for key, (_, form) in COLUMNS.items())
        cells.append(["-" if value is None else form.format(value) for value, form in shown])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(_aligned(line, widths)).rstrip() for line in cells)


def _aligned(cells: list[str], widths: list[int]) -> list[str]:
    texts = [cell.ljust(width) for cell, width in zip(cells[:2], widths, strict=False)]
    return texts + [c.rjust(w) for c, w in zip(cells[2:], widths[2:], strict=True)]


if __name__ == "__main__":
    sys.exit(main())
