"""The committed results: each table is that of the committed logs, byte for byte."""

import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from secnn.analysis import make_table
from secnn.analysis.logs import read_study

RESULTS = Path(__file__).parents[2] / "results"
README = RESULTS.parent / "README.md"
STUDIES = sorted(path.parent for path in RESULTS.glob("*/study.json"))
TABLES = ("table.md", "table.csv", "table.tex", "settings.csv")


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_tables_are_those_of_the_logs(study, tmp_path):
    shutil.copy(study / "study.json", tmp_path)
    shutil.copytree(study / "logs", tmp_path / "logs")
    assert make_table.main([str(tmp_path)]) == 0
    for name in TABLES:
        made = (tmp_path / "analysis" / name).read_bytes()
        assert made == (study / "analysis" / name).read_bytes(), name


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_what_is_published_is_finished_and_has_its_report(study):
    assert all(trial.finished for trial in read_study(study).trials)
    assert (study / "analysis" / "report.html").exists()
    assert list(study.glob("trials/*/ladder/best.pt"))


def test_every_study_is_in_the_overview_and_no_file_is_large():
    overview = (RESULTS / "README.md").read_text()
    assert STUDIES and all(f"{study.name}/" in overview for study in STUDIES)
    assert all(path.stat().st_size < 1_000_000 for path in RESULTS.rglob("*") if path.is_file())


def told(study: str) -> list[str]:
    """Parameters at 70 and 80 %, and highest accuracy, as README has them, without footnotes."""
    row = re.search(rf"^\| `{study}` \|.*$", README.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub("[¹²³]| %", "", cell.strip()) for cell in row[0].split("|")[3:6]]


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_readme_has_the_means_of_the_logs(study):
    """Computed anew here: the smallest size whose best epoch reaches the accuracy."""
    found = {70: [], 80: [], "highest": []}
    for path in study.glob("logs/epochs/*.parquet"):
        epochs = pq.ParquetFile(path).read(["parameters", "val_accuracy"]).to_pandas()
        sizes = epochs.groupby("parameters")["val_accuracy"].max()
        found["highest"].append(sizes.max())
        for target in (70, 80):
            found[target] += list(sizes.index[sizes >= target].sort_values()[:1])
    seeds = len(found["highest"])
    means = [
        f"{np.mean(values):,.0f}" if len(values) == seeds else f"{len(values)} of {seeds}"
        for values in (found[70], found[80])
    ]
    assert [cell.replace("never", f"0 of {seeds}") for cell in told(study.name)] == [
        *means,
        f"{np.mean(found['highest']):.1f}",
    ]
