"""Calibration reads the expansions that were made, and ranks them as brute force does."""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from secnn.analysis import calibration
from secnn.analysis.logs import read_study
from secnn.analysis.stats import spearman


def draw_study(out: Path, trials: int, made: int) -> pd.DataFrame:
    """Trials with `made` realised expansions each, one whose cooldown is not over, and candidates
    that were not chosen; the realised rows."""
    rng, expected = np.random.default_rng(0), []
    keys = [f"criterion=natural,seed={s}" for s in range(trials)]
    fields = {"criterion": "natural", "tau": 1.1, "lam": 0.0, "epochs": 20}
    configs = {key: fields | {"seed": s} for s, key in enumerate(keys)}
    about = {"format": 1, "preset": "quick", "dataset": {"name": "cifar10"}, "trials": configs}
    (out / "logs" / "epochs").mkdir(parents=True)
    (out / "logs" / "expansions").mkdir()
    (out / "study.json").write_text(json.dumps(about))
    epochs = pd.DataFrame({"epoch": [1], "parameters": 9024, "val_accuracy": 50.0})
    for key in keys:
        epochs.assign(expansion=None).to_parquet(out / "logs" / "epochs" / f"{key}.parquet")
        rows = pd.DataFrame(rng.normal(size=(2 * made + 1, 4)), columns=calibration.MEASURES[:4])
        rows["added_parameters"] = rng.integers(500, 9000, len(rows))
        rows["epoch"] = np.arange(len(rows)) + rng.integers(1, 4)
        rows["kind"] = rng.choice(["AddLayer", "AddChannels"], len(rows))
        rows["chosen"] = [True] * (made + 1) + [False] * made
        rows["realised_reduction"] = rows["predicted_reduction"] ** 3
        rows["reduction_before"] = [np.nan, *rng.normal(size=2 * made)]
        rows.loc[made:, ["realised_reduction", "reduction_before"]] = np.nan
        rows.to_parquet(out / "logs" / "expansions" / f"{key}.parquet")
        expected.append(rows.iloc[:made].assign(trial=key, nth=range(1, made + 1)))
    return pd.concat(expected, ignore_index=True)


def test_the_realised_expansions_are_those_chosen_and_over(tmp_path: Path):
    expected = draw_study(tmp_path, trials=3, made=4)
    points = calibration.realised(read_study(tmp_path))
    for name in (*calibration.MEASURES, "kind", "trial", "nth"):
        assert points[name].tolist() == expected[name].tolist()
    assert points[calibration.REALISED].tolist() == expected["realised_reduction"].tolist()
    beyond = expected["realised_reduction"] - expected["reduction_before"].astype(float)
    np.testing.assert_array_equal(points[calibration.BEYOND], beyond)


def test_the_interval_resamples_trials_not_expansions():
    """Three trials, within each of which all expansions agree: all drawn may be alike."""
    up, down = np.arange(5.0), np.arange(5.0)[::-1]
    points = pd.DataFrame({"x": [*up, *up, *up], "y": [*up, *up, *down]})
    points["trial"] = [key for key in "abc" for _ in up]
    points["nth"] = 1
    assert calibration.interval(points, "x", "y") == (pytest.approx(-1), pytest.approx(1))
    one = calibration.interval(points.iloc[:5], "x", "y")
    assert all(np.isnan(one))


def progress(trials: int, made: int) -> pd.DataFrame:
    """Expansions of which later ones promise and bring less, but among the n-th ones that which
    promises most brings least."""
    trial, nth = (v.ravel() for v in np.mgrid[:trials, 1 : made + 1])
    points = pd.DataFrame({"trial": trial, "nth": nth, "epoch": 10.0 * nth})
    for name in calibration.MEASURES[:-1]:
        points[name] = 100.0 / nth + trial / 10
    points[calibration.REALISED] = points[calibration.BEYOND] = 1.0 / nth - trial / 1000
    return points


def test_what_only_follows_training_is_no_skill():
    table = calibration.table(progress(trials=5, made=3)).set_index("measure")
    rows, epoch = table.drop(index="epoch"), table.loc["epoch"]
    assert set(rows["rho"]) == set(rows["low"]) == set(rows["high"]) == {"-1.00"}
    assert (rows["pooled"].astype(float) > 0.5).all()
    assert (epoch["pooled"].astype(float) < -0.9).all()
    assert set(epoch["rho"]) == {"-"}, "of the n-th ones the epoch says nothing"


@pytest.mark.parametrize("seed", range(5))
def test_the_rank_correlation_is_the_mean_of_those_of_the_nth(seed: int):
    rng = np.random.default_rng(seed)
    sizes = (7, 4, 3, 1)  # Of the last one there is no correlation.
    groups = [rng.normal(size=(size, 2)) for size in sizes]
    values = np.concatenate([np.insert(g, 0, n, axis=1) for n, g in enumerate(groups)])
    by_n = [spearman(*g.T) for g in groups[:3]]
    expected = sum(r * (s - 1) for r, s in zip(by_n, sizes, strict=False)) / (6 + 3 + 2)
    assert calibration.within(rng.permutation(values)) == pytest.approx(expected)
    assert calibration.within(values[:7]) == pytest.approx(by_n[0])
    shifted = values + rng.normal(size=(4, 3))[values[:, 0].astype(int)] * (0, 100, 100)
    assert calibration.within(shifted) == pytest.approx(expected)
    assert np.isnan(calibration.within(values[-1:])) and np.isnan(calibration.within(values[:0]))


def test_an_expansion_has_its_number_by_its_epoch_among_all_that_were_made():
    columns = ["epoch", "chosen", "realised_reduction"]
    rows = [(9, True, 0.3), (2, True, None), (2, False, None), (5, True, 0.2), (12, True, None)]
    made = calibration._made(pd.DataFrame(rows, columns=columns), "a")
    assert dict(zip(made["nth"], made["realised_reduction"], strict=True)) == {2: 0.2, 3: 0.3}


@pytest.mark.parametrize(("lowest", "scale"), [(1e-3, "log"), (0.0, "symlog"), (-2.0, "symlog")])
def test_every_expansion_is_in_the_figure_whatever_its_sign(lowest: float, scale: str):
    predicted = np.geomspace(1e-2, 1e3, 9)
    points = pd.DataFrame({"predicted_reduction": predicted, "nth": 1, "kind": "AddLayer"})
    points[calibration.REALISED] = [lowest, *np.geomspace(1e-2, 2, 8)]
    figure = Figure()
    axes = figure.subplots()
    calibration.draw(axes, points)
    figure.draw_without_rendering()
    assert axes.get_xscale() == axes.get_yscale() == scale
    drawn = np.concatenate([c.get_offsets() for c in axes.collections])
    pixels = axes.transData.transform(drawn)
    assert len(pixels) == 9 and all(axes.bbox.contains(*xy) for xy in pixels)
    line = axes.lines[0]
    np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())
    assert "off by orders of magnitude" in " ".join(axes.get_xlabel().split())


@pytest.mark.parametrize("sign", [1, -1])
def test_each_axis_is_as_long_as_its_own_values_and_has_ticks(sign: int):
    """Predictions are often off by orders of magnitude: what was realised would be a line."""
    predicted = sign * np.geomspace(0.1, 1e4, 9)
    points = pd.DataFrame({"predicted_reduction": predicted, "nth": 1, "kind": "AddLayer"})
    points[calibration.REALISED] = np.geomspace(0.01, 0.08, 9)
    figure = Figure()
    axes = figure.subplots()
    calibration.draw(axes, points)
    figure.draw_without_rendering()
    (dots,) = axes.collections
    pixels = axes.transData.transform(dots.get_offsets())
    assert (np.ptp(pixels, axis=0) > 0.75 * np.array(axes.bbox.size)).all()
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        marks = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)
        shown = {place: text.get_text() for place, text in marks if low <= place <= high}
        assert len(shown) >= 3
        numbers = [float(text.replace("−", "-")) for text in shown.values()]
        np.testing.assert_allclose(numbers, list(shown), rtol=1e-4)
        assert not any(text.get_text() for text in axis.get_minorticklabels())


def test_however_many_expansions_there_were_the_legend_is_short(tmp_path: Path):
    draw_study(tmp_path, trials=2, made=30)
    figure = calibration.calibration_figure(read_study(tmp_path), calibration.Options())
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert len(texts) == 5
    assert texts[2:] == ["expansion 1 of a trial", "expansion 30 of a trial", "as predicted"]
    kinds = draw_study(tmp_path / "again", trials=2, made=30)["kind"].value_counts()
    assert texts[:2] == [f"channels ({kinds['AddChannels']})", f"a layer ({kinds['AddLayer']})"]


def test_without_predictions_there_is_a_word_instead_of_a_figure(tmp_path: Path, capsys):
    draw_study(tmp_path, trials=1, made=4)
    for path in (tmp_path / "logs" / "expansions").iterdir():
        pd.read_parquet(path).assign(predicted_reduction=np.nan).to_parquet(path)
    assert calibration.main([str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "1 trial:" in printed and "No figure: " in printed
    assert not (tmp_path / "analysis").exists()


def test_the_script_prints_every_pair_and_writes_the_figure(tmp_path: Path, capsys):
    draw_study(tmp_path, trials=3, made=4)
    assert calibration.main([str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines() if "realised" in line]
    pairs = itertools.product(calibration.MEASURES, (calibration.REALISED, calibration.BEYOND))
    assert [" ".join(r[:-5]) for r in rows] == [" ".join(pair) for pair in pairs]
    assert rows[0][-5:] == ["12", *["+1.00"] * 4]
    assert "pooled: all expansions at once, confounded with training progress" in printed
    assert "off by orders of magnitude, with --fisher exact by about ten times" in printed
    written = {path.name for path in (tmp_path / "analysis").iterdir()}
    assert written == {"calibration.png", "calibration.svg", "calibration.pdf"}


@pytest.mark.parametrize("made", [0, 2])
def test_too_few_expansions_give_one_line(tmp_path: Path, made: int, capsys):
    draw_study(tmp_path, trials=1, made=made)
    assert calibration.main([str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{made} expansions were followed by a whole cooldown" in line


def test_a_study_without_these_columns_is_told_the_same(tmp_path: Path):
    draw_study(tmp_path, trials=1, made=4)
    for path in (tmp_path / "logs" / "expansions").iterdir():
        pd.DataFrame({"epoch": [1], "chosen": [True]}).to_parquet(path)
    assert calibration.main([str(tmp_path)]) == 2
    for path in (tmp_path / "logs" / "expansions").iterdir():
        path.unlink()
    assert calibration.main([str(tmp_path)]) == 2


def test_controls_have_no_scores_but_parameters(tmp_path: Path, capsys):
    draw_study(tmp_path, trials=2, made=4)
    for path in (tmp_path / "logs" / "expansions").iterdir():
        rows = pd.read_parquet(path)
        rows[list(calibration.MEASURES[:4])] = None
        rows.to_parquet(path)
    assert calibration.main([str(tmp_path)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "realised" in line]
    assert rows[0] == ["predicted_reduction", "realised", "0", *"----"]
    assert [r[:3] for r in rows[-4::2]] == [
        ["added_parameters", "realised", "8"],
        ["epoch", "realised", "8"],
    ]
    assert not (tmp_path / "analysis").exists()
