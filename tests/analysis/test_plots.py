"""The figures show what they must: points, labels, colours and what is unfinished."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from written_studies import (
    PLANNED,
    ROOT,
    SWEEP,
    config,
    dominates,
    draw_epochs,
    write_study,
    write_trial,
)

from secnn.analysis import plot_growth, plot_pareto, plot_sweep
from secnn.analysis.logs import read_study


def test_baselines_are_drawn_for_cifar10_alone(tmp_path: Path, capsys):
    for name, drawn in (("cifar10", True), ("digits", False)):
        out = tmp_path / name
        (key,) = write_study(out, [config()], name=name)
        write_trial(out, key, draw_epochs(4, 0))
        assert plot_pareto.main([str(out)]) == 0
        assert ("not drawn" not in capsys.readouterr().out) == drawn


def test_unverified_baselines_are_hollow():
    axes = Figure().subplots()
    points = plot_pareto.draw_published(axes)
    filled, hollow, paper = axes.collections
    table = pd.read_csv(ROOT / "analysis" / "baselines.csv")
    unverified = table["confidence"].isin(["secondary", "leaderboard copy"])
    assert len(hollow.get_offsets()) == unverified.sum() and len(hollow.get_facecolors()) == 0
    assert len(filled.get_offsets()) == (~unverified).sum() and len(filled.get_facecolors()) == 1
    assert paper.get_offsets().tolist() == [[9024, 70], [57808, 84.6]]
    assert len(points) == len(table) + 2


def test_labels_cover_neither_each_other_nor_points():
    figure = Figure(figsize=(11, 7), dpi=100, layout="constrained")
    axes = figure.subplots()
    points = plot_pareto.draw_published(axes)
    plot_growth.parameter_axis(axes.xaxis)
    plot_pareto.place_labels(figure, axes, points)
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) > 25
    assert {"paper, best", "paper, smallest at 70 %"} <= {t.get_text() for t in axes.texts}
    for i, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[:i])
    dots = axes.transData.transform(points[["parameters", "val_accuracy"]])
    assert not any(box.contains(*dot) for box in boxes for dot in dots)


def test_the_printed_front_is_that_of_all_trials(finished: Path, capsys):
    plot_pareto.main([str(finished)])
    printed = capsys.readouterr().out.split("Pareto front:\n")[1].splitlines()[1:]
    rows = [
        (int(p), float(a))
        for i in range(len(SWEEP))
        for p, a in draw_epochs(PLANNED, i)[["parameters", "val_accuracy"]].to_numpy()
    ]
    front = {b for b in rows if not any(dominates(a, b) for a in rows)}
    shown = [(int(line.split()[0]), float(line.split()[1])) for line in printed]
    assert shown == sorted((p, round(a, 2)) for p, a in front)


def test_expansions_are_marked_by_kind_where_the_network_grew():
    epochs = draw_epochs(PLANNED, 3)
    grown = plot_growth.expansions(epochs)
    after = epochs["parameters"].shift(-1).sub(epochs["parameters"]).iloc[:-1]
    assert set(after[after > 0].index) == set(grown.index) - {len(epochs) - 1}
    assert set(grown["kind"]) == {"AddLayer", "AddChannels"}
    assert len({plot_growth.MARKERS[kind] for kind in grown["kind"]}) == 2


def test_every_setting_has_a_colour_of_its_own(finished: Path):
    colours = plot_growth.colours(study := read_study(finished))
    assert list(colours) == list(study.settings)
    assert len(set(colours.values())) == len(colours)


@pytest.mark.parametrize(("low", "high"), [(9024, 9024), (9024, 16000), (9024, 1.7e6)])
def test_parameter_axis_has_labels_for_every_range(low: float, high: float):
    figure = Figure()
    axes = figure.subplots()
    axes.plot([low, high], [70, 80])
    plot_growth.parameter_axis(axes.xaxis)
    figure.draw_without_rendering()
    left, right = axes.get_xlim()
    labels = [
        tick.get_text()
        for tick in axes.get_xticklabels()
        if left <= tick.get_position()[0] <= right and tick.get_text()
    ]
    assert 3 <= len(labels) <= 12 and len(labels) == len(set(labels))
    assert left <= low and high <= right and axes.get_xscale() == "log"


def sweep_axes(out: Path) -> Axes:
    axes = Figure().subplots()
    plot_sweep.draw_sweep(axes, read_study(out), "tau", "final parameters")
    return axes


def test_unfinished_trials_are_hollow_and_in_no_mean(tmp_path: Path):
    taus = (1.5, 1.5, 1.5, 2.0, 4.0, 4.0)
    configs = [config(tau=t, seed=s) for s, t in enumerate(taus)]
    configs.append(config(criterion="never"))
    flat = pd.DataFrame({"epoch": [1], "val_accuracy": 50.0, "expansion": None})
    sizes = [10_000 + 1000 * i for i in range(len(configs))]
    done = (0, 1, 5)  # Two of three, none of one, one of two, none of the control.
    for i, key in enumerate(write_study(tmp_path, configs, reference=config())):
        write_trial(tmp_path, key, flat.assign(parameters=sizes[i]), 70.0 if i in done else None)
    axes = sweep_axes(tmp_path)
    drawn = {True: [], False: []}
    for points in axes.collections:
        drawn[len(points.get_facecolors()) > 0] += [y for _, y in points.get_offsets()]
    assert drawn == {True: [10_000, 11_000, 15_000], False: [12_000, 13_000, 14_000]}
    (mean,) = axes.lines
    np.testing.assert_array_equal(mean.get_ydata(), [10_500, np.nan, 15_000])
    labels = [tick.get_text() for tick in axes.get_xticklabels()]
    assert labels == ["1.5\nn = 2", "2\nn = 0", "4\nn = 1"]
    assert "unfinished, not in the mean" in axes.get_legend_handles_labels()[1]


def test_a_finished_sweep_has_no_hollow_points_and_its_controls(finished: Path):
    axes = sweep_axes(finished)
    assert all(len(points.get_facecolors()) for points in axes.collections)
    labels = axes.get_legend_handles_labels()[1]
    assert "mean of never (n = 1)" in labels and "unfinished, not in the mean" not in labels
    assert axes.lines[1].get_ydata()[0] == draw_epochs(PLANNED, 5)["parameters"].iloc[-1]


def test_figures_are_the_same_twice(finished: Path):
    written = []
    for _ in range(2):
        plot_growth.main([str(finished)])
        written.append((finished / "analysis" / "growth.svg").read_bytes())
    assert written[0] == written[1]
