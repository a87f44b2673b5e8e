"""The report stands alone and tells why networks grew."""

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from written_studies import PLANNED, SWEEP, config, draw_epochs, write_log, write_study, write_trial

from secnn.analysis import report
from secnn.analysis.logs import read_study


class Page(HTMLParser):
    """What a page shows and what it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.shown, self.tags, self.references = [], set(), []
        self.feed(text)
        self.text = " ".join("".join(self.shown).split())

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.add(tag)
        self.references += [v for k, v in attributes if k in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.shown.append(data)


def spaced(page: Page) -> str:
    return " ".join(" ".join(page.shown).split())


def candidates(reason: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "epoch": [3, 3, 7],
            "kind": ["AddLayer", "AddChannels", "AddChannels"],
            "block": [1, 2, 0],
            "channels": [np.nan, 4, 8],
            "added_parameters": [2336, 628, 1472],
            "ratio": [1.25, 1.1, np.nan],
            "chosen": [True, False, True],
            "reason": reason,
        }
    )


def test_the_report_needs_nothing_else_and_tells_why_networks_grew(tmp_path: Path):
    out = tmp_path / "<b>&"
    dataset = {"name": "digits", "notice": "Not <CIFAR-10>, but digits.", "validation": "test"}
    keys = write_study(out, SWEEP, **dataset)
    for i, key in enumerate(keys):
        write_trial(out, key, draw_epochs(4, i))
    write_log(out, "expansions", keys[1], candidates("density 1.2 > 0.5 & rising"))
    assert report.main([str(out)]) == 0
    page = Page((out / "analysis" / "report.html").read_text(encoding="utf-8"))
    assert len(page.references) == 3
    assert all(uri.startswith("data:image/png;base64,") for uri in page.references)
    assert not page.tags & {"script", "link", "iframe", "b"}
    assert "url(" not in page.text
    for text in ("<b>&: a study", "Not <CIFAR-10>, but digits.", "validation = test set"):
        assert text in page.text
    assert all(str(setting) in page.text for setting in read_study(out).settings)
    assert f"{keys[1]}: 2 expansions, epoch 4/{PLANNED}" in page.text
    assert "a layer in block 1 2,336 1.25 density 1.2 > 0.5 & rising" in spaced(page)
    assert "8 channels in block 0 1,472" in spaced(page)
    assert "4 channels" not in page.text
    assert f"{keys[0]}: 0 expansions" in page.text


def test_a_report_of_a_study_without_a_sweep_has_two_figures(tmp_path: Path):
    (key,) = write_study(tmp_path, [config()])
    write_trial(tmp_path, key, draw_epochs(4, 0))
    assert report.main([str(tmp_path)]) == 0
    page = Page((tmp_path / "analysis" / "report.html").read_text(encoding="utf-8"))
    assert len(page.references) == 2


@pytest.mark.parametrize("scored", [True, False])
def test_the_report_has_the_calibration_of_what_was_followed(tmp_path: Path, scored: bool):
    keys = write_study(tmp_path, [config(seed=s) for s in range(3)])
    for i, key in enumerate(keys):
        write_trial(tmp_path, key, draw_epochs(9, i))
        realised = {"realised_reduction": [0.1 + i, np.nan, np.nan], "reduction_before": np.nan}
        score = {"predicted_reduction": 3.0 + i if scored else np.nan}
        write_log(tmp_path, "expansions", key, candidates("why").assign(**realised, **score))
    assert report.main([str(tmp_path)]) == 0
    page = Page((tmp_path / "analysis" / "report.html").read_text(encoding="utf-8"))
    assert len(page.references) == 2 + scored
    assert ("What expansions promised" in page.text) == scored
    rho = "+1.00 +1.00 +1.00 +1.00" if scored else "- - - -"
    assert f"predicted_reduction realised {3 * scored} {rho}" in spaced(page)
    assert "confounded with training progress" in page.text
