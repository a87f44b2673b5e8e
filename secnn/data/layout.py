"""Which files belong to which split, by the names of files and folders.

Those of the Hugging Face hub: `train-00000-of-00002.parquet` at the top, in `data/` or in the one
folder of a configuration, or `train/0000.parquet`, as the hub's own conversion has them. Old
versions of `datasets` wrote 16 hex digits before the suffix; other programs write `train.parquet`
and `train-0.parquet`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from secnn.data.splits import DataError, joined, left_out, listed

NAMES = {
    "train": ("train",),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
SPLIT_OF = {name: split for split, names in NAMES.items() for name in names}
SHARD = re.compile(
    rf"(?P<name>{'|'.join(SPLIT_OF)})"
    r"((?P<separator>[-_.]?)\d+((?P<total>[-_.]of[-_.]\d+)(-[0-9a-f]{16})?)?)?\.parquet"
)
SUFFIXES = (".parquet", ".parq", ".pq")
"""Of files that are told of where they are not read; only the first is read."""
NUMBERED = re.compile(r"(\d+)[-_.]of[-_.](\d+)")
LITTER = ("__macosx", "__pycache__", "@eadir", "thumbs.db", "desktop.ini", "$recycle.bin")

Found = dict[str, dict[str, list[Path]]]  # split → pattern of the names → files


@dataclass(frozen=True)
class Layout:
    """Split → its Parquet files in order, and what a reader of the results must know, or None."""

    files: dict[str, list[Path]]
    notice: str | None


def is_litter(name: str) -> bool:
    """Whether a file or folder is hidden, or one that other programs leave everywhere."""
    return name.startswith(".") or name.lower() in LITTER


def content(folder: Path) -> Iterator[Path]:
    """The files and folders in `folder` but litter, sorted."""
    return (path for path in sorted(folder.iterdir()) if not is_litter(path.name))


def folders_in(folder: Path) -> list[str]:
    """`train/`, `x/`: the folders in `folder` but litter."""
    return [f"{path.name}/" for path in content(folder) if path.is_dir()]


def files_under(folder: Path) -> list[Path]:
    """All files in and under `folder` but litter, folder by folder; links are followed, but not to
    folders that `folder` or the link is in: these hold more than what is asked for."""
    found: dict[str, list[Path]] = {}

    def visit(place: Path, above: frozenset[str]) -> None:
        real = os.path.realpath(place)
        if real in above:
            return
        paths = list(content(place))
        found[str(place)] = [path for path in paths if not path.is_dir()]
        for path in paths:
            if path.is_dir():
                visit(path, above | {real})

    visit(folder, frozenset(map(str, folder.resolve().parents)))
    return [path for place in sorted(found) for path in found[place]]


def parquet_under(folder: Path, but: Iterable[Path] = ()) -> list[str]:
    """Paths, from `folder`, of the Parquet files in and under it, whatever their suffix's case."""
    chosen = set(but)
    every = (path for path in files_under(folder) if path.suffix.lower() in SUFFIXES)
    return [str(path.relative_to(folder)) for path in every if path not in chosen]


def parquet_layout(folder: Path) -> Layout | None:
    """The Parquet files of each split in `folder`; None if there is none for training.

    Raises:
        DataError: a split is there twice, or several configurations are.
    """
    found = _found(folder, folder / "data")
    if "train" not in found:
        inner = [p for p in content(folder) if p.is_dir() and p.name not in SPLIT_OF]
        configurations = {p.name: at for p in inner if "train" in (at := _found(p))}
        if len(configurations) > 1:
            raise DataError(
                f"{folder} has several data sets: name one of the folders "
                f"{listed(list(configurations), 5)} in it"
            )
        if not configurations:
            return None
        found = next(iter(configurations.values()))
    files = {split: _only(folder, split, series) for split, series in found.items()}
    used = [path for paths in files.values() for path in paths]
    idle = [p for p in content(folder) if p.is_dir() and p.name in SPLIT_OF]
    idle = [p for p in idle if not any(path.is_relative_to(p) for path in used)]
    notices = [_missing(folder, split, paths) for split, paths in files.items()] + [
        left_out("Parquet file", parquet_under(folder, but=used), "not named after a split"),
        left_out("folder", [f"{p.name}/" for p in idle], "the Parquet files are used"),
    ]
    return Layout(files, joined(*notices))


def _found(*folders: Path) -> Found:
    found: Found = {}
    for folder in folders:
        for path in content(folder) if folder.is_dir() else ():
            match, name = SHARD.fullmatch(path.name), path.name
            if match and not path.is_dir():
                number = "" if match["separator"] is None else f"{match['separator']}*"
                key = f"{match['name']}{number}{match['total'] or ''}.parquet"
                at = found.setdefault(SPLIT_OF[match["name"]], {})
                at.setdefault(str(folder / key), []).append(path)
            elif name in SPLIT_OF and path.is_dir():
                inside = [p for p in content(path) if p.suffix == ".parquet" and not p.is_dir()]
                if inside:
                    found.setdefault(SPLIT_OF[name], {})[str(path / "*.parquet")] = inside
    return found


def _only(folder: Path, split: str, series: dict[str, list[Path]]) -> list[Path]:
    """The files of the only series of a split."""
    if len(series) > 1:
        patterns = [os.path.relpath(pattern, folder) for pattern in series]
        raise DataError(
            f"{folder}: the {split} split is there {len(series)} times, as {listed(patterns)}: "
            "keep one of them, or name the folder of one"
        )
    return next(iter(series.values()))


def _missing(folder: Path, split: str, paths: list[Path]) -> str | None:
    """What is wrong with the numbers of shards `-00000-of-00002`."""
    numbers = [match.groups() for path in paths if (match := NUMBERED.search(path.name))]
    if not numbers:
        return None
    totals = {int(total) for _, total in numbers}
    indices = {int(index) for index, _ in numbers}
    first = min(indices | {1})  # Some programs count from 0, some from 1.
    counted = range(first, first + min(totals))
    if len(totals) > 1 or len(indices) < len(paths) or not all(i in counted for i in indices):
        raise DataError(
            f"{folder}: the files of the {split} split are of several series: "
            f"{listed([path.name for path in paths])}; keep one"
        )
    total = totals.pop()
    return f"The {split} split has {len(paths)} of its {total} files." * (len(paths) < total)
