"""A study on one page: `python analysis/report.py [OUT …]` writes OUT/analysis/report.html."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from secnn.analysis.logs import newest_study, read_study
from secnn.analysis.page.document import page
from secnn.commands import Parser, unread
from secnn.files import FileError, write_text

DESCRIPTION = (
    "A study on one page that opens without a network: writes OUT/analysis/report.html. Several "
    "studies side by side: writes analysis/comparison.html of the first."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    asked = parser().parse_args(arguments)
    try:
        report(asked.out, asked.output)
    except BrokenPipeError:
        return unread()
    except (FileError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> Parser:
    """The options."""
    top = Parser("report", description=DESCRIPTION)
    top.add_argument(
        "out", nargs="*", type=Path, metavar="OUT", help="results folders (the newest under runs)"
    )
    top.add_argument("--output", type=page_file, metavar="FILE", help="where to write the page")
    return top


def page_file(text: str) -> Path:
    """A path that ends in a name."""
    if not Path(text).name:
        raise argparse.ArgumentTypeError(f"expected a file to write, got {text!r}")
    return Path(text)


def report(folders: Sequence[Path], output: Path | None) -> None:
    """Write the page of the studies in `folders`, or of the newest.

    Raises:
        FileError: a folder cannot be analysed.
        OSError: the page cannot be written.
    """
    chosen = list(folders) or [newest_study()]
    for folder in chosen:
        print(f"Study: {folder}" + ("" if folders else " (the newest)"), flush=True)
    studies = [read_study(folder) for folder in chosen]
    name = "report.html" if len(chosen) == 1 else "comparison.html"
    path = output or chosen[0] / "analysis" / name
    write_text(path, page(studies))
    print(f"Written: {path}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
