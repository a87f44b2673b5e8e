"""Where the trials of a study stand, from its files alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from secnn.commands import Parser, add_folder, answered
from secnn.store.forms import Settings, started, study_in
from secnn.store.record import EpochRecord, read
from secnn.study.fence import holder, is_held
from secnn.study.store import TrialStore


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = Parser("status", description="Where every trial of a study stands.")
    add_folder(parser)
    asked = parser.parse_args(arguments)
    return answered(lambda: print(status(asked.out or newest_study())))


def newest_study() -> Path:
    """The folder under `runs` whose study changed last; errors as in `secnn.analysis.logs`."""
    from secnn.analysis import logs  # pandas takes a second to import.

    return logs.newest_study()


def status(out: Path) -> str:
    """A line for each trial: key, epochs, parameters, best validation accuracy, and state.

    Raises:
        FileError: `out` is no study's folder, or one of its files is damaged.
    """
    study = study_in(out)
    lines = [line(out, key, settings) for key, settings in study["trials"].items()]
    done = sum(TrialStore(out, key, {}).done for key in study["trials"])
    return "\n".join([f"{out}: {done} of {len(lines)} trials are done", *lines])


def line(out: Path, key: str, settings: Settings) -> str:
    """The state of one trial, whose `settings` study.json tells."""
    store = TrialStore(out, key, {})
    log = out / "logs" / "epochs" / f"{key}.parquet"
    reached = "not started"
    if log.exists() and (rows := read(log, EpochRecord).to_pylist()):
        planned = started(out, key, settings)["epochs"]
        last, best = rows[-1], max(row["val_accuracy"] for row in rows)
        reached = f"epoch {len(rows)}/{planned}, {last['parameters']} parameters, "
        reached += f"best validation {best:.2f} %"
    state, reason = _state(store)
    return f"{key:<44} {state:<12} {reached}" + (f" ({reason})" if reason else "")


def _state(store: TrialStore) -> tuple[str, str]:
    """What the trial does, and where it runs, or why it failed."""
    if store.done:
        return "done", ""
    if is_held(store.fence.path):
        return "running", f"on {holder(store.fence.path)}"
    failure = store.failure
    return ("waiting", "") if failure is None else ("failed", failure)


if __name__ == "__main__":
    sys.exit(main())
