"""Names beside lines and points, where they cover nothing and belong to one thing."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from secnn.analysis.figures import Look

RINGS = (0, 10, 20, 30, 45, 60, 80)
"""How far off a name may stand, in points: beside what it names, or with a line to it."""
CLOSE = 5
"""Points by which a name beside its own point is farther from others that have one."""
BOLD = 1
"""Widths of lines from which on names keep off them."""


def lines_of(text: str, wide: int) -> str:
    """`text` in lines of `wide` letters, broken neither around = nor within brackets."""
    text = text.replace(" = ", "\u00a0=\u00a0")
    text = re.sub(r"\([^)]*\)", lambda found: found[0].replace(" ", "\u00a0"), text)
    return textwrap.fill(text, wide).replace("\u00a0", " ")


def label_ends(
    axes: Axes, labels: Sequence[tuple[float, str, object]], inside: bool = False, wide: int = 80
) -> None:
    """Write texts (at height y, text, colour), in lines of `wide` letters, right of the axes, or
    `inside` them at the right, in the order of their heights and none over another."""
    if not labels:
        return
    figure_of(axes).draw_without_rendering()
    texts = [lines_of(text, wide) for _, text, _ in labels]
    size, lines = 6, 1 + max(text.count("\n") for text in texts)
    height = axes.get_window_extent().height / figure_of(axes).dpi * 72
    heights = axes.transData.transform([(1, y) for y, _, _ in labels])[:, 1]
    places = axes.transAxes.inverted().transform([(0, h) for h in heights])[:, 1]
    order = sorted(range(len(labels)), key=lambda i: places[i])
    spaced = apart([places[i] for i in order], 1.35 * size * lines / height)
    where: Look = {"ha": "right", "va": "bottom"} if inside else {"ha": "left", "va": "center"}
    where |= {"xycoords": "axes fraction", "annotation_clip": False, "path_effects": halo()}
    for place, i in zip(spaced, order, strict=True):
        x, colour = 0.99 if inside else 1.01, labels[i][2]
        axes.annotate(texts[i], (x, place), color=colour, fontsize=size, **where)


def figure_of(axes: Axes) -> Figure:
    """The whole figure that `axes` are on."""
    figure = axes.figure
    assert isinstance(figure, Figure), "axes of a subfigure"
    return figure


def apart(places: Sequence[float], gap: float) -> list[float]:
    """Ascending `places`, moved as little as makes neighbours at least `gap` apart."""
    groups: list[list[float]] = []  # of places that touch: their mean of place − rank · gap, size
    for place in places:
        groups.append([place, 1])
        while len(groups) > 1 and groups[-1][0] < groups[-2][0] + groups[-2][1] * gap:
            (start, count), (first, size) = groups.pop(), groups.pop()
            mean = (first * size + (start - size * gap) * count) / (size + count)
            groups.append([mean, size + count])
    return [start + rank * gap for start, count in groups for rank in range(int(count))]


def halo(width: float = 2) -> list:
    """For texts over lines."""
    return [withStroke(linewidth=width, foreground="white")]


def place_labels(axes: Axes, points: pd.DataFrame) -> None:
    """Name `points` (name, x, y, colour, radius in points, how many `rings` off) in their order,
    each where it covers no point, no bold line and no other name, and beside none of the others;
    without a name where there is no such place. If a name may stand on any ring, the line to it
    crosses points and lines rather than that there is none."""
    room = Room(axes, points)
    for i, point in enumerate(points.itertuples(index=False)):
        ways = (False, True)[: 1 + (point.rings == len(RINGS))]
        any(room.name(i, point, crossing) for crossing in ways)


class Room:
    """The axes as they are laid out, and what is on them that names keep off: boxes in pixels.

    Attributes:
        drawn: around points and along bold lines.
        about: around each of the points to be named, somewhat wider.
        names: around names, and along the lines to them.
    """

    def __init__(self, axes: Axes, points: pd.DataFrame) -> None:
        figure = figure_of(axes)
        figure.draw_without_rendering()
        self.axes, self.unit = axes, figure.dpi / 72
        self.renderer = FigureCanvasAgg(figure).get_renderer()
        self.inside = axes.get_window_extent(self.renderer)
        self.drawn = [*_marks(axes, self.unit), *_bold_lines(axes, self.unit)]
        self.names: list[Bbox] = []
        self.pixels = axes.transData.transform(points.iloc[:, 1:3].to_numpy(float))
        radii = (points["radius"] + CLOSE) * self.unit
        self.about = [_around(xy, half) for xy, half in zip(self.pixels, radii, strict=True)]

    def name(self, i: int, point: Any, crossing: bool) -> bool:
        """Name the `i`th point where that is possible; whether it is."""
        for text in _tries(self.axes, *point):
            covered = self._covered(i, text, point.radius, crossing)
            if covered:
                self.names += covered
                return True
            text.remove()
        return False

    def _covered(self, i: int, text: Annotation, radius: float, crossing: bool) -> list[Bbox]:
        """What the text and the line to it would cover; nothing if it cannot stand there."""
        text.update_positions(self.renderer)
        box = Text.get_window_extent(text, self.renderer)
        leads = text.arrowprops is not None
        line = _leader(self.pixels[i], box, radius * self.unit) if leads else []
        barred = [*self.drawn, *self.names, *([] if leads else self._others(i))]
        fits = self.inside.contains(*box.min) and self.inside.contains(*box.max)
        if not fits or box.count_overlaps(barred):
            return []
        blocked = any(b.count_overlaps(self.names if crossing else barred) for b in line)
        return [] if blocked else [box, *line]

    def _others(self, i: int) -> list[Bbox]:
        """Around those points that are not where the `i`th is."""
        there = self.pixels[i]
        pairs = zip(self.pixels, self.about, strict=True)
        return [box for xy, box in pairs if np.abs(xy - there).max() >= 1]


def _leader(xy: np.ndarray, box: Bbox, radius: float) -> list[Bbox]:
    """What the line from a point to its name covers, from the `radius` of the point on."""
    end = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
    steps = np.linspace(xy, end, 1 + int(np.hypot(*(end - xy)) / 2))
    return [
        _around(step, 0.5)
        for step in steps
        if np.hypot(*(step - xy)) > radius and not box.contains(*step)
    ]


def _tries(
    axes: Axes, name: str, x: float, y: float, colour: str, radius: float, rings: int
) -> Iterator[Annotation]:
    """The name at every place where it might stand, the best first."""
    for ring, right, up in product(RINGS[:rings], (1, -1, 0), (0, 1, -1)):
        yield axes.annotate(
            name,
            (x, y),
            xytext=(right * (radius + ring), up * (radius + ring - (2 if right else 0))),
            textcoords="offset points",
            ha=("center", "left", "right")[right],
            va=("center", "bottom", "top")[up],
            fontsize=5.5,
            color=colour,
            zorder=7,
            in_layout=False,
            path_effects=halo(),
            arrowprops={"arrowstyle": "-", "lw": 0.5, "color": colour} if ring else None,
        )


def _marks(axes: Axes, unit: float) -> Iterator[Bbox]:
    """What the points that are drawn cover; `unit` is a point in pixels."""
    for dots in (c for c in axes.collections if isinstance(c, PathCollection)):
        half = 0.6 * unit * float(np.sqrt(dots.get_sizes()).max(initial=0))
        yield from (_around(xy, half) for xy in axes.transData.transform(dots.get_offsets()))


def _bold_lines(axes: Axes, unit: float) -> Iterator[Bbox]:
    """What the lines from `BOLD` on cover, piece by piece."""
    for line in (of for of in axes.lines if of.get_linewidth() >= BOLD):
        half = unit * line.get_linewidth() / 2
        path = axes.transData.transform(line.get_xydata())
        if len(path) < 2:
            continue
        walked = np.concatenate([[0], np.hypot(*np.diff(path, axis=0).T).cumsum()])
        steps = np.arange(0, walked[-1] + half, max(half, 1))
        xy = np.column_stack([np.interp(steps, walked, side) for side in path.T])
        yield from (_around(pair, half) for pair in xy)


def _around(xy: Sequence[float], half: float) -> Bbox:
    """The square of pixels around a point."""
    return Bbox.from_extents(xy[0] - half, xy[1] - half, xy[0] + half, xy[1] + half)
