"""A finished study for the tests of analysis."""

from pathlib import Path

import pytest
from written_studies import PLANNED, SWEEP, config, draw_epochs, write_study, write_trial


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A study of three seeds, a sweep and a control, all done."""
    out = tmp_path / "runs" / "finished"
    for i, key in enumerate(write_study(out, SWEEP, reference=config())):
        write_trial(out, key, draw_epochs(PLANNED, i), 70.0 + i)
    return out
