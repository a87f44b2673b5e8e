"""The figures show what they must: points, names, colours and what is unfinished."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.figure import Figure
from written_studies import (
    PLANNED,
    ROOT,
    SWEEP,
    config,
    dominates,
    draw_epochs,
    draw_rungs,
    write_study,
    write_trial,
)

from secnn.analysis import figures, plot_growth, plot_pareto, plot_sweep
from secnn.analysis.figures import Options
from secnn.analysis.logs import read_study
from secnn.analysis.published import baselines, paper_networks
from secnn.analysis.summary import kept


def rungs_study(out: Path, **dataset) -> Path:
    for i, key in enumerate(write_study(out, SWEEP, reference=config(), **dataset)):
        write_trial(out, key, draw_rungs(i), 70.0)
    return out


def points(axes: Axes) -> list[tuple[float, float]]:
    dots = (c for c in axes.collections if isinstance(c, PathCollection))
    return [tuple(xy) for c in dots for xy in np.ma.getdata(c.get_offsets())]


@pytest.mark.parametrize("cost", ["parameters", "multiply-adds"])
def test_every_finished_network_is_on_the_axes_and_trajectories_are_faint(tmp_path: Path, cost):
    study = read_study(rungs_study(tmp_path))
    (axes,) = plot_pareto.pareto_figure(study, Options(against=cost, baselines=False)).axes
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    shown = points(axes)
    for trial in study.trials:
        for row in kept(trial.epochs).to_dict("records"):
            assert (row[cost], row["val_accuracy"]) in shown
            assert left < row[cost] < right and bottom < row["val_accuracy"] < top
    faint = [line for line in axes.lines if (line.get_alpha() or 1) < 0.3]
    assert len(faint) == len(study.trials)
    assert {len(line.get_xdata()) for line in faint} == {PLANNED}


@pytest.mark.parametrize(("name", "about"), [("cifar10", True), ("digits", False)])
def test_others_are_drawn_for_the_same_images_alone(tmp_path: Path, name, about, capsys):
    rungs_study(tmp_path, name=name)
    assert plot_pareto.main([str(tmp_path), "--against", "parameters"]) == 0
    assert ("not drawn" not in capsys.readouterr().out) == about
    shown = {
        baselines_too: points(
            plot_pareto.pareto_figure(read_study(tmp_path), Options(baselines=baselines_too)).axes[
                0
            ]
        )
        for baselines_too in (True, False)
    }
    others = set(shown[True]) - set(shown[False])
    assert bool(others) == about
    published = pd.concat([baselines(), paper_networks()])
    assert others <= set(zip(published["parameters"], published["val_accuracy"], strict=True))


def test_unverified_baselines_are_hollow_and_the_axes_keep_the_studys_range():
    axes = Figure().subplots()
    axes.set(xlim=(8000, 60_000), ylim=(65, 85), xscale="log")
    named = plot_pareto.draw_published(axes, "parameters")
    filled, hollow, paper = axes.collections
    table = pd.read_csv(ROOT / "analysis" / "baselines.csv")
    table = table[table["params"].between(8000, 60_000)]
    unverified = table["confidence"].isin(["secondary", "leaderboard copy"])
    assert len(hollow.get_offsets()) == unverified.sum() and len(hollow.get_facecolors()) == 0
    assert len(filled.get_offsets()) == (~unverified).sum() and len(filled.get_facecolors()) == 1
    assert [9024, 70] in paper.get_offsets().tolist()
    assert len(named) == len(table) + len(paper_networks())
    assert axes.get_xlim() == (8000, 60_000)
    assert axes.get_ylim()[1] > table["accuracy"].max()


def test_baselines_without_known_multiply_adds_are_left_out():
    axes = Figure().subplots()
    axes.set(xlim=(1e6, 1e7), ylim=(65, 85), xscale="log")
    named = plot_pareto.draw_published(axes, "multiply-adds")
    assert 0 < len(named) < len(baselines())
    assert named["x"].between(1e6, 1e7).all()


def legend_of(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("cost", ["parameters", "multiply-adds"])
def test_the_legend_names_what_is_drawn_and_nothing_else(tmp_path: Path, cost):
    study = read_study(rungs_study(tmp_path))
    figure = plot_pareto.pareto_figure(study, Options(against=cost))
    named = " | ".join(legend_of(figure))
    assert ("arXiv:2401.05686" in named) == (cost == "parameters"), "its operations are unknown"
    assert "published network, on test images" in named and "band: 95 %" in named
    alone = plot_pareto.pareto_figure(study, Options(against=cost, baselines=False))
    assert "published" not in " ".join(legend_of(alone))


def test_only_the_reference_has_a_band(tmp_path: Path):
    configs = [config(criterion=c, seed=s) for c in ("natural", "never") for s in range(3)]
    for i, key in enumerate(write_study(tmp_path, configs, reference=configs[0])):
        write_trial(tmp_path, key, draw_rungs(i), 70.0)
    (axes,) = plot_pareto.pareto_figure(read_study(tmp_path), Options()).axes
    assert sum(isinstance(drawn, PolyCollection) for drawn in axes.collections) == 1


@pytest.mark.parametrize("size", ["page", "column"])
@pytest.mark.parametrize("draw", [plot_pareto.pareto_figure, plot_growth.growth_figure])
def test_no_text_is_cut_off_however_long_the_title(tmp_path: Path, size: str, draw):
    study = read_study(rungs_study(tmp_path / ("a long name of a folder " * 5)))
    figure = draw(study, Options(size=size, title="What grew, and what it brought: " * 6))
    figure.draw_without_rendering()
    whole, (legend,) = figure.bbox.padded(1), figure.legends
    # All but the texts of the axes, of which those beyond their limits are there too.
    for text in (legend.get_title(), *legend.get_texts(), figure._supxlabel):
        box = text.get_window_extent()
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1, text.get_text()


def test_a_setting_of_one_size_is_named_at_its_largest_network(tmp_path: Path):
    """Where the seeds have only their first size in common, no line of a mean ends anywhere."""
    keys = write_study(tmp_path, [config(seed=s) for s in range(2)])
    write_trial(tmp_path, keys[0], draw_rungs(0).assign(parameters=9024, expansion=None), 70.0)
    write_trial(tmp_path, keys[1], draw_rungs(1), 70.0)
    study = read_study(tmp_path)
    ((size, _),) = plot_pareto.end_of(study.trials, "parameters")
    assert size == kept(draw_rungs(1))["parameters"].max()


def test_a_study_without_a_finished_size_or_known_operations_is_told(tmp_path: Path, capsys):
    (key,) = write_study(tmp_path, [config()])
    write_trial(tmp_path, key, draw_rungs(0)[:1].assign(expansion=None))
    assert plot_pareto.main([str(tmp_path)]) == 2
    assert "no size is finished yet" in capsys.readouterr().err
    write_trial(tmp_path, key, draw_epochs(3, 0))
    assert plot_pareto.main([str(tmp_path)]) == 0
    assert plot_pareto.main([str(tmp_path), "--against", "multiply-adds"]) == 2
    assert "hold no multiply-adds" in capsys.readouterr().err


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


def test_each_kind_of_expansion_has_a_mark_of_its_own():
    kinds = ["AddLayer", "AddChannels", "BoxLayer", "ResetChannels", "Split"]
    for part in zip(*(figures.marks(kinds)[kind] for kind in kinds), strict=True):
        assert len(set(part)) == len(kinds)


@pytest.mark.parametrize("rated", [True, False])
def test_growth_has_a_panel_for_the_learning_rate_where_it_was_logged(tmp_path: Path, rated: bool):
    for i, key in enumerate(write_study(tmp_path, SWEEP, reference=config())):
        epochs = draw_rungs(i)
        write_trial(tmp_path, key, epochs if rated else epochs.drop(columns="learning_rate"))
    panels = plot_growth.growth_figure(read_study(tmp_path), Options()).axes
    assert len(panels) == 2 + rated
    names = [" ".join(text.get_text().split()) for text in panels[0].texts]
    names = {name.removesuffix(" (3 seeds)") for name in names}
    assert names == {str(s) for s in read_study(tmp_path).settings}


@pytest.mark.parametrize(("low", "high"), [(9024, 9024), (9024, 16000), (9024, 1.7e6)])
def test_parameter_axis_has_labels_for_every_range(low: float, high: float):
    figure = Figure()
    axes = figure.subplots()
    axes.plot([low, high], [70, 80])
    figures.parameter_axis(axes.xaxis)
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
    for dots in axes.collections:
        drawn[len(dots.get_facecolors()) > 0] += [y for _, y in dots.get_offsets()]
    assert drawn == {True: [10_000, 11_000, 15_000], False: [12_000, 13_000, 14_000]}
    (mean,) = axes.lines
    np.testing.assert_array_equal(mean.get_ydata(), [10_500, np.nan, 15_000])
    labels = [tick.get_text() for tick in axes.get_xticklabels()]
    assert labels == ["1.5\nn = 2", "2\nn = 0", "4\nn = 1"]
    assert "unfinished, not in the mean" in axes.get_legend_handles_labels()[1]


def test_a_finished_sweep_has_no_hollow_points_and_its_controls(finished: Path):
    axes = sweep_axes(finished)
    assert all(len(dots.get_facecolors()) for dots in axes.collections)
    assert "unfinished, not in the mean" not in axes.get_legend_handles_labels()[1]
    assert axes.lines[1].get_ydata()[0] == draw_epochs(PLANNED, 5)["parameters"].iloc[-1]
    figure = plot_sweep.sweep_figure(read_study(finished), Options())
    named = [text.get_text() for text in figure.axes[1].texts]
    assert named == ["never (n = 1)"]


def test_figures_are_the_same_twice(finished: Path):
    written = []
    for _ in range(2):
        plot_growth.main([str(finished)])
        kinds = ("svg", "pdf", "png")
        written.append([(finished / "analysis" / f"growth.{k}").read_bytes() for k in kinds])
    assert written[0] == written[1]


def test_neither_a_notebook_s_backend_nor_a_matplotlibrc_matters(tmp_path: Path):
    """And a name in signs that no font may have costs no warning."""
    out = rungs_study(tmp_path / "study", name="花の種類")
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.family: nothing\n")
    named = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "PYTHONPATH": str(ROOT)}
    for script in ("plot_pareto", "plot_growth", "plot_sweep", "report"):
        run = subprocess.run(
            [sys.executable, "-W", "error", str(ROOT / "analysis" / f"{script}.py"), str(out)],
            cwd=tmp_path,
            env=os.environ | named,
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
        assert run.stderr == ""
