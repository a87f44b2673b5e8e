"""What a user would write: short, without private names, and it works through the command."""

import ast
import json

import pyarrow.parquet as pq
import pytest
from studies import ROOT, secnn

EXAMPLES = {
    "own_criterion": ("--criterion", "narrowest", "--dataset", "digits"),
    "own_cell": ("--set", "cell=residual", "--dataset", "digits"),
    "own_fisher": ("--fisher", "layerwise", "--dataset", "digits"),
    "own_data": ("--dataset", "bars"),
}
QUICK = ("--preset", "quick", "--epochs", "2", "--num-samples", "1", "--tau", "--lam")
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_is_short_and_needs_no_private_name(name):
    text = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            names = [node.module, *(alias.name for alias in node.names)]
            assert not any(part.startswith("_") and part != "__future__" for part in names)
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_") or node.attr.startswith("__"), node.attr


@pytest.mark.parametrize("name", EXAMPLES)
def test_readme_and_the_example_itself_name_the_command(name):
    command = " ".join(("secnn run --import", f"examples.{name}"))
    assert command in README
    assert command in (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_study_with_it_ends_with_a_table(name, tmp_path):
    out = tmp_path / "out"
    done = secnn("run", "--import", f"examples.{name}", *QUICK, *EXAMPLES[name], "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    study = json.loads((out / "study.json").read_text())
    assert study["imports"] == [f"examples.{name}"]
    table = secnn("table", out)
    assert table.returncode == 0, table.stderr
    assert "highest validation accuracy" in (out / "analysis" / "table.md").read_text()
    bars = ["horizontal", "vertical", "slanted"]
    used = {
        "own_criterion": lambda: any("criterion=narrowest" in key for key in study["trials"]),
        "own_cell": lambda: {t["cell"] for t in study["trials"].values()} == {"residual"},
        "own_fisher": lambda: {t["fisher"] for t in study["trials"].values()} == {"layerwise"},
        "own_data": lambda: study["dataset"]["class_names"] == bars,
    }
    assert used[name]()
    for log in (out / "logs" / "epochs").iterdir():
        with open(log, "rb") as file:
            assert pq.read_table(file)["expansion"].to_pylist()[0] is not None
