"""Finished studies for the tests of analysis."""

from pathlib import Path

import pytest
from reported_pages import candidates
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

from secnn.analysis.page import document


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A study of three seeds, a sweep and a control, all done."""
    out = tmp_path / "runs" / "finished"
    for i, key in enumerate(write_study(out, SWEEP, reference=config())):
        write_trial(out, key, draw_epochs(PLANNED, i), 70.0 + i)
    return out


@pytest.fixture
def without_pictures(request, monkeypatch) -> None:
    """The pictures take most of the time, and are those of test_plots."""
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr(document, "picture", lambda draw: None)


@pytest.fixture
def pictures() -> None:
    """For tests of a page with its pictures."""


@pytest.fixture
def grown(tmp_path: Path) -> Path:
    """A finished study of rungs, with a sweep and a control."""
    out = tmp_path / "grown"
    for i, key in enumerate(write_study(out, SWEEP, reference=config())):
        write_trial(out, key, draw_rungs(i), 70.0 + i)
        write_log(out, "expansions", key, candidates("why"))
    return out
