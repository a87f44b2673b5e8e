"""Where the trials of a study stand, from its files alone."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from secnn.study.fence import holder, is_held
from secnn.study.store import TrialStore, read_study


def status(out: Path) -> str:
    """A line for each trial: key, epochs, parameters, best validation accuracy, and state."""
    study = read_study(out)
    lines = [line(out, key) for key in study["trials"]]
    done = sum(TrialStore(out, key, {}).done for key in study["trials"])
    return "\n".join([f"{out}: {done} of {len(lines)} trials are done", *lines])


def line(out: Path, key: str) -> str:
    """The state of one trial."""
    store = TrialStore(out, key, {})
    log = out / "logs" / "epochs" / f"{key}.parquet"
    reached = "not started"
    if log.exists():
        rows = pq.read_table(log, columns=["parameters", "val_accuracy"]).to_pydict()
        sizes, best = rows["parameters"], max(rows["val_accuracy"])
        reached = f"epoch {len(sizes)}/{store.config.epochs}, {sizes[-1]} parameters, "
        reached += f"best validation {best:.2f} %"
    return f"{key:<44} {_state(store):<12} {reached}" + _reason(store)


def _state(store: TrialStore) -> str:
    if store.done:
        return "done"
    if is_held(store.fence.path):
        return "running"
    return "failed" if store.failed else "waiting"


def _reason(store: TrialStore) -> str:
    if store.done:
        return ""
    if is_held(store.fence.path):
        return f" (on {holder(store.fence.path)})"
    return f" ({store.error.read_text().strip()})" if store.failed else ""
