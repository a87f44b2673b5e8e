"""What was run: the command, the data, the protocol, versions, machines, hours and operations."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from secnn.analysis.logs import VALIDATION, Study, Trial
from secnn.store import forms

TRAINING, EVALUATION = 3, 1
"""Forward passes that training on an image and evaluating one cost: the backward pass takes two."""


def facts(study: Study) -> list[tuple[str, str]]:
    """Term and text of all that is known."""
    about = forms.read(forms.Study, study.folder / "study.json", "restore it")
    found = [
        ("Command", about.get("command", "")),
        ("Preset", study.preset),
        ("Data", data(study)),
        ("Protocol", protocol(study)),
        ("Trials", trials(study)),
        ("Versions", versions(about)),
        ("Machine", machines(study)),
        ("Time", hours(study)),
        ("Operations", operations(study)),
    ]
    return [(term, text) for term, text in found if text]


def data(study: Study) -> str:
    """Where the images come from, and how many there are."""
    images = study.dataset.get("images", {})
    counts = ", ".join(f"{count:,} {split}" for split, count in images.items())
    source = str(study.dataset.get("source") or study.dataset["name"])
    return source + (f" ({counts} images)" if counts else "")


def protocol(study: Study) -> str:
    """What validation images are."""
    validation = study.dataset["validation"]
    kind = VALIDATION.get(validation, validation)
    if validation == "test":
        return "validation images are the test set, as in the paper"
    return f"validation images are {kind}; the test set is read once, at the end"


def trials(study: Study) -> str:
    """How many of which setting, and how long."""
    parts = [f"{len(found)} × {setting}" for setting, found in study.settings.items()]
    planned = sorted({t.planned for t in study.trials})
    epochs = f"{planned[0]}" if len(planned) == 1 else f"{planned[0]} to {planned[-1]}"
    return f"{'; '.join(parts)}; {epochs} epochs each"


def versions(about: dict) -> str:
    """Of what computed."""
    return ", ".join(f"{name} {version}" for name, version in about.get("versions", {}).items())


def machines(study: Study) -> str:
    """Whose names finished trials noted, with which kernels, and in which kind of numbers."""
    names = sorted(set(_hosts(study)))
    where = f"{len(names)} ({', '.join(names)})" if len(names) > 1 else "".join(names)
    kernels, numbers = (" and ".join(_logged(study, name)) for name in ("kernel", "precision"))
    how = [f"kernel {kernels}" * bool(kernels), numbers]
    return "; ".join(filter(None, (where, ", ".join(filter(None, how)))))


def _logged(study: Study, column: str) -> list[str]:
    """The different entries of a column of the epochs."""
    found = [t.epochs[column].dropna() for t in study.trials if column in t.epochs]
    return sorted({str(entry) for entries in found for entry in entries})


def _hosts(study: Study) -> Iterator[str]:
    """The machine of each finished trial, a column that is no part of its record."""
    for trial in study.trials:
        path = study.folder / "logs" / "trials" / f"{trial.key}.parquet"
        try:
            with pq.ParquetFile(path) as file:
                yield from map(str, file.read(columns=["hostname"])[0].to_pylist())
        except (OSError, pa.ArrowException, IndexError):  # Not there, or without that column.
            continue


def hours(study: Study) -> str:
    """What all epochs took together."""
    seconds = sum(seconds_of(t) for t in study.trials)
    trials = "summed over trials, some of which may have run at the same time"
    return f"{duration(seconds)}, {trials}" if seconds else ""


def duration(seconds: float) -> str:
    """`40 seconds`, `12 minutes`, `3.5 hours`."""
    for size, unit in ((3600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def seconds_of(trial: Trial) -> float:
    """Of training, evaluating, scoring and growing."""
    columns = [c for c in ("train_seconds", "eval_seconds", "score_seconds") if c in trial.epochs]
    return float(trial.epochs[columns].sum().sum())


def operations(study: Study) -> str:
    """Floating-point operations of all training and evaluation."""
    total = sum(operations_of(study, t) for t in study.trials)
    return f"{scientific(total)}, without what scores took" if total else ""


def scientific(number: float) -> str:
    """`3.77 × 10¹⁵`."""
    digits, _, power = f"{number:.2e}".partition("e")
    raised = str(int(power)).translate(str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"))
    return f"{digits} × 10{raised}"


def operations_of(study: Study, trial: Trial) -> float:
    """Σ over epochs of the FLOPs of an image times the images, `TRAINING` times those of training
    and `EVALUATION` times those of validation; 0 where they were not logged."""
    images = study.dataset.get("images", {})
    if "flops" not in trial.epochs:
        return 0.0
    passes = TRAINING * images.get("train", 0) + EVALUATION * images.get("validation", 0)
    return float(trial.epochs["flops"].sum()) * passes
