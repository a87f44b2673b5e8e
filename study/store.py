"""The results folder of a study."""

from __future__ import annotations

import dataclasses
import errno
import json
import shlex
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from secnn.files import FileError, reason, write_text
from secnn.plugins import told
from secnn.store import checkpoint, forms, record
from secnn.store.ladder import Folder
from secnn.store.record import EpochRecord, ExpansionRecord, TrialRecord
from secnn.study.fence import Fence
from secnn.training.config import TrialConfig
from secnn.training.trial import Trial

if TYPE_CHECKING:
    import pyarrow as pa

NO_ROOM = "the disk (or a quota) is full, free some and repeat the command to go on"

RESTORE = "restore it, or choose another --out"

NOTE_TRIES, NOTE_PAUSE = 10, 0.2
"""How often, and seconds apart, a trial tries to note on a full disk why it stopped: what other
trials were writing when it filled up goes away again."""


class StoreError(ValueError):
    """A results folder that cannot take this study."""


def open_study(out: Path, study: dict) -> None:
    """Make `out` the folder of `study` (the content of study.json), or go on in it; trials may have
    been added to those that it holds.

    Raises:
        StoreError: `out` holds another study, or cannot be written to.
    """
    expect_own(out, study)
    path = out / "study.json"
    if not path.exists() or _identity(read_study(out)) != _identity(study):
        write_text(path, json.dumps(study, indent=2) + "\n")


def expect_own(out: Path, study: dict) -> None:
    """Raise StoreError unless `out` can be the folder of `study`: each trial that it holds has to
    be among those asked for, unchanged. Writes nothing."""
    expect_folder(out)
    if not (out / "study.json").exists():
        return
    there = read_study(out)
    known, asked = _identity(there), _identity(study)
    less = {
        "trials": {k: asked["trials"].get(k) for k in known["trials"]},
        "imports": [name for name in asked["imports"] if name in known["imports"]],
    }
    if known != asked | less:
        raise StoreError(
            f"--out: {out} holds another study ({_difference(known, asked)}), of the command "
            f"{_command(there)}; repeat that to continue it, choose another --out, or move "
            "it aside with --fresh"
        )


def _command(study: dict) -> str:
    """What started the study, to be pasted; shortened if that can be no command line."""
    command = str(study.get("command"))
    return command if command.isprintable() and len(command) <= 2000 else forms.shown(command)


def continued(out: Path, study: dict) -> dict:
    """`study`, or the one in `out` if the same command made it, on the same data: its settings are
    then those of the version that began it, whatever presets are now."""
    if not (out / "study.json").exists():
        return study
    there = read_study(out)
    given = [(_arguments(s), _identity(s)["dataset"], s["preset"]) for s in (there, study)]
    if given[0] != given[1]:
        return study
    trials = {key: _settings(out, key, fields) for key, fields in there["trials"].items()}
    return {"imports": [], **there, "trials": trials}


def _arguments(study: dict) -> list[str]:
    """What follows the program in the study's command, without the folder, which may have moved."""
    try:
        words = shlex.split(study.get("command", ""))
    except ValueError:  # No shell would take it.
        return [study["command"]]
    starts = [i for i, word in enumerate(words) if word == "run" or word.endswith("run.py")]
    words = words[starts[0] + 1 :] if starts else words
    folder = [i for i, word in enumerate(words) if "--out" in (word, words[max(0, i - 1)])]
    return [w for i, w in enumerate(words) if i not in folder and not w.startswith("--out=")]


def expect_folder(out: Path) -> None:
    """Raise StoreError unless `out` is a study's folder, or an empty one, or can be made."""
    there = next(path for path in (out, *out.parents) if path.exists())
    if not there.is_dir():
        raise StoreError(f"--out: expected a folder, {there} is a file; choose another --out")
    if there == out and not (out / "study.json").exists() and any(out.iterdir()):
        raise StoreError(f"--out: {out} holds files but no study; choose another --out")


def move_aside(out: Path) -> None:
    """Rename `out`, if there is one, to a name that says when; of a link, what it leads to.

    Raises:
        StoreError: it is no study's folder.
    """
    expect_folder(out)
    if out.exists():
        out = out.resolve()
        aside = out.with_name(f"{out.name}.before-{time.strftime('%Y%m%d-%H%M%S')}")
        out.rename(aside)
        print(f"Old results: {aside}")


def _identity(study: dict) -> dict:
    """What has to be equal for a study to be continued."""
    data = study.get("dataset", {})
    return {
        "preset": study.get("preset"),
        "dataset": {key: data.get(key) for key in ("name", "validation", "fingerprint", "flip")},
        "reference": study.get("reference"),
        "imports": sorted(study.get("imports", [])),
        "trials": {key: _complete(fields) for key, fields in study.get("trials", {}).items()},
    }


def _complete(fields: dict) -> dict:
    """A trial's settings with the defaults of those that are newer than the file."""
    try:
        return TrialConfig.from_dict(fields).to_dict()
    except (TypeError, ValueError):
        return fields


def _settings(out: Path, key: str, fields: dict) -> dict:
    """The same, of a trial that shall go on.

    Raises:
        StoreError: they are not those of a trial.
    """
    what = f"{out / 'study.json'}, trial {key}"
    unknown = fields.keys() - {field.name for field in dataclasses.fields(TrialConfig)}
    if unknown:
        raise StoreError(f"--out: {what}: '{forms.shown(min(unknown))}' is no setting; {RESTORE}")
    try:
        return forms.parse(TrialConfig, json.dumps(fields), what, RESTORE).to_dict()
    except FileError as error:
        raise StoreError(f"--out: {error}") from None


def _difference(known: Any, asked: Any) -> str:
    """The first thing that differs, in one line."""
    path = []
    while isinstance(known, dict) and isinstance(asked, dict):
        path.append(next(k for k in [*known, *asked] if known.get(k) != asked.get(k)))
        if path == ["trials", path[-1]] and path[-1] not in asked:
            more = next((f", a trial more: {k}" for k in asked if k not in known), "")
            return f"a trial less: {path[-1]}{more}"
        known, asked = known.get(path[-1]), asked.get(path[-1])
    there, here = ("none" if v is None else json.dumps(v)[:60] for v in (known, asked))
    return f"{forms.shown(' '.join(path))}: {there} there, {here} asked for"


def read_study(out: Path) -> dict:
    """The content of study.json.

    Raises:
        StoreError: it is missing or damaged.
    """
    path = out / "study.json"
    try:
        return forms.read(forms.Study, path, RESTORE)
    except FileError as error:
        raise StoreError(f"--out: {error}") from None
    except OSError as error:
        raise StoreError(f"--out: {reason(error)}") from None


def is_full(error: BaseException) -> bool:
    """Whether `error` says that a disk, a quota or a limit on files is used up."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return isinstance(error, OSError) and error.errno in full


def has_room(out: Path) -> bool:
    """Whether two more files as large as the largest network's can be written to `out`, as two
    trials at once need it: what a file that did not fit leaves free is no room. Unlike free blocks,
    this counts quotas."""
    probe, sizes = out / ".room", (path.stat().st_size for path in out.glob("trials/**/*.pt"))
    try:
        write_text(probe, " " * 2 * max(sizes, default=2048))
        probe.unlink()
    except OSError as error:
        return not is_full(error)
    return True


class TrialStore:
    """The files of one trial: `trials/<key>/` and its Parquet files under `logs/`.

    The checkpoint holds the whole history, so that the logs can always be written anew from it.
    """

    def __init__(self, out: Path, key: str, identity: dict) -> None:
        self.out, self.key, self.identity = out, key, {"trial": key, **identity}
        self.folder = out / "trials" / key
        self.fence = Fence(self.folder / "OWNER")
        self.error = self.folder / "ERROR"
        self.ladder = Folder(self.folder / "ladder", self.fence.check)
        self.last = self.folder / "last.pt"

    @property
    def done(self) -> bool:
        """Whether the trial is finished, and its logs are there: they can be written anew."""
        logs = (self._log_file(kind) for kind in record.LOGS)
        return (self.folder / "DONE").exists() and all(path.exists() for path in logs)

    @property
    def failure(self) -> str | None:
        """Why its last attempt failed, in one line; None if it did not."""
        return forms.failure(self.out, self.key)

    def resume(self, trial: Trial) -> None:
        """Restore `trial` from its last epoch, if there is one, and bring the logs up to it.

        Raises:
            StoreError: the last epoch's file is damaged, or another trial's.
        """
        self.error.unlink(missing_ok=True)
        write_text(self.folder / "config.json", json.dumps(trial.config.to_dict(), indent=2) + "\n")
        if self.last.exists():
            self._restore(trial)
            if not (best := self.ladder.file("best")).exists():
                raise StoreError(f"{best} is gone; delete {self.folder} to start the trial anew")
            self._write_logs(trial)

    def _restore(self, trial: Trial) -> None:
        try:
            trial.restore(checkpoint.read(self.last))
        except Exception as error:  # What a foreign file holds can fail anywhere.
            why = f"{self.last} cannot be continued from ({told(error)})"
            raise StoreError(f"{why}; delete it to start the trial anew") from None

    def save(self, trial: Trial) -> None:
        """Write the checkpoint, then the logs."""
        self.fence.check()
        checkpoint.save(self.last, trial.state())
        self._write_logs(trial)

    def fail(self, error: Exception) -> None:
        """Note why the trial stopped, unless there is no room for it."""
        text = told(error) + (f"; {NO_ROOM}\n" if is_full(error) else "\n")
        for _ in range(NOTE_TRIES):
            with suppress(OSError):
                write_text(self.error, text)
                return
            time.sleep(NOTE_PAUSE)

    def finish(self, config: TrialConfig, measured: TrialRecord) -> None:
        """Write the trial's row, and mark it as done."""
        self.fence.check()
        columns = {k: _flat(v) for k, v in config.to_dict().items() if v is not None}
        columns |= {**checkpoint.versions(), "hostname": socket.gethostname(), **self.identity}
        columns["threads"] = torch.get_num_threads()  # Their number decides the last bits of sums.
        for name in dataclasses.asdict(measured):
            columns.pop(name, None)
        self._log("trials", record.table([measured], TrialRecord, columns))
        self.error.unlink(missing_ok=True)
        write_text(self.folder / "DONE", "")

    def _write_logs(self, trial: Trial) -> None:
        self._log("epochs", record.table(trial.records, EpochRecord, self.identity))
        self._log("expansions", record.table(trial.considered, ExpansionRecord, self.identity))

    def _log(self, kind: str, rows: pa.Table) -> None:
        record.write(self._log_file(kind), rows)

    def _log_file(self, kind: str) -> Path:
        return self.out / "logs" / kind / f"{self.key}.parquet"


def _flat(value: object) -> object:
    if not isinstance(value, list):
        return value
    return "-".join(v if isinstance(v, str) else f"{v:g}" for v in value)
