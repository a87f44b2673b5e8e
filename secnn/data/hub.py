"""Data sets of the Hugging Face hub: `hf:OWNER/NAME`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from secnn.data.layout import parquet_under
from secnn.data.parquet import parquet
from secnn.data.splits import DataError, Reading, Splits
from secnn.files import first_line

_PART = r"\w[\w.-]*"
_ADDRESS = re.compile(rf"hf:(?P<id>{_PART}/(?P<name>{_PART}))(/(?P<folder>{_PART}))?(@(?P<at>.+))?")


def hugging_face(address: str, reading: Reading | None = None) -> Splits:
    """The Parquet files of `hf:OWNER/NAME`, in the hub's own cache.

    `hf:OWNER/NAME/FOLDER` takes one folder of it, where there are several data sets; `@REVISION`
    behind either is a branch, a tag or a commit; `@refs/convert/parquet` is the hub's own
    conversion of data sets in other formats. Needs the package huggingface_hub.

    Raises:
        DataError: it cannot be had, or cannot be used.
    """
    match = _ADDRESS.fullmatch(address)
    if not match:
        raise DataError(
            f"dataset {address!r}: expected hf:OWNER/NAME, hf:OWNER/NAME/FOLDER, or either with "
            "@REVISION behind it"
        )
    snapshot = _download(address, match["id"], match["folder"], match["at"])
    folder = snapshot / (match["folder"] or "")
    if not folder.is_dir() or not parquet_under(folder):
        raise DataError(
            f"dataset {address!r} has no Parquet files: the hub's own conversion may be at "
            f"hf:{match['id']}@refs/convert/parquet"
        )
    splits = parquet(folder, reading)
    return replace(splits, name=match["name"], source=f"Hugging Face hub: {address}")


def _download(address: str, identity: str, folder: str | None, revision: str | None) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise DataError(
            f"dataset {address!r} needs the package huggingface_hub ({first_line(error)}): pip "
            "install huggingface_hub"
        ) from None
    patterns = f"{folder}/*.parquet" if folder else "*.parquet"
    try:
        return Path(
            snapshot_download(
                identity, repo_type="dataset", revision=revision, allow_patterns=patterns
            )
        )
    except Exception as error:  # of a dozen kinds, some of many lines
        raise DataError(
            f"dataset {address!r} cannot be had from the Hugging Face hub "
            f"({first_line(error).rstrip('.')}): check the name and the connection"
        ) from error
