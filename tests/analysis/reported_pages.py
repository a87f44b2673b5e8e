"""Pages that reports make of written studies, taken apart."""

import base64
import gzip
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd

from secnn.analysis import report


class Page(HTMLParser):
    """What a page shows, what it refers to, and the charts and tables that it holds."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.shown, self.tags, self.references, self.classes = [], set(), [], []
        self.packed, self.within, self.glued = {}, None, False
        self.size = path.stat().st_size
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.shown).split())

    def handle_starttag(self, tag: str, attributes: list) -> None:
        given = dict(attributes)
        self.tags.add(tag)
        self.classes.append(given.get("class"))
        self.references += [given[k] for k in ("src", "href") if k in given]
        self.within = given.get("id", "style") if tag in ("script", "style") else None
        self.glued = tag == "wbr"

    def handle_endtag(self, tag: str) -> None:
        self.within = None

    def handle_data(self, data: str) -> None:
        if self.within:
            self.packed[self.within] = data
        elif self.glued:
            self.shown[-1] += data
        else:
            self.shown.append(data)
        self.glued = False

    @property
    def content(self) -> dict:
        return json.loads(gzip.decompress(base64.b64decode(self.packed["content"])))

    def csv(self, name: str) -> pd.DataFrame:
        return pd.read_csv(io.StringIO(self.content["tables"][name]))


def reported(*outs: Path) -> Page:
    name = "report.html" if len(outs) == 1 else "comparison.html"
    assert report.main([str(out) for out in outs]) == 0
    return Page(outs[0] / "analysis" / name)


def candidates(reason: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "epoch": [3, 3, 7],
            "kind": ["AddLayer", "AddChannels", "AddChannels"],
            "block": [1, 2, 0],
            "channels": pd.array([None, 4, 8], "Int64"),
            "added_parameters": [2336, 628, 1472],
            "ratio": [1.25, 1.1, np.nan],
            "chosen": [True, False, True],
            "reason": reason,
        }
    )
