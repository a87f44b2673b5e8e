"""Networks drawn to scale: a bar a layer, as high as it has channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from secnn.analysis.logs import Study, Trial
from secnn.analysis.summary import ladder

HIGH, WIDE = 100, 220
"""Pixels for the widest layer and the longest network."""
THICK, GAP = 13, 2
"""Of a layer, and between two; between blocks it is six times as much."""


@dataclass(frozen=True)
class Shape:
    """Channels and layers, a number a block."""

    channels: tuple[int, ...]
    layers: tuple[int, ...]

    @classmethod
    def of(cls, row: pd.Series) -> Shape:
        """From the columns of a log, "16-16-20" and "1-2-1".

        Raises:
            ValueError, KeyError: they are not such.
        """
        parts = [tuple(map(int, str(row[name]).split("-"))) for name in ("channels", "layers")]
        if len(parts[0]) != len(parts[1]):
            raise ValueError(f"channels {row['channels']} and layers {row['layers']} do not match")
        return cls(*parts)

    @property
    def length(self) -> int:
        """In pixels, before it is scaled."""
        return sum(n * (THICK + GAP) - GAP for n in self.layers) + 6 * GAP * (len(self.layers) - 1)


@dataclass(frozen=True)
class Drawing:
    """A network of a ladder: its picture, and what stands below it."""

    svg: str
    caption: str
    shape: tuple[str, str, str]


def example(study: Study) -> Trial | None:
    """The trial whose ladder is drawn: the reference's with the most networks, of those the first;
    None if none is kept yet or shapes were not logged."""
    seeds = [t for t in study.settings[study.reference] if {"channels", "layers"} <= set(t.epochs)]
    best = max(seeds, key=lambda t: len(ladder(t)), default=None)
    return best if best is not None and len(ladder(best)) else None


def drawings(trial: Trial) -> list[Drawing]:
    """The trial's ladder, all in one scale; no pictures of shapes that are not understood."""
    rows = ladder(trial)
    try:
        shapes = [Shape.of(row) for _, row in rows.iterrows()]
    except (ValueError, KeyError):
        return []
    scale = (
        HIGH / max(max(s.channels) for s in shapes),
        min(1, WIDE / max(s.length for s in shapes)),
    )
    found, before = [], shapes[0]
    for shape, (_, row) in zip(shapes, rows.iterrows(), strict=True):
        caption = f"{row['parameters']:,.0f} parameters · {row['val_accuracy']:.1f} %"
        about = (
            f"epoch {row['epoch']:.0f}",
            f"channels {row['channels']}",
            f"layers {row['layers']}",
        )
        title = f"{caption}: {', '.join(about)}"
        found.append(Drawing(svg(shape, before, scale, title), caption, about))
        before = shape
    return found


def svg(shape: Shape, before: Shape, scale: tuple[float, float], title: str) -> str:
    """The picture, what `before` did not have marked as new."""
    high, wide = scale
    left = 0.0
    bars: list[str] = []
    for block, (channels, layers) in enumerate(zip(shape.channels, shape.layers, strict=True)):
        had = _block(before, block)
        for layer in range(layers):
            old = had[0] if layer < had[1] else 0
            bars += bar(left, wide * THICK, channels * high, min(old, channels) * high)
            left += wide * (THICK + GAP)
        left += wide * 5 * GAP
    width = max(1.0, shape.length * wide)
    return (
        f'<svg viewBox="0 0 {width:.1f} {HIGH}" width="{width:.0f}" height="{HIGH}" role="img" '
        f'aria-label="{title}"><title>{title}</title>{"".join(bars)}</svg>'
    )


def _block(shape: Shape, block: int) -> tuple[int, int]:
    """Channels and layers of a block, none of one that is not there."""
    there = block < len(shape.layers)
    return (shape.channels[block], shape.layers[block]) if there else (0, 0)


def bar(left: float, width: float, height: float, old: float) -> Sequence[str]:
    """A layer, standing on the middle line, of which the part `old` was there before."""
    parts = [(height, "new")] if old < height else []
    parts += [(old, "old")] if old else []
    return [
        f'<rect class="{kind}" x="{left:.1f}" y="{(HIGH - h) / 2:.1f}" width="{width:.1f}" '
        f'height="{h:.1f}"/>'
        for h, kind in parts
    ]
