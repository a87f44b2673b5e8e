"""Which column holds the images, and which the labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from secnn.data.splits import DataError, listed

USUAL = {"image": ("img", "image"), "label": ("label", "labels", "fine_label", "coarse_label")}
CONTENT = {
    "image": "encoded images: binary, or struct<bytes: binary, path: string>",
    "label": "integers, truth values or strings",
}


def choose(
    role: str, types: Mapping[str, object], suitable: Collection[str], asked: str | None
) -> str:
    """The column of a role ("image", "label"): the one asked for, else one with a usual name.

    Args:
        types: column → what it holds, for messages.
        suitable: those that hold what the role needs.

    Raises:
        DataError: there is none, or there are several with usual names, but none called `label`.
    """
    wanted = USUAL[role] if asked is None else (asked,)
    found = [name for name in wanted if name in suitable]
    if not found:
        others = f"; {role}_column (--{role}-column) names another one" * (asked is None)
        columns = [f"{name}: {_shown(kind)}" for name, kind in types.items()]
        raise DataError(
            f"expected a column {' or '.join(wanted) or repr('')} of {CONTENT[role]}, found "
            f"{listed(columns, 20)}{others}"
        )
    if len(found) > 1 and found[0] != "label":
        raise DataError(
            f"{' and '.join(found)} could each be the {role}: choose one by {role}_column "
            f"(--{role}-column), as {found[0]}"
        )
    return found[0]


def _shown(kind: object) -> str:
    """A struct can have hundreds of fields."""
    text = str(kind)
    return text if len(text) <= 60 else f"{text[:59]}…"
