"""What README shows runs as it stands there."""

import contextlib
import io
import re

import numpy as np
import pytest
from PIL import Image
from studies import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Two classes of pictures, bright and dark, in the folder that README names."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 5)):
        for name, level in (("day", 200), ("night", 40)):
            folder = tmp_path / "pictures" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(level - 40, level + 40, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    monkeypatch.chdir(tmp_path)


def test_the_python_example(pictures):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    short = example.replace("epochs=60", "epochs=3")
    assert short != example
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(compile(short, "README.md", "exec"), {})
    lines = shown.getvalue().splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["1", "2", "3"]
    assert lines[-1] in ("day", "night")
