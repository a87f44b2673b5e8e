"""The report stands alone and says what the logs say, of whatever there is."""

import json
from pathlib import Path

import numpy as np
import pytest
from reported_pages import candidates, reported
from written_studies import (
    PLANNED,
    SWEEP,
    config,
    draw_epochs,
    draw_rungs,
    write_log,
    write_study,
    write_trial,
)

from secnn.analysis.logs import read_study
from secnn.analysis.page import (
    words,
)
from secnn.analysis.stats import spread
from secnn.analysis.summary import kept

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.mark.usefixtures("pictures")
def test_the_page_needs_nothing_else_and_shows_what_anyone_writes_as_text(tmp_path: Path):
    out = tmp_path / "<b>&"
    dataset = {"name": "digits", "notice": "Not <CIFAR-10>, but </script>.", "validation": "test"}
    keys = write_study(out, SWEEP, **dataset)
    for i, key in enumerate(keys):
        write_trial(out, key, draw_rungs(i))
    write_log(out, "expansions", keys[1], candidates("density 1.2 > 0.5 & </script><b>"))
    page = reported(out)
    assert page.size < 1_000_000
    assert sum(uri.startswith("data:image/png;base64,") for uri in page.references) == 3
    assert all(uri.startswith(("data:", "#")) for uri in page.references)
    assert not page.tags & {"link", "iframe", "b"} - {"link"} and "b" not in page.tags
    for text in ("<b>&", "Not <CIFAR-10>, but </script>.", "validation = test set"):
        assert text in page.text
    assert all(str(setting) in page.text for setting in read_study(out).settings)
    assert f"{keys[1]}: 2 expansions, epoch {PLANNED}/{PLANNED}" in page.text
    assert "after epoch 3: a layer in block 1 density 1.2 > 0.5 & </script><b>" in page.text
    assert "● a layer in block 1 2,336 1.25" in page.text
    assert "4 channels in block 2 628 1.1" in page.text
    assert "8 channels in block 0" in page.text
    assert f"{keys[0]}: 0 expansions" in page.text


def test_a_digits_page_has_nothing_of_cifar(tmp_path: Path):
    for i, key in enumerate(write_study(tmp_path, SWEEP, name="digits", source="digits")):
        write_trial(tmp_path, key, draw_rungs(i), 70.0)
    page = reported(tmp_path)
    assert "the paper needs" not in page.text and "33,655" not in page.text
    assert "2401.05686" not in page.text and "CIFAR" not in page.text
    charts = json.dumps(page.content)
    assert "published" not in charts and "ResNet" not in charts


def test_the_finding_is_what_the_logs_say(grown: Path):
    study, page = read_study(grown), reported(grown)
    ladders = [kept(draw_rungs(i)) for i in range(3)]
    low, high = (
        {int(rows["parameters"].iloc[end]) for rows in ladders} for end in (0, -1)
    )  # fmt: skip
    assert (
        f"3 seeds grew from {words.span([*low])} to {words.span([*high])} parameters" in page.text
    )
    reached = [rows.loc[rows["val_accuracy"] >= 70, "parameters"].min() for rows in ladders]
    expected = words.target(study.settings[study.reference], 70)
    assert f"{np.mean(reached):,.0f}" in expected and "the paper needs 11,360." in expected
    assert expected in page.text
    assert "On test images the best epoch's network has 71.0 ± 2.5 %" in page.text
    best = ladders[0]["val_accuracy"].max() - kept(draw_rungs(5))["val_accuracy"].max()
    side = "above" if best >= 0 else "below"
    told = f"the reference's best network is {abs(best):.1f} points (one seed) {side} that of never"
    assert told in page.text


@pytest.mark.parametrize(
    ("values", "mean", "difference"),
    [
        ([2.0], "2.0", "2.0 points (one seed)"),
        ([1.0, 3.0], "2.0", "2.0 points (two seeds)"),
        ([1.0, 2.0, 3.0], "2.0 ± 2.5", "2.0 points (−0.5 to 4.5, which may be chance)"),
    ],
)
def test_intervals_are_told_from_three_seeds_on(values, mean, difference):
    found = spread(values)
    assert (words.mean(found, digits=1), words.difference(found)) == (mean, difference)


def test_every_chart_has_its_data(grown: Path):
    page, study = reported(grown), read_study(grown)
    networks = page.csv("s0-accuracy")
    for trial in study.trials:
        own = networks[networks["trial"] == trial.key]
        rows = kept(trial.epochs)
        for column in ("parameters", "multiply-adds", "val_accuracy", "epoch"):
            assert own[column].tolist() == rows[column].tolist()
        epochs = page.csv("s0-growth")
        assert (epochs["trial"] == trial.key).sum() == len(trial.epochs)
    assert {"the paper", "ResNet-20"} & set(networks["network"].dropna()) == {"ResNet-20"}
    assert len(page.csv("s0-decisions")) == 3 * len(study.trials)
    assert page.csv("s0-sweep")["trial"].tolist() == [t.key for t in study.trials]
    links = {name for name in page.content["tables"]}
    assert links == {f"s0-{n}" for n in ("accuracy", "growth", "sweep", "decisions")}


def test_both_axes_show_the_paper_and_published_networks_with_their_sources(grown: Path):
    charts = reported(grown).content["charts"]
    for chart, cost in (("s0-accuracy-0", "parameters"), ("s0-accuracy-1", "multiply-adds")):
        assert cost in charts[chart]["layout"]["xaxis"]["title"]["text"]
        told = [p for trace in charts[chart]["data"] for p in trace.get("customdata", [])]
        named = {p[0]: p[3] for p in told}
        assert "github.com/zeiss-microscopy/BSConv" in named["BSConv-S WRN16-1"]
    paper = [t for t in charts["s0-accuracy-0"]["data"] if t["name"] == "the paper"]
    assert [x for trace in paper for x in trace["x"]].count(33655.2) == 1


def test_networks_are_drawn_at_every_rung(grown: Path):
    page = reported(grown)
    rows = kept(draw_rungs(max(range(3), key=lambda i: len(kept(draw_rungs(i))))))
    for row in rows.itertuples():
        assert f"{row.parameters:,} parameters · {row.val_accuracy:.1f} %" in page.text
        assert f"epoch {row.epoch}, channels {row.channels}, layers 1-2-1" in page.text
    assert page.classes.count("new") == len(rows) - 1, "a growing block has one layer"


def test_half_finished_studies_with_failed_trials_are_told_as_far_as_they_are(tmp_path: Path):
    keys = write_study(tmp_path, SWEEP, reference=config())
    write_trial(tmp_path, keys[0], draw_rungs(0), 70.0)
    write_trial(tmp_path, keys[1], draw_rungs(1)[:6])
    (tmp_path / "trials" / keys[2]).mkdir(parents=True)
    (tmp_path / "trials" / keys[2] / "ERROR").write_text("TrialDiverged: nan\n")
    page = reported(tmp_path)
    assert "So far 1 of 6 trials have finished, 1 failed." in page.text
    assert "2 seeds grew" in page.text
    assert f"{keys[2]}: 0 expansions, failed at epoch 0: TrialDiverged: nan" in page.text
    assert f"{keys[3]}: 0 expansions, not started" in page.text
    assert f"{keys[1]} epoch 6/{PLANNED} 6" in page.text


@pytest.mark.parametrize("rows", [draw_rungs(0)[:1].assign(expansion=None), draw_epochs(4, 0)])
def test_a_study_without_a_finished_size_or_a_sweep_has_a_page(tmp_path: Path, rows):
    (key,) = write_study(tmp_path, [config()])
    write_trial(tmp_path, key, rows)
    page = reported(tmp_path)
    finished = "rung" not in rows
    assert ("No size is finished yet." in page.text) != finished
    assert ("Accuracy against size" in page.text) == finished
    assert "Sweeps" not in page.text and "Predicted against" not in page.text
    assert "Growth over the epochs" in page.text


def test_networks_that_did_not_grow_are_said_not_to(tmp_path: Path):
    for key in write_study(tmp_path, [config(seed=s) for s in range(2)]):
        flat = draw_rungs(0).assign(parameters=9024, expansion=None)
        write_trial(tmp_path, key, flat, 70.0)
    text = reported(tmp_path).text
    assert "2 seeds trained, and none grew: 9,024 parameters." in text
    assert "No seed has reached" in text or "is first reached with 9,024 parameters" in text


@pytest.mark.parametrize("scored", [True, False])
def test_the_report_has_the_calibration_of_what_was_followed(tmp_path: Path, scored: bool):
    keys = write_study(tmp_path, [config(seed=s) for s in range(3)])
    for i, key in enumerate(keys):
        write_trial(tmp_path, key, draw_epochs(9, i))
        realised = {"realised_reduction": [0.1 + i, np.nan, np.nan], "reduction_before": np.nan}
        score = {"predicted_reduction": 3.0 + i if scored else np.nan}
        write_log(tmp_path, "expansions", key, candidates("why").assign(**realised, **score))
    page = reported(tmp_path)
    assert ("s0-predicted-0" in page.content["charts"]) == scored
    rho = "+1.00 +1.00 +1.00 +1.00" if scored else "– – – –"
    assert f"what the loss should fall by what it fell by {3 * scored} {rho}" in page.text
    assert "confounded with training progress" in page.text


def test_seeds_of_which_some_grew_are_counted(tmp_path: Path):
    keys = write_study(tmp_path, [config(seed=s) for s in range(3)])
    for i, key in enumerate(keys):
        rows = draw_rungs(i)
        write_trial(tmp_path, key, rows if i else rows.assign(parameters=9024, expansion=None))
    last = [int(draw_rungs(i)["parameters"].iloc[-1]) for i in (1, 2)]
    assert (
        f"2 of 3 seeds grew, from 9,024 to {words.span(last)} parameters."
        in reported(tmp_path).text
    )


def test_a_control_that_is_as_good_is_not_above_or_below(tmp_path: Path):
    configs = [config(criterion=c, seed=s) for c in ("natural", "never") for s in range(2)]
    for key in write_study(tmp_path, configs, reference=configs[0]):
        write_trial(tmp_path, key, draw_rungs(0), 70.0)
    text = reported(tmp_path).text
    assert "Of the same 2 seeds, the reference's best network is as good as that of never." in text
    assert "0.0 points" not in text


def test_where_sizes_are_not_finished_the_page_says_what_counts(tmp_path: Path):
    for i, key in enumerate(write_study(tmp_path, SWEEP, reference=config())):
        write_trial(tmp_path, key, draw_epochs(PLANNED, i), 70.0)
    text = reported(tmp_path).text
    assert "A dot is the best epoch of a size" in text and "a finished network" not in text
    assert "At each size it rises" not in text and "learning rate" not in text
