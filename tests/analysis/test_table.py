"""The tables show measures, spreads, and what is not there yet."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from written_studies import PLANNED, SWEEP, config, draw_epochs, pipe_rows, write_study, write_trial

from secnn.analysis import make_table
from secnn.analysis.summary import kept, parameters_reaching

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog"]
CIFAR10 += ["horse", "ship", "truck"]


def test_table_shows_the_measures_and_their_spread(finished: Path, capsys):
    assert make_table.main([str(finished), "--targets", "60", "75.5"]) == 0
    text = capsys.readouterr().out
    assert (finished / "analysis" / "table.md").read_text(encoding="utf-8") in text
    rows = pipe_rows(text, "Reference: natural, τ = 1.5, λ = 0")
    assert rows[""] == ["seed 0", "seed 1", "seed 2", "mean ± sd", "paper"]
    assert list(rows)[2:] == [
        "parameters at 60% validation accuracy",
        "parameters at 75.5% validation accuracy",
        "highest validation accuracy (%)",
        "parameters at highest accuracy",
        "test accuracy of the best epoch (%)",
    ]
    columns = [draw_epochs(PLANNED, i) for i in range(3)]
    reached = [parameters_reaching(kept(c), 60) for c in columns]
    cells = rows["parameters at 60% validation accuracy"]
    assert cells[:3] == [f"{p:,}" for p in reached]
    assert cells[3] == f"{np.mean(reached):,.0f} ± {np.std(reached, ddof=1):,.0f}"
    assert cells[4] == "not published"
    assert rows["test accuracy of the best epoch (%)"][:4] == [
        *("70.00", "71.00", "72.00"),
        "71.00 ± 1.00",
    ]
    assert rows["highest validation accuracy (%)"][4] == "84.06 (83.20–84.60)"


def test_the_papers_column_is_its_five_trials(finished: Path, capsys):
    make_table.main([str(finished)])
    rows = pipe_rows(capsys.readouterr().out, "Reference:")
    assert rows["parameters at 70% validation accuracy"][-1] == "11,360 (9,024–13,696)"
    assert rows["parameters at 80% validation accuracy"][-1] == "33,655 (22,636–51,880)"
    assert rows["parameters at highest accuracy"][-1] == "62,698 (40,960–74,564)"


@pytest.mark.parametrize(
    ("name", "class_names", "there"),
    [
        ("digits", list("0123456789"), False),
        ("images", CIFAR10, True),
        ("cifar10", None, True),
        ("cifar100", [str(i) for i in range(100)], False),
    ],
)
def test_the_paper_stands_only_beside_studies_of_its_images(
    name: str, class_names: list | None, there: bool, tmp_path: Path, capsys
):
    (key,) = write_study(tmp_path, [config()], name=name, class_names=class_names)
    write_trial(tmp_path, key, draw_epochs(4, 0))
    make_table.main([str(tmp_path)])
    texts = {p.name: p.read_text(encoding="utf-8") for p in (tmp_path / "analysis").iterdir()}
    assert ("paper_mean" in texts["table.csv"]) == there
    for text in (capsys.readouterr().out, texts["table.md"], texts["table.tex"]):
        column = re.search(r"[|&] +paper ", text) is not None
        assert {"33,655" in text, "2401.05686" in text, column} == {there}


def test_what_is_not_reached_or_not_finished_says_so(tmp_path: Path, capsys):
    keys = write_study(tmp_path, [config(seed=s) for s in range(4)])
    flat = pd.DataFrame({"epoch": [1, 2], "parameters": 9024, "expansion": None})
    write_trial(tmp_path, keys[0], flat.assign(val_accuracy=[60.0, 72.0]), 70.0)
    write_trial(tmp_path, keys[1], flat.assign(val_accuracy=[50.0, 65.0]), 64.0)
    write_trial(tmp_path, keys[2], flat.assign(val_accuracy=[40.0, 41.0]))
    assert make_table.main([str(tmp_path)]) == 0
    text = capsys.readouterr().out
    rows = pipe_rows(text, "Reference:")
    heads = ["seed 0", "seed 1", f"seed 2 (epoch 2/{PLANNED})", "seed 3 (not started)"]
    assert rows[""][:4] == heads
    at_70 = ["9,024", "not reached", "not yet", "not yet", "median > 9,024 (1 of 4)"]
    assert rows["parameters at 70% validation accuracy"][:5] == at_70
    assert rows["parameters at 80% validation accuracy"][4] == "not reached (0 of 4)"
    assert rows["highest validation accuracy (%)"][4].endswith("(3 of 4)")
    assert rows["test accuracy of the best epoch (%)"][2:5] == [
        *("not yet", "not yet"),
        "67.00 ± 4.24 (2 of 4)",
    ]
    assert "2 of 4 trials finished" in text
    (setting,) = (v for k, v in pipe_rows(text, "All settings").items() if k.startswith("natural"))
    assert setting[0] == "4 (2 unfinished)"
    table = pd.read_csv(tmp_path / "analysis" / "table.csv").set_index("metric")
    reached = table.loc["parameters at 70% validation accuracy"]
    assert reached[heads].tolist() == ["9024", "not reached", "not yet", "not yet"]
    assert (reached["mean"], reached["k"], reached["n"], reached["median"]) == (9024, 1, 4, np.inf)


def test_a_target_that_some_did_not_reach_has_a_median_that_counts_them(tmp_path: Path, capsys):
    keys = write_study(tmp_path, [config(seed=s) for s in range(3)])
    flat = pd.DataFrame({"epoch": [1], "expansion": None})
    for key, size, accuracy in zip(keys, (9024, 20_000, 30_000), (72.0, 60.0, 61.0), strict=True):
        write_trial(tmp_path, key, flat.assign(parameters=size, val_accuracy=accuracy), 60.0)
    assert make_table.main([str(tmp_path), "--targets", "61", "70"]) == 0
    rows = pipe_rows(capsys.readouterr().out, "Reference:")
    assert rows["parameters at 61% validation accuracy"][3] == "median 30,000 (2 of 3)"
    assert rows["parameters at 70% validation accuracy"][3] == "median > 30,000 (1 of 3)"


def test_a_setting_without_values_says_whether_they_can_still_come(tmp_path: Path, capsys):
    keys = write_study(tmp_path, [config(), config(criterion="never")], reference=config())
    write_trial(tmp_path, keys[0], draw_epochs(PLANNED, 0), 71.0)
    assert make_table.main([str(tmp_path), "--targets", "99.9"]) == 0
    text = capsys.readouterr().out
    assert (
        "not reached (0 of 1)"
        in pipe_rows(text, "Reference:")["parameters at 99.9% validation accuracy"]
    )
    assert set(pipe_rows(text, "All settings")["never"][1:]) == {"not yet (0 of 1)"}


def test_every_setting_has_a_row(finished: Path, capsys):
    make_table.main([str(finished)])
    rows = pipe_rows(capsys.readouterr().out, "All settings")
    assert list(rows)[2:] == [
        "natural, τ = 1.5, λ = 0",
        "natural, τ = 4, λ = 0",
        "natural, τ = 1.5, λ = 1e-06",
        "never",
    ]
    grown = [draw_epochs(PLANNED, i)["expansion"].notna().sum() for i in range(3)]
    mean = f"{np.mean(grown):.1f} ± {np.std(grown, ddof=1):.1f}"
    assert rows["natural, τ = 1.5, λ = 0"][:2] == ["3", mean]
    settings = pd.read_csv(finished / "analysis" / "settings.csv")
    final = settings[settings["metric"] == "final parameters"]
    assert final["n"].tolist() == [3, 1, 1, 1]
    expected = np.mean([draw_epochs(PLANNED, i)["parameters"].iloc[-1] for i in range(3)])
    assert final["mean"].iloc[0] == pytest.approx(expected, abs=1e-9)


def test_latex_has_a_cell_for_every_column_and_no_bare_special_character(tmp_path: Path):
    out = tmp_path / "50%_of $&#"
    keys = write_study(out, SWEEP, name="a_b$", notice="100 % of {x} & #1 ~ ^ \\")
    for i, key in enumerate(keys):
        write_trial(out, key, draw_epochs(5, i))
    assert make_table.main([str(out)]) == 0
    text = (out / "analysis" / "table.tex").read_text(encoding="utf-8")
    for body in text.split(r"\begin{tabular}")[1:]:
        columns = body.split("{")[1].split("}")[0]
        lines = [line for line in body.split(r"\end{tabular}")[0].splitlines() if "&" in line]
        cells = {line.replace(r"\&", "").count("&") + 1 for line in lines}
        assert cells == {len(columns)}
    assert r"100 \% of \{x\} \& \#1 \textasciitilde{} \textasciicircum{} \textbackslash{}" in text
    bare = text.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    assert not any(symbol in text for symbol in "τλ±")
