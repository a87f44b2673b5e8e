"""The ladder: the networks of many sizes that one trial leaves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from pathlib import Path

from secnn.network.network import SECNN
from secnn.store import checkpoint

COLUMNS = ("parameters", "flops", "val_accuracy", "test_accuracy", "epoch")


class Folder(MutableMapping[str, dict]):
    """Checkpoint contents kept as `<name>.pt` in a folder, replaced atomically; `check` is called
    before each change, to refuse it."""

    def __init__(self, path: str | Path, check: Callable[[], None] = lambda: None) -> None:
        self.path, self.check = Path(path), check

    def file(self, name: str) -> Path:
        """Where the content called `name` is kept."""
        return self.path / f"{name}.pt"

    def __getitem__(self, name: str) -> dict:
        if not self.file(name).is_file():
            raise KeyError(name)
        return checkpoint.read(self.file(name))

    def __setitem__(self, name: str, content: dict) -> None:
        self.check()
        checkpoint.save(self.file(name), content)

    def __delitem__(self, name: str) -> None:
        self.check()
        self.file(name).unlink()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(p.stem for p in self.path.glob("[!.]*.pt")))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Keeper:
    """Which networks of a trial are kept: `target-70`, the first to reach 70 %; `size-11360`, the
    best of each size; `best`, the best of all. Of equally good ones the first.

    Attributes:
        best_of_size: the best network of the present size, not on the ladder yet.
        highest: the highest validation accuracy so far, per cent.
    """

    def __init__(self, ladder: MutableMapping[str, dict], targets: Sequence[float]) -> None:
        self.ladder, self.targets = ladder, targets
        self.best_of_size: dict | None = None
        self.highest = -math.inf

    def clear(self) -> None:
        """Remove what another trial left on the ladder, and nothing else."""
        for name in list(self.ladder):
            if name == "best" or name.startswith(("target-", "size-")):
                del self.ladder[name]

    def offer(self, accuracy: float, content: Callable[[], dict]) -> None:
        """Keep the network that now has `accuracy` wherever it is the first or the best."""
        best = self.best_of_size
        if best is None or best["metrics"]["val_accuracy"] < accuracy:
            best = self.best_of_size = content()
        reached = [f"target-{t:g}" for t in self.targets if self.highest < t <= accuracy]
        for name in reached + ["best"] * (accuracy > self.highest):
            self.ladder[name] = best
        self.highest = max(self.highest, accuracy)

    def close_size(self) -> None:
        """Put the best network of the present size on the ladder; another size begins."""
        best, self.best_of_size = self.best_of_size, None
        assert best is not None, "a network of this size has to be offered first"
        self.ladder[f"size-{best['metrics']['parameters']}"] = best


def ladder(path: str | Path) -> list[dict]:
    """The networks below `path`, smallest first, one dict each, as `pandas.DataFrame` takes them.

    `path` is the folder of a study, of a trial, or a ladder itself. Keys: `trial`, `name`,
    `parameters`, `flops` (of one image), `val_accuracy` and `test_accuracy` (per cent, the latter
    None until the trial is done), `epoch`, `file`.

    Raises:
        FileNotFoundError: no ladder below `path`.
        CheckpointError: a network's file is damaged.
    """
    files = sorted(Path(path).rglob("ladder/[!.]*.pt"))
    if Path(path).name == "ladder":
        files = sorted(Path(path).glob("[!.]*.pt"))
    if not files:
        raise FileNotFoundError(
            f"path: no ladder below {path}; give the folder of a study or of a trial"
        )
    rows = [_row(file) for file in files]
    return sorted(rows, key=lambda row: (row["parameters"], row["epoch"], row["name"]))


def _row(file: Path) -> dict:
    metrics = checkpoint.read(file).get("metrics", {})
    missing = [c for c in COLUMNS if c not in metrics and c != "test_accuracy"]
    if missing:
        raise checkpoint.CheckpointError(
            f"checkpoint: {file} cannot be used (metrics.{missing[0]}: field required); remove it "
            "to leave it out"
        )
    row = {"trial": file.parent.parent.name, "name": file.stem}
    return row | {column: metrics.get(column) for column in COLUMNS} | {"file": str(file)}


def fits(
    row: dict, max_parameters: int | None, max_flops: int | None, min_accuracy: float | None
) -> bool:
    """Whether a row of `ladder` is within the budgets that are given."""
    return (
        (max_parameters is None or row["parameters"] <= max_parameters)
        and (max_flops is None or row["flops"] <= max_flops)
        and (min_accuracy is None or row["val_accuracy"] >= min_accuracy)
    )


def possible(rows: Sequence[dict]) -> str:
    """The tightest budgets that rows of `ladder` meet, in words."""
    smallest, fewest = (min(row[name] for row in rows) for name in ("parameters", "flops"))
    best = max(row["val_accuracy"] for row in rows)
    return (
        f"the smallest has {smallest:,} parameters, the fewest FLOPs are {fewest:,}, the highest "
        f"accuracy is {best:.2f} %"
    )


def chosen(fitting: Sequence[dict], min_accuracy: float | None) -> dict:
    """Of the rows of `ladder` that fit the one that `load_within` loads."""
    if min_accuracy is not None:
        return fitting[0]
    return max(fitting, key=lambda row: row["val_accuracy"])


def load_within(
    path: str | Path,
    max_parameters: int | None = None,
    max_flops: int | None = None,
    min_accuracy: float | None = None,
) -> SECNN:
    """The network below `path` with the highest validation accuracy that fits the budget, or, if
    `min_accuracy` (per cent) is given, the smallest that reaches it; in evaluation mode.

    Raises:
        LookupError: no network fits; the message says which budgets could be met.
        FileNotFoundError, CheckpointError: as for `ladder`.
    """
    rows = ladder(path)
    fitting = [row for row in rows if fits(row, max_parameters, max_flops, min_accuracy)]
    if not fitting:
        budgets = {
            f"at most {max_parameters} parameters": max_parameters,
            f"at most {max_flops} FLOPs": max_flops,
            f"at least {min_accuracy} % accuracy": min_accuracy,
        }
        asked = " and ".join(text for text, budget in budgets.items() if budget is not None)
        raise LookupError(f"no network below {path} has {asked}; {possible(rows)}")
    return checkpoint.load(chosen(fitting, min_accuracy)["file"])
