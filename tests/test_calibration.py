"""Calibration reads the expansions that were made, and ranks them as brute force does."""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import calibration
from analysis.logs import read_study


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
        rows["kind"] = rng.choice(["AddLayer", "AddChannels"], len(rows))
        rows["chosen"] = [True] * (made + 1) + [False] * made
        rows["realised_reduction"] = rows["predicted_reduction"] ** 3
        rows["reduction_before"] = [np.nan, *rng.normal(size=2 * made)]
        rows.loc[made:, ["realised_reduction", "reduction_before"]] = np.nan
        rows.to_parquet(out / "logs" / "expansions" / f"{key}.parquet")
        expected.append(rows.iloc[:made].assign(trial=key))
    return pd.concat(expected, ignore_index=True)


def test_the_realised_expansions_are_those_chosen_and_over(tmp_path: Path):
    expected = draw_study(tmp_path, trials=3, made=4)
    points = calibration.realised(read_study(tmp_path))
    for name in (*calibration.MEASURES, "kind", "trial"):
        assert points[name].tolist() == expected[name].tolist()
    assert points[calibration.REALISED].tolist() == expected["realised_reduction"].tolist()
    beyond = expected["realised_reduction"] - expected["reduction_before"].astype(float)
    np.testing.assert_array_equal(points[calibration.BEYOND], beyond)


@pytest.mark.parametrize("seed", range(5))
def test_the_rank_correlation_is_that_of_ranks_by_hand(seed: int):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 5, 12), rng.integers(0, 5, 12)  # Ties.

    def ranks(values):
        return [sum(v < w for v in values) + (sum(v == w for v in values) + 1) / 2 for w in values]

    expected = np.corrcoef(ranks(x), ranks(y))[0, 1]
    assert calibration.spearman(x, y) == pytest.approx(expected)
    assert calibration.spearman(x, x**3) == pytest.approx(1)
    assert calibration.spearman(x, -x) == pytest.approx(-1)
    assert np.isnan(calibration.spearman(x, np.ones(12)))
    assert np.isnan(calibration.spearman(np.array([]), np.array([])))


def test_the_interval_resamples_trials_not_expansions():
    """Two trials, within each of which all expansions agree, give the three possible values."""
    up, down = np.arange(5.0), np.arange(5.0)[::-1]
    points = pd.DataFrame({"x": [*up, *up], "y": [*up, *down], "trial": ["a"] * 5 + ["b"] * 5})
    assert calibration.interval(points, "x", "y") == (pytest.approx(-1), pytest.approx(1))
    one = calibration.interval(points.iloc[:5], "x", "y")
    assert all(np.isnan(one))


def test_the_script_prints_every_pair_and_writes_both_figures(tmp_path: Path, capsys):
    draw_study(tmp_path, trials=3, made=4)
    assert calibration.main([str(tmp_path)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "realised" in line]
    pairs = itertools.product(calibration.MEASURES, (calibration.REALISED, calibration.BEYOND))
    assert [" ".join(r[:-4]) for r in rows] == [" ".join(pair) for pair in pairs]
    assert rows[0][-4:] == ["12", "+1.00", "+1.00", "+1.00"]
    written = {path.name for path in (tmp_path / "analysis").iterdir()}
    assert written == {"calibration.png", "calibration.svg"}


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
    assert rows[0] == ["predicted_reduction", "realised", "0", "-", "-", "-"]
    assert rows[-2][:3] == ["added_parameters", "realised", "8"]
