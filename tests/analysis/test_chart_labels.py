"""Names stand where they cover nothing, and beside what they name."""

import itertools
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from written_studies import SWEEP, config, draw_rungs, write_study, write_trial

from secnn.analysis import labels, plot_pareto
from secnn.analysis.figures import Options
from secnn.analysis.logs import read_study

SIZES = ("page", "column")


@pytest.mark.parametrize("wide", range(9, 40, 3))
def test_lines_are_broken_neither_around_equals_nor_within_brackets(wide: int):
    text = "balanced, τ = 0.5, λ = 1e-06 (5 seeds)"
    lines = labels.lines_of(text, wide).split("\n")
    assert " ".join(lines) == text
    for piece in ("τ = 0.5,", "λ = 1e-06", "(5 seeds)"):
        if len(piece) <= wide:
            assert any(piece in line for line in lines)
    assert len(lines) <= len(textwrap.wrap(text, wide)) + 2


@pytest.mark.parametrize("seed", range(20))
def test_labels_are_moved_apart_and_no_more(seed: int):
    rng = np.random.default_rng(seed)
    places = sorted(rng.random(rng.integers(1, 9)).tolist())
    moved = labels.apart(places, 0.1)
    assert all(b - a >= 0.1 - 1e-9 for a, b in itertools.pairwise(moved))
    assert np.mean(moved) == pytest.approx(np.mean(places))
    assert labels.apart(moved, 0.1) == pytest.approx(moved)
    assert labels.apart(places, 0) == pytest.approx(places)


def distance(box, xy: np.ndarray) -> float:
    """From a point to a box, in pixels."""
    return float(np.hypot(*(xy - np.clip(xy, box.min, box.max))))


def marks(axes) -> list[tuple[np.ndarray, float]]:
    """Every point that is drawn, and its radius, in pixels."""
    unit = axes.figure.dpi / 72
    dots = [c for c in axes.collections if isinstance(c, PathCollection)]
    return [
        (xy, np.sqrt(of.get_sizes().max()) / 2 * unit)
        for of in dots
        for xy in axes.transData.transform(of.get_offsets())
    ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_names_cover_nothing_and_are_nearest_to_what_they_name(tmp_path: Path, seed: int, size):
    for i, key in enumerate(write_study(tmp_path, SWEEP, reference=config())):
        write_trial(tmp_path, key, draw_rungs(10 * seed + i), 70.0)
    study = read_study(tmp_path)
    figure = plot_pareto.pareto_figure(study, Options(size=size))
    (axes,) = figure.axes
    figure.draw_without_rendering()
    boxes = {text: Text.get_window_extent(text) for text in axes.texts}
    named = [axes.transData.transform(text.xy) for text in axes.texts]
    assert str(study.reference) in {text.get_text() for text in axes.texts}
    for text, box in boxes.items():
        assert not box.count_overlaps([b for t, b in boxes.items() if t is not text])
        assert all(distance(box, xy) > radius for xy, radius in marks(axes))
        own = axes.transData.transform(text.xy)
        if text.arrowprops is None:
            others = [xy for xy in named if np.abs(xy - own).max() > 1]
            assert all(distance(box, own) < distance(box, xy) for xy in others), text.get_text()
    for line in (of for of in axes.lines if of.get_linewidth() >= labels.BOLD):
        path = axes.transData.transform(line.get_xydata())
        for start, end in itertools.pairwise(path):
            for xy in np.linspace(start, end, 200):
                assert not any(box.contains(*xy) for box in boxes.values())


def test_a_name_without_room_beside_its_point_has_a_line_to_it():
    axes = Figure(figsize=(3, 3)).subplots()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    x, y = np.meshgrid(np.linspace(4.6, 5.4, 9), np.linspace(4.6, 5.4, 9))
    axes.scatter(x, y, s=9)
    points = [
        ("in the middle", 5.0, 5.0, "black", 3, len(labels.RINGS)),
        ("lost", 5, 5, "red", 3, 1),
    ]
    columns = ["name", "x", "y", "colour", "radius", "rings"]
    labels.place_labels(axes, pd.DataFrame(points, columns=columns))
    (text,) = axes.texts
    assert text.get_text() == "in the middle" and text.arrowprops is not None
