"""Charts and words of the report, and of comparisons, by one study after the other."""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reported_pages import candidates, reported
from written_studies import (
    SWEEP,
    config,
    draw_rungs,
    write_log,
    write_study,
    write_trial,
)

from secnn.analysis import calibration, palette, report
from secnn.analysis.logs import read_study
from secnn.analysis.page import (
    compared,
    course_charts,
    decisions,
    document,
    origin,
    terms,
)

pytestmark = pytest.mark.usefixtures("without_pictures")


def domains(layout: dict, letter: str) -> list[tuple[float, float]]:
    return sorted(tuple(v["domain"]) for k, v in layout.items() if k.startswith(f"{letter}axis"))


def test_panels_of_a_chart_stand_beside_each_other(grown: Path):
    charts = reported(grown).content["charts"]
    for chart, letters in (("s0-sweep-0", "xy"), ("s0-growth-0", "y")):
        for letter in letters:
            spans = domains(charts[chart]["layout"], letter)
            assert len(spans) > 1
            assert all(a[1] < b[0] for a, b in itertools.pairwise(spans)), (chart, letter)
            assert spans[0][0] == 0 and spans[-1][1] == 1


@pytest.mark.parametrize("rate", [0.002, 0.0])
def test_axes_of_growth_fit_what_does_not_change(tmp_path: Path, rate: float):
    (key,) = write_study(tmp_path, [config()])
    flat = draw_rungs(0).assign(parameters=9024, expansion=None, learning_rate=rate)
    write_trial(tmp_path, key, flat, 70.0)
    layout = reported(tmp_path).content["charts"]["s0-growth-0"]["layout"]
    low, high = (10**end for end in layout["yaxis"]["range"])
    assert 2000 < low < 9024 < high < 40_000
    marks = [t for t in layout["yaxis"]["tickvals"] if low <= t <= high]
    assert len(marks) > 2
    assert layout["yaxis3"].get("range", [0, 1])[1] < (2 * rate or 2)


def test_marks_of_expansions_stand_where_the_size_changes(grown: Path):
    chart = reported(grown).content["charts"]["s0-growth-0"]
    lines = [t for t in chart["data"] if t["mode"] == "lines" and t["line"].get("shape")]
    assert {line["line"]["shape"] for line in lines} == {"hvh"}, "half way between two epochs"
    marks = [t for t in chart["data"] if t["mode"] == "markers"]
    for trace in marks:
        for x, (_, epoch, _) in zip(trace["x"], trace["customdata"], strict=True):
            assert x == epoch + 0.5


@pytest.mark.parametrize("span", [(0.01, 0.08), (-2.0, 20.0), (0.0, 0.0), (-1e4, 1e5), (3, 30)])
def test_ticks_of_what_was_promised_are_apart_and_true(span: tuple):
    low, high = course_charts.symlog(span) + np.array([-0.1, 0.1])
    found = course_charts.ticks(low, high)
    places = course_charts.symlog(found)
    assert 1 <= len(found) < 11 and (low <= places).all() and (places <= high).all()
    assert all(b - a > (high - low) / 9 for a, b in itertools.pairwise(places))
    if span != (0.0, 0.0):
        assert len(found) > 2


def test_names_are_shown_letter_by_letter_in_charts(tmp_path: Path):
    name = "<b>$x$&"
    for i, key in enumerate(write_study(tmp_path, [config(), config(criterion=name)])):
        write_trial(tmp_path, key, draw_rungs(i), 70.0)
    page = reported(tmp_path)
    assert f"{name} : a rule of the user's own." in page.text
    for chart in page.content["charts"].values():
        told = json.dumps([[t.get(k) for k in document.TEXTS] for t in chart["data"]])
        assert "<" not in told and "$" not in told
        assert "&lt;b&gt;&#36;x&#36;&amp;" in told


def test_the_interval_of_a_gain_is_of_the_gain_that_is_shown(grown: Path):
    rows = candidates("why").assign(gain=9.0, gain_unbiased=1.0, gain_low=0.5, gain_high=1.5)
    write_log(grown, "expansions", "criterion=never,seed=0", rows)
    table = decisions.told(read_study(grown))[-1].decisions[0].candidates
    assert table.head[3:6] == ["gain in η", "from", "to"]
    assert table.rows[0][3:6] == ["1", "0.5", "1.5"]
    text = reported(grown).text
    assert (
        "gain in η : η − η_c without what chance adds to both; from, to: its 95 % interval." in text
    )


def test_what_has_no_scores_has_no_words_about_them(tmp_path: Path):
    for i, key in enumerate(
        write_study(tmp_path, [config(criterion="never", seed=s) for s in (0, 1)])
    ):
        write_trial(tmp_path, key, draw_rungs(i), 70.0)
        rows = candidates("why").assign(ratio=np.nan, realised_reduction=[0.1, np.nan, 0.2])
        write_log(tmp_path, "expansions", key, rows)
    text = reported(tmp_path).text
    assert "natural expansion score" not in text and "Predicted against realised" not in text
    assert "threshold" not in text and "it fell by (nats) : " in text


@pytest.mark.parametrize("number", [1.49e13, 3.77e15, 9.999e14, 1.0, 123.0])
def test_operations_are_told_in_powers_of_ten(number: float):
    digits, _, power = origin.scientific(number).partition(" × 10")
    plain = power.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789"))
    assert 1 <= float(digits) < 10
    assert float(digits) * 10 ** int(plain) == pytest.approx(number, rel=5e-3)


def test_every_criterion_of_the_registry_is_explained():
    assert set(terms.RULES) == set(palette.CRITERIA)
    assert set(terms.MEASURES) == {*calibration.MEASURES, calibration.REALISED, calibration.BEYOND}


def test_studies_that_share_a_criterion_share_its_hue_alone(grown: Path, tmp_path: Path):
    outs = [grown, tmp_path / "same", tmp_path / "never"]
    for out, criterion in zip(outs[1:], ("natural", "never"), strict=True):
        for i, key in enumerate(
            write_study(out, [config(criterion=criterion, seed=s) for s in (0, 1)])
        ):
            write_trial(out, key, draw_rungs(i + 7), 60.0)
    looks = compared.looks([read_study(out) for out in outs])
    assert looks[0]["color"] == palette.CRITERIA["natural"]
    assert looks[2]["color"] == palette.CRITERIA["never"]
    assert len({tuple(look.values()) for look in looks}) == 3
    assert looks[1]["dash"] != looks[0]["dash"]


def test_a_target_that_some_seeds_did_not_reach_is_censored_in_comparisons_too(
    grown: Path, tmp_path: Path
):
    out = tmp_path / "some"
    keys = write_study(out, [config(seed=s) for s in range(3)], name="bananas")
    flat = pd.DataFrame({"epoch": [1], "expansion": None})
    for key, size, accuracy in zip(keys, (9024, 20_000, 30_000), (72.0, 60.0, 61.0), strict=True):
        write_trial(out, key, flat.assign(parameters=size, val_accuracy=accuracy), 60.0)
    studies = [read_study(folder) for folder in (out, grown)]
    table = compared.comparison_table(studies, ["some", "grown"])
    cells = {row[0]: row[1] for row in table.rows}
    assert cells["parameters at 70% validation accuracy"] == "median > 30,000 (1 of 3)"
    assert cells["parameters at 80% validation accuracy"] == "not reached"
    assert cells["data"] == "bananas"


@pytest.mark.usefixtures("pictures")
def test_the_comparison_has_a_picture_for_where_nothing_interactive_works(grown: Path, tmp_path):
    other = tmp_path / "first"
    (key,) = write_study(other, [config()])
    write_trial(other, key, draw_rungs(0)[:1].assign(expansion=None))
    pictures = [r.startswith("data:image/png") for r in reported(grown, other).references]
    alone = [r.startswith("data:image/png") for r in reported(grown).references]
    # Of the other one growth alone can be drawn.
    assert sum(pictures) == sum(alone) + 2


def test_several_studies_stand_side_by_side(grown: Path, tmp_path: Path):
    other = tmp_path / "other" / "grown"
    for i, key in enumerate(write_study(other, SWEEP[:2], name="digits")):
        write_trial(other, key, draw_rungs(i + 7), 60.0)
    page = reported(grown, other)
    assert "2 studies side by side" in page.text
    assert "grown (1)" in page.text and "grown (2)" in page.text
    assert "Not all of these studies were measured on the same images" in page.text
    lines = [t["name"] for t in page.content["charts"]["studies-accuracy-0"]["data"]]
    assert {name.split(":")[0] for name in lines} == {"grown (1)", "grown (2)"}
    assert set(page.csv("studies-accuracy")["study"]) == {"grown (1)", "grown (2)"}
    assert {"s0-growth-0", "s1-growth-0"} <= set(page.content["charts"])


def test_the_page_goes_where_it_is_asked_to(grown: Path, tmp_path: Path, capsys):
    path = tmp_path / "mine" / "page.html"
    assert report.main([str(grown), "--output", str(path)]) == 0
    assert path.exists() and not (grown / "analysis").exists()
    assert report.main([str(grown), str(tmp_path / "missing")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "missing" in error
