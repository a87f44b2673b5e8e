"""One colour for each criterion, in every figure and study.

The first six are those of Okabe and Ito; the others were searched for, so that any two differ by 11
or more in CIELAB to readers without red, green or blue cones too, and stand out from white and from
dark grey.
"""

from __future__ import annotations

import colorsys
import zlib

from secnn.analysis.logs import Setting, Study

CRITERIA = {
    "natural": "#0072b2",
    "density": "#56b4e9",
    "balanced": "#d55e00",
    "pyramid": "#009e73",
    "gain": "#cc79a7",
    "confident": "#e69f00",
    "never": "#767676",
    "random": "#8db565",
    "schedule": "#94422c",
    "random-place": "#8e4cd9",
    "layers-first": "#572beb",
    "channels-first": "#c83bbf",
    "retrain (epochs)": "#475579",
    "retrain (FLOPs)": "#afafa2",
}
SPARE = ("#c2643c", "#3d8c8c", "#a08a00")
"""For criteria of the user's own."""

PUBLISHED = "#708090"
"""Networks of others."""

DASHES = {"reference": "solid", "tau": "dash", "lam": "dot", "other": "solid"}
"""The line of each family of settings, as Plotly calls it."""


def criterion_colour(name: str) -> str:
    """The colour of the criterion `name`, as `#rrggbb`."""
    return CRITERIA.get(name) or SPARE[zlib.crc32(name.encode()) % len(SPARE)]


def colours(study: Study) -> dict[Setting, str]:
    """A colour a setting: its criterion's; swept thresholds τ are lighter, penalties λ darker."""
    shades = {"tau": (1.15, 1.6), "lam": (0.85, 0.5)}
    found = {}
    for family in DASHES:
        members = [s for s in study.settings if study.family(s) == family]
        for i, setting in enumerate(members):
            colour = criterion_colour(setting.criterion)
            near, far = shades.get(family, (1, 1))
            found[setting] = shaded(colour, near + (far - near) * i / max(1, len(members) - 1))
    return {setting: found[setting] for setting in study.settings}


def shaded(colour: str, factor: float) -> str:
    """`colour` with its lightness times `factor`, kept off white and black."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    hue, light, full = colorsys.rgb_to_hls(red, green, blue)
    if factor != 1:
        light = min(0.78, max(0.15, light * factor))
    parts = colorsys.hls_to_rgb(hue, light, full)
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)
