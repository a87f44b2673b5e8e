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
    "balanced-pyramid": "#a20947",
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
DARK, LIGHT = "#15181c", "#ffffff"
"""The grounds on which colours are seen."""

PUBLISHED = "#708090"
"""Networks of others."""

DASHES = {"reference": "solid", "tau": "dash", "lam": "dot", "other": "solid"}
"""The line of each family of settings, as Plotly calls it."""


def criterion_colour(name: str) -> str:
    """The colour of the criterion `name`, as `#rrggbb`; of one of the user's own a hue that the
    name gives, as light as stands out from both grounds."""
    if name in CRITERIA:
        return CRITERIA[name]
    hue = zlib.crc32(name.encode()) % 360 / 360
    shades = (_hex(colorsys.hls_to_rgb(hue, light / 100, 0.5)) for light in range(20, 90))
    return next(shade for shade in shades if contrast(shade, DARK) > 4)


def colours(study: Study) -> dict[Setting, str]:
    """A colour a setting: its criterion's; swept thresholds τ are lighter, penalties λ darker."""
    shades = {"tau": (1.12, 1.5), "lam": (0.88, 0.62)}
    found = {}
    for family in DASHES:
        members = [s for s in study.settings if study.family(s) == family]
        for i, setting in enumerate(members):
            colour = criterion_colour(setting.criterion)
            near, far = shades.get(family, (1, 1))
            found[setting] = shaded(colour, near + (far - near) * i / max(1, len(members) - 1))
    return {setting: found[setting] for setting in study.settings}


def ink(colour: str) -> str:
    """`colour`, as much darker as small text in it needs to be read on white."""
    while contrast(colour, LIGHT) < 4:
        colour = shaded(colour, 0.95)
    return colour


def contrast(one: str, other: str) -> float:
    """Of two colours, from 1 to 21, as WCAG 2 defines it."""
    dark, light = sorted(map(_luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def shaded(colour: str, factor: float) -> str:
    """`colour` with its lightness times `factor`, kept off white and black."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    hue, light, full = colorsys.rgb_to_hls(red, green, blue)
    if factor != 1:
        light = min(0.78, max(0.15, light * factor))
    return _hex(colorsys.hls_to_rgb(hue, light, full))


def _hex(parts: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)
