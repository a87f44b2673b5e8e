"""A study on one page: `python analysis/report.py [OUT …]` writes OUT/analysis/report.html."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from secnn.analysis.logs import chosen
from secnn.analysis.page.document import page
from secnn.commands import Parser, answered, folder, writing
from secnn.files import write_text

DESCRIPTION = (
    "A study on one page that opens without a network: writes OUT/analysis/report.html. Several "
    "studies side by side: writes analysis/comparison.html of the first."
)
PAGES = (".html", ".htm")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    asked = parser().parse_args(arguments)
    return answered(lambda: report(asked.out, asked.output))


def parser() -> Parser:
    """The options."""
    top = Parser("report", description=DESCRIPTION)
    top.add_argument(
        "out", nargs="*", type=folder, metavar="OUT", help="results folders (the newest under runs)"
    )
    top.add_argument("--output", type=page_file, metavar="FILE", help="where to write the page")
    return top


def page_file(text: str) -> Path:
    """A file name that ends in `PAGES`."""
    path = Path(text).expanduser()
    if path.suffix.lower() not in PAGES:
        raise argparse.ArgumentTypeError(f"expected a file that ends in .html, got {text}")
    return path


def report(folders: Sequence[Path], output: Path | None) -> None:
    """Write the page of the studies in `folders`, or of the newest.

    Raises:
        FileError: a folder cannot be analysed, or the page not be written.
    """
    studies = chosen(folders)
    name = "report.html" if len(studies) == 1 else "comparison.html"
    path = output or studies[0].folder / "analysis" / name
    text = page(studies)
    with writing():
        write_text(path, text)
    print(f"Written: {path}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
