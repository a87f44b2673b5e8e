"""The committed results: each table is that of the committed logs, byte for byte."""

import shutil
from pathlib import Path

import pytest

from secnn.analysis import make_table
from secnn.analysis.logs import read_study

RESULTS = Path(__file__).parents[2] / "results"
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
