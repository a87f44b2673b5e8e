"""Which column holds the images, and which the labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from secnn.data.splits import DataError

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
        DataError: there is none, or there are several without a `label` among them.
    """
    wanted = USUAL[role] if asked is None else (asked,)
    found = [name for name in wanted if name in suitable]
    if not found:
        others = "" if asked else f"; {role}_column (--{role}-column) names another one"
        raise DataError(
            f"expected a column {' or '.join(wanted)} of {CONTENT[role]}, found "
            f"{', '.join(f'{name}: {kind}' for name, kind in types.items())}{others}"
        )
    if role == "label" and len(found) > 1 and found[0] != "label":
        raise DataError(
            f"{' and '.join(found)} could each be the label: choose one by label_column "
            f"(--label-column), as {found[0]}"
        )
    return found[0]
