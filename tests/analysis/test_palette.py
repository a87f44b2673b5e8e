"""Colours: one for each criterion, told apart by readers with any cones, on white and on dark."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from written_studies import ROOT, SWEEP, config, write_study, write_trial
from written_studies import draw_epochs as draw

from secnn.analysis import palette
from secnn.analysis.logs import read_study

SEEN = {
    "all cones": np.eye(3),
    # Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
    "no green": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no red": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no blue": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
]


def linear(colour: str) -> np.ndarray:
    part = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    x = XYZ @ rgb / np.array([0.95047, 1, 1.08883])
    f = np.where(x > 0.008856, np.cbrt(np.maximum(x, 0)), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eyes", SEEN)
def test_any_two_criteria_are_told_apart(eyes: str):
    seen = {
        name: lab(np.clip(SEEN[eyes] @ linear(colour), 0, 1))
        for name, colour in palette.CRITERIA.items()
    }
    for a, b in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[a] - seen[b]) > 10, (a, b)


def contrast(colour: str, ground: str) -> float:
    pair = sorted((XYZ[1] @ linear(c) for c in (colour, ground)), reverse=True)
    return (pair[0] + 0.05) / (pair[1] + 0.05)


@pytest.mark.parametrize("ground", [palette.LIGHT, palette.DARK])
def test_colours_stand_out_from_the_ground(ground: str):
    own = [palette.criterion_colour(f"mine{i}") for i in range(500)]
    assert len(set(own)) > 200, "criteria of users have many colours"
    for colour in (*palette.CRITERIA.values(), *own, palette.PUBLISHED):
        assert contrast(colour, ground) > 2.2, colour
        assert palette.contrast(colour, ground) == pytest.approx(contrast(colour, ground), abs=0.01)


def test_names_can_be_read_on_white_in_the_colours_of_their_lines():
    for colour in (*palette.CRITERIA.values(), "#ffffff", "#ffff00"):
        ink = palette.ink(colour)
        assert contrast(ink, "#ffffff") > 3.9
        assert ink == colour or contrast(ink, "#ffffff") < 5, "no darker than it needs to be"


def test_every_criterion_of_the_registry_has_a_colour_of_its_own():
    """In a process of its own: plugins of other tests are criteria too."""
    code = (
        "from secnn.growth.criterion import CRITERIA; from secnn.study.retrain import BUDGETS; "
        "print(*CRITERIA, *(setting for setting, _ in BUDGETS.values()), sep='\\n')"
    )
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.splitlines()) == set(palette.CRITERIA)


def test_a_criterion_keeps_its_colour_in_every_study(tmp_path: Path):
    seen = {}
    for name, reference in (("a", config()), ("b", config(criterion="never"))):
        for i, key in enumerate(write_study(tmp_path / name, SWEEP, reference=reference)):
            write_trial(tmp_path / name, key, draw(3, i))
        study = read_study(tmp_path / name)
        found = palette.colours(study)
        assert list(found) == list(study.settings)
        seen[name] = {s.criterion: found[s] for s in found if study.family(s) == "reference"}
        seen[name] |= {"never": found[next(s for s in found if s.criterion == "never")]}
    assert seen["a"]["never"] == seen["b"]["never"] == palette.CRITERIA["never"]
    assert seen["a"]["natural"] == palette.CRITERIA["natural"]
    assert palette.criterion_colour("mine") == palette.criterion_colour("mine")


def test_every_setting_has_a_colour_of_its_own(finished: Path):
    study = read_study(finished)
    colours = palette.colours(study)
    assert list(colours) == list(study.settings)
    assert len(set(colours.values())) == len(colours)
