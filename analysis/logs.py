"""The results folder of a study: reading its logs, while it runs too, and adding files to it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from secnn.commands import Parser, add_folder, answered, program
from secnn.store import forms, record
from secnn.store.forms import StudyError

CIFAR10 = {
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
}
VALIDATION = {
    "held-out": "held out of the training set",
    "file": "the data's own split",
    "test": "the test set",
}


@dataclass(frozen=True)
class Setting:
    """What the trials of one group share; τ and λ are None where the criterion reads neither."""

    criterion: str
    tau: float | None
    lam: float | None

    def __str__(self) -> str:
        named = (("τ", self.tau), ("λ", self.lam))
        return ", ".join([self.criterion, *(f"{k} = {v:g}" for k, v in named if v is not None)])


@dataclass(frozen=True, eq=False)
class Trial:
    """A trial as far as it has come.

    Attributes:
        planned: epochs it shall run.
        epochs: a row an epoch, by ascending `epoch`; accuracies in per cent, `parameters` of the
            network before the row's `expansion`.
        finished: whether it ran to its end.
        test_accuracy: per cent, of the network with the highest validation accuracy; None until
            measured.
    """

    key: str
    setting: Setting
    seed: int
    planned: int
    epochs: pd.DataFrame = field(repr=False)
    finished: bool
    test_accuracy: float | None

    @property
    def state(self) -> str:
        """`finished`, `epoch 7/15` or `not started`."""
        if self.finished:
            return "finished"
        return f"epoch {len(self.epochs)}/{self.planned}" if len(self.epochs) else "not started"


@dataclass(frozen=True, eq=False)
class Study:
    """All trials of a results folder, and what study.json tells about them."""

    folder: Path
    preset: str
    dataset: dict
    reference: Setting
    trials: list[Trial]

    @property
    def settings(self) -> dict[Setting, list[Trial]]:
        """The trials that differ only by seed, by setting: the reference, then sweeps, then the
        rest."""
        order = sorted({t.setting for t in self.trials}, key=self._rank)
        return {s: sorted(self._of(s), key=lambda t: t.seed) for s in order}

    def family(self, setting: Setting) -> str:
        """How `setting` differs from the reference: `reference`, `tau`, `lam`, or `other`."""
        if setting == self.reference:
            return "reference"
        if setting.criterion != self.reference.criterion:
            return "other"
        if setting.lam == self.reference.lam:
            return "tau"
        return "lam" if setting.tau == self.reference.tau else "other"

    @property
    def is_cifar10(self) -> bool:
        """Whether figures for CIFAR-10 can stand beside this study's."""
        names = set(self.dataset.get("class_names") or ())
        return self.dataset["name"] == "cifar10" or names == CIFAR10

    @property
    def description(self) -> str:
        """Preset, data, protocol, epochs and progress, in one line."""
        planned = sorted({t.planned for t in self.trials})
        epochs = " to ".join(str(n) for n in dict.fromkeys((planned[0], planned[-1])))
        done = sum(t.finished for t in self.trials)
        validation = self.dataset["validation"]
        return (
            f"preset {self.preset}; dataset {self.dataset['name']}; validation: "
            f"{VALIDATION.get(validation, validation)}; {epochs} epochs; "
            f"{done} of {len(self.trials)} trials finished"
        )

    @property
    def marks(self) -> list[str]:
        """What no output may leave out."""
        marks = [" ".join(self.dataset["notice"].split())] if self.dataset.get("notice") else []
        if self.dataset["validation"] == "test":
            marks.append("validation = test set (the paper's protocol)")
        return marks

    def _of(self, setting: Setting) -> list[Trial]:
        return [t for t in self.trials if t.setting == setting]

    def _rank(self, setting: Setting) -> tuple:
        families = ("reference", "tau", "lam", "other")
        own = setting.criterion == self.reference.criterion
        sizes = (setting.tau or 0.0, setting.lam or 0.0)
        return families.index(self.family(setting)), not own, setting.criterion, *sizes


def read_study(folder: Path) -> Study:
    """The study in `folder`, with what is logged by now.

    Raises:
        StudyError: there is no study, or it has not logged an epoch (yet).
        FileError: one of its files is damaged.
    """
    about = forms.study_in(folder)
    retrained = about.get("retrain", {})
    trials = [
        _trial(folder, key, forms.started(folder, key, settings), retrained.get(key))
        for key, settings in about["trials"].items()
    ]
    dataset = {"validation": "held-out", **about["dataset"]}
    study = Study(folder, about["preset"], dataset, _reference(about, trials), trials)
    if not any(len(t.epochs) for t in trials):
        raise StudyError(f"{folder}: {_why_nothing(folder, trials)}")
    return study


def read_log(folder: Path, kind: str, key: str) -> pd.DataFrame:
    """The rows of trial `key` in `folder`/logs/`kind`; none if it has not been written yet.

    Raises:
        FileError: the file cannot be read, see `secnn.store.record.read`.
    """
    try:
        rows = record.read(folder / "logs" / kind / f"{key}.parquet", record.LOGS[kind])
    except FileNotFoundError:
        rows = record.schema(record.LOGS[kind]).empty_table()
    return rows.to_pandas()


def newest_study(runs: Path = Path("runs")) -> Path:
    """The folder under `runs` whose study.json or logs changed last.

    Raises:
        StudyError: there is none.
    """
    found = [path.parent for path in runs.glob("[!.]*/study.json")]
    if not found:
        raise StudyError(f"no study under {runs}: start one ({program('run')}), or name its folder")
    return max(found, key=_changed)


def command(
    parser: Parser,
    action: Callable[[Study, argparse.Namespace], None],
    arguments: Sequence[str] | None,
) -> int:
    """Do `action` to the study that the command line names, or the newest; the exit status."""
    add_folder(parser)
    asked = parser.parse_args(arguments)

    def act() -> None:
        (study,) = chosen([asked.out] if asked.out else [])
        action(study, asked)

    return answered(act)


def chosen(folders: Sequence[Path]) -> list[Study]:
    """The studies in `folders`, or the newest, after their names are told.

    Raises:
        FileError: one cannot be analysed.
    """
    found = list(folders) or [newest_study()]
    for folder in found:
        print(f"Study: {folder}" + ("" if folders else " (the newest)"), flush=True)
    return [read_study(folder) for folder in found]


def _trial(
    folder: Path, key: str, config: forms.Settings, retrained: forms.Retrained | None
) -> Trial:
    # First the row of the end: then the epochs are complete if it is there.
    end = read_log(folder, "trials", key)
    epochs = read_log(folder, "epochs", key).sort_values("epoch", ignore_index=True)
    if "flops" in epochs:  # Not yet in the first versions' logs.
        epochs["multiply-adds"] = epochs["flops"] / 2
    tested = end["test_accuracy"].dropna()
    setting = Setting(retrained["setting"], None, None) if retrained else _setting(key, config)
    seed, planned = config["seed"], config["epochs"]
    accuracy = float(tested.iloc[0]) if len(tested) else None
    finished = len(end) > 0 and len(epochs) > 0
    return Trial(key, setting, seed, planned, epochs, finished, accuracy)


def _why_nothing(folder: Path, trials: list[Trial]) -> str:
    """Why no epoch is logged: failed trials, and the first one's reason, or that it is early."""
    failed = [reason for t in trials if (reason := forms.failure(folder, t.key)) is not None]
    if not failed and any((folder / "trials" / t.key / "DONE").exists() for t in trials):
        return "its logs are gone; repeat the study's command, which writes them anew"
    if not failed:
        return "no epoch is logged yet; wait for the first one or name another study"
    return f"{len(failed)} of {len(trials)} trials failed before an epoch was logged: {failed[0]}"


def _setting(key: str, config: forms.Settings) -> Setting:
    # A key names τ and λ only for the criteria that read scores.
    named = "tau=" in key or "criterion=" not in key
    return Setting(config["criterion"], *(config[n] if named else None for n in ("tau", "lam")))


def _reference(about: forms.StudyForm, trials: list[Trial]) -> Setting:
    """The setting that study.json names, else the one with the most seeds."""
    settings = [t.setting for t in trials]
    named = about.get("reference", {})
    for setting in settings:
        full = {"criterion": setting.criterion, "tau": setting.tau, "lam": setting.lam}
        if named and all(v is None or dict(named)[k] == v for k, v in full.items()):
            return setting
    return max(settings, key=settings.count)


def _changed(folder: Path) -> float:
    """When study.json or a log was last written."""
    times = [0.0]
    for path in (folder / "study.json", *folder.glob("logs/*/[!.]*.parquet")):
        try:
            times.append(path.stat().st_mtime)
        except OSError:  # gone since it was listed
            continue
    return max(times)
