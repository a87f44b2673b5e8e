"""How figures look, what can be asked of them, and how they are written."""

from __future__ import annotations

import argparse
import io
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, wraps
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib import rc_context, rcdefaults, rcParams
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from secnn.analysis.logs import Study
from secnn.commands import Parser, writing
from secnn.files import replacing

FORMATS = ("png", "svg", "pdf")
SIZES = {"column": 3.4, "page": 7.0}
"""Widths in inches: of a column of a two-column page, and of the page."""
NAMES = {"AddLayer": "a layer", "AddChannels": "channels"}
"""Kinds of expansions as figures call them; others by their own names."""
LINES = {"reference": "-", "tau": "--", "lam": ":", "other": "-"}
"""The line of each family of settings."""

Look = dict[str, Any]
"""Keywords of Matplotlib's, say of `Axes.plot`."""

STYLE: Look = {
    **{"font.size": 8, "axes.titlesize": 9, "axes.labelsize": 8, "legend.fontsize": 7},
    **{"xtick.labelsize": 7, "ytick.labelsize": 7, "lines.linewidth": 1.2},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True},
    **{"grid.alpha": 0.25, "grid.linewidth": 0.6, "legend.frameon": False},
    # Text stays text, in the reader's fonts; nothing random, so that the same study gives the same.
    **{"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "secnn"},
    # A folder's name may hold a dollar sign, which would start a formula.
    "text.parse_math": False,
}


class Mark(NamedTuple):
    """How one kind of expansion is marked: by matplotlib, by Plotly, and in text."""

    marker: str
    symbol: str
    sign: str


MARKS = {"AddLayer": Mark("^", "triangle-up", "▲"), "AddChannels": Mark("s", "square", "■")}
OWN_MARKS = (
    *(Mark("D", "diamond", "◆"), Mark("P", "cross", "✚"), Mark("X", "x", "✖")),
    *(Mark("p", "pentagon", "⬟"), Mark("v", "triangle-down", "▼")),
)
"""Of kinds of one's own, by their names' order."""


def marks(kinds: Iterable[str]) -> dict[str, Mark]:
    """Kind → its mark, for those of `kinds`."""
    own = zip(sorted(set(kinds) - MARKS.keys()), cycle(OWN_MARKS), strict=False)
    return MARKS | dict(own)


SMALL = {"font.size": 6.5, "axes.labelsize": 7, "xtick.labelsize": 6, "ytick.labelsize": 6}
"""What changes in a column."""


@dataclass(frozen=True)
class Options:
    """What is asked of a figure: `output`, a file to write instead of one a format to OUT/analysis;
    a `size` of `SIZES`; a `title` of one's own; networks of others or none; the cost on the axis.
    """

    output: Path | None = None
    size: str = "page"
    title: str | None = None
    baselines: bool = True
    against: str = "parameters"

    @classmethod
    def of(cls, asked: argparse.Namespace) -> Options:
        """From a command line with the options of `add_options`."""
        given = {name: getattr(asked, name) for name in vars(cls()) if hasattr(asked, name)}
        return cls(**given)

    @property
    def narrow(self) -> bool:
        """Whether it is for a column."""
        return self.size == "column"

    def figure(self, ratio: float) -> Figure:
        """An empty figure of that width, `ratio` times as high."""
        width = SIZES[self.size]
        return Figure(figsize=(width, width * ratio), layout="constrained")


def styled(draw: Callable[[Study, Options], Figure]) -> Callable[[Study, Options], Figure]:
    """`draw` in the style of the size asked for."""

    @wraps(draw)
    def drawn(study: Study, options: Options) -> Figure:
        with style(SMALL if options.narrow else {}):
            return draw(study, options)

    return drawn


@contextmanager
def style(further: Look | None = None) -> Iterator[None]:
    """Inside, figures look as here, whatever a matplotlibrc says; signs that no font has are boxes,
    without a warning each."""
    with rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        rcdefaults()
        chosen: dict[Any, Any] = {**STYLE, "font.family": families(), **(further or {})}
        rcParams.update(chosen)
        yield


OTHER_SCRIPTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei"),
    *("IPAGothic", "Droid Sans Fallback", "Hiragino Sans", "PingFang SC", "Microsoft YaHei"),
    *("Malgun Gothic", "Arial Unicode MS"),
)
"""Fonts for what the usual one lacks."""


@cache
def families() -> list[str]:
    """The usual font, and those of `OTHER_SCRIPTS` that are installed."""
    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in OTHER_SCRIPTS if name in installed)]


def add_options(parser: Parser) -> None:
    """`--output`, `--size` and `--title`."""
    parser.add_argument(
        "--output",
        type=figure_file,
        metavar="FILE",
        help="a .png, .svg or .pdf to write instead of one each to OUT/analysis",
    )
    parser.add_argument(
        "--size", choices=SIZES, default="page", help="width, of a paper's column or page (page)"
    )
    parser.add_argument("--title", metavar="TEXT", help='instead of the figure\'s own; "" for none')


def figure_file(text: str) -> Path:
    """A file name that ends in one of `FORMATS`."""
    path = Path(text).expanduser()
    if path.suffix.lower()[1:] not in FORMATS:
        kinds = ", ".join(f".{kind}" for kind in FORMATS)
        raise argparse.ArgumentTypeError(f"expected a file that ends in {kinds}, got {text}")
    return path


def frame(
    figure: Figure, study: Study, subject: str, options: Options, marks: Sequence, columns: int = 1
) -> None:
    """Above, the subject and what the `marks` mean; below, small, the study, and what no output may
    leave out."""
    own = f"{subject}, {study.dataset['name']}"
    title = own if options.title is None else options.title
    figure.legend(
        handles=marks,
        title=textwrap.fill(title, 44 if options.narrow else 78),
        title_fontproperties={"weight": "bold", "size": 9 if not options.narrow else 8},
        alignment="left",
        loc="outside upper left",
        ncols=1 if options.narrow else columns,
        borderpad=0,
        handlelength=1.5,
    )
    lines = [f"{study.folder.resolve().name}: {study.description}"]
    lines += [f"NOTE: {mark}" for mark in study.marks]
    foot = "\n".join(textwrap.fill(line, 75 if options.narrow else 150) for line in lines)
    colour = "darkred" if study.marks else "dimgrey"
    figure.supxlabel(foot, x=0.01, ha="left", fontsize=5.5, color=colour)


def plain(axis: Axis) -> None:
    """Label a logarithmic axis with numbers such as 0.01, as texts are never parsed as formulas: at
    powers of ten, if it shows three or more."""
    low, high = axis.get_view_interval()
    if sum(low <= tick <= high for tick in axis.get_majorticklocs()) < 3:
        axis.set_major_locator(MaxNLocator(6))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))


def parameter_axis(axis: Axis) -> None:
    """Make it logarithmic, with ticks such as 10k, 50k, 1M that fit the range drawn."""
    scale = axis.axes.set_xscale if isinstance(axis, XAxis) else axis.axes.set_yscale
    scale("log")
    # Before the limits are chosen: for a single value a LogLocator would have them a decade apart.
    axis.set_major_locator(MaxNLocator(6))
    axis.axes.autoscale_view()
    low, high = axis.get_view_interval()
    if high > 8 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.set_minor_locator(NullLocator())


def margin(low: float, high: float) -> float:
    """The factor by which a logarithmic axis goes beyond what it shows; together with that it
    spans a factor of 3 or more."""
    return float(max(1.12, (high / low) ** 0.06, (3 * low / high) ** 0.5))


def short(number: float) -> str:
    """9,024 → 9.02k, 50,000 → 50k, 1,700,000 → 1.7M."""
    unit, divisor = ("M", 1e6) if number >= 1e6 else ("k", 1e3)
    return f"{number / divisor:.3g}{unit}"


@style()
def png(figure: Figure, dpi: int = 130) -> bytes:
    """The figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


@style()
def save(figure: Figure, study: Study, name: str, options: Options) -> None:
    """Write the figure to the file asked for, or in every format to OUT/analysis, and say so.

    Raises:
        FileError: the file asked for cannot be written.
    """
    inside = [study.folder / "analysis" / f"{name}.{kind}" for kind in FORMATS]
    paths = [options.output] if options.output else inside
    for path in paths:
        kind = path.suffix.lower()[1:]
        # No date: the same study gives the same files.
        dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
        with writing(), replacing(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=200, metadata=dates.get(kind, {}))
    print("Written:", *paths)
