"""Run a study: `python study/run.py --num-samples 5`."""

from __future__ import annotations

from secnn.study import interrupts

if __name__ == "__main__":
    interrupts.leave_at_once()  # The other imports take seconds.

import argparse
import dataclasses
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from secnn import plugins
from secnn.commands import Parser, line
from secnn.data.dataset import ImageData, load_dataset
from secnn.files import reason
from secnn.study import machine, retrain, tracking
from secnn.study.command import parser
from secnn.study.describe import announce, describe
from secnn.study.fence import Fence, FenceError, holder, is_held
from secnn.study.interrupts import INTERRUPTED, notice
from secnn.study.status import status
from secnn.study.store import (
    NO_ROOM,
    TrialStore,
    continued,
    expect_folder,
    expect_own,
    has_room,
    is_full,
    move_aside,
    open_study,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    plugins.load_asked("run", arguments)
    asked = options().parse_args(arguments)
    asked.command = interrupts.resumed(asked.command)
    try:
        return command(asked)
    except (ValueError, OSError, FenceError) as error:
        full = is_full(error)
        print(f"error: {reason(error)}" + f"; {NO_ROOM}: {asked.command}" * full, file=sys.stderr)
        return 1 if full else 2
    except Exception as error:
        if not plugins.place(error):
            raise
        print(f"error: {plugins.told(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(notice(asked.command), file=sys.stderr)
        return INTERRUPTED


def options() -> Parser:
    """The options of a study, and of what is told while it runs."""
    top = parser()
    tracking.add_options(top)
    return top


def command(asked: argparse.Namespace) -> int:
    """Do what was asked; the exit status."""
    tracking.expect_installed(asked)
    if asked.status:
        # pandas takes a second to import.
        from secnn.analysis.logs import newest_study

        print(status(asked.out or newest_study()))
        return 0
    data = load_dataset(
        asked.dataset,
        asked.data_dir,
        asked.validation,
        label_column=asked.label_column,
        image_column=asked.image_column,
        resize=asked.resize,
    )
    data = dataclasses.replace(data, flip=data.flip and not asked.no_flip)
    study = describe(asked, data)
    out = (asked.out or Path("runs") / f"{asked.preset}-{data.name}").absolute()
    if asked.fresh:
        expect_folder(out)
    else:
        study = continued(out, study)
        expect_own(out, study)
    announce(study, data, out)
    if asked.dry_run:
        print("\n".join(listed(out, study)))
        return 0
    return start(asked, study, data, out)


def listed(out: Path, study: dict) -> list[str]:
    """The study's trials, with a mark on those that are done."""
    left = unfinished(out, study["trials"])
    return [key if key in left else f"{key:<44} done" for key in study["trials"]]


def start(asked: argparse.Namespace, study: dict, data: ImageData, out: Path) -> int:
    """Run the study as the only one in `out`, which stays as it was until nothing is left that
    could refuse it; the exit status.

    Raises:
        FenceError: another study is running in `out`.
        ValueError: more is asked for than there is, or `out` became another study's meanwhile.
        OSError: Ray does not start, or `out` cannot be written to.
    """
    real = out.resolve()  # Another name of the folder, a link, is locked with it.
    lock = real.with_name(f".{real.name}.lock")
    if is_held(lock):  # Told before Ray starts; what decides is the lock itself.
        raise FenceError(
            f"{lock} is held by {holder(lock)}: another command is at this study; wait for it, or "
            "choose another --out"
        )
    if asked.fresh or unfinished(out, study["trials"]):
        machine.expect_process()
        # Ray takes seconds to import: not for bad input, --status or --dry-run.
        from secnn.study.tuning import prepare

        prepare(asked)
    interrupts.raise_interrupt()
    with Fence(lock):
        if asked.fresh:
            move_aside(out)
        open_study(out, study)
        return run(asked, study, data, out)


def run(asked: argparse.Namespace, study: dict, data: ImageData, out: Path) -> int:
    """Run the trials that are not done, on Ray Tune; the exit status."""
    started, retrained = time.monotonic(), study.get("retrain", {})
    first = [key for key in study["trials"] if key not in retrained]
    train(asked, study, data, out, first, follow=len(unfinished(out, retrained)))
    if not interrupted(out, study, first):
        ready = [key for key in retrained if TrialStore(out, retrained[key]["source"], {}).done]
        train(asked, study, data, out, ready)
    return report(out, study, (time.monotonic() - started) / 60, asked.command)


def train(
    asked: argparse.Namespace,
    study: dict,
    data: ImageData,
    out: Path,
    keys: Iterable[str],
    follow: int = 0,
) -> None:
    """Run those of the trials `keys` that are not done; `follow` others come after them."""
    left = unfinished(out, keys)
    if left:
        from secnn.study.tuning import tune_trials

        tune_trials(asked, retrain.resolved(out, study, left), data, out, left, follow)


def report(out: Path, study: dict, minutes: float, command: str) -> int:
    """Say what is done and what failed, and that `command` goes on; the exit status."""
    left, trials = unfinished(out, study["trials"]), len(study["trials"])
    print(f"{trials - len(left)} of {trials} trials are done, {minutes:.1f} minutes.")
    if not left:
        print(f"Next: {line('table', out)}")
        return 0
    for key, why in failures(out, study).items():
        print(f"FAILED {key}: {why}", file=sys.stderr)
    if not has_room(out):
        print(f"error: {out}: {NO_ROOM}: {command}", file=sys.stderr)
        return 1
    if not interrupted(out, study, study["trials"]):
        print(f"To try the failed trials again: {command}", file=sys.stderr)
        return 1
    print(notice(command), file=sys.stderr)
    return INTERRUPTED


def unfinished(out: Path, keys: Iterable[str]) -> dict[str, TrialStore]:
    """Those of the trials `keys` that are not done."""
    stores = {key: TrialStore(out, key, {}) for key in keys}
    return {key: store for key, store in stores.items() if not store.done}


def failures(out: Path, study: dict) -> dict[str, str]:
    """Key → why, of the trials that failed, or whose source did."""
    left = unfinished(out, study["trials"])
    reasons = {k: why for k, store in left.items() if (why := store.failure) is not None}
    return reasons | {
        key: f"{about['source']} has to be done first"
        for key, about in study.get("retrain", {}).items()
        if about["source"] in reasons
    }


def interrupted(out: Path, study: dict, keys: Iterable[str]) -> bool:
    """Whether one of the trials `keys` is neither done nor failed."""
    return not unfinished(out, keys).keys() <= failures(out, study).keys()


if __name__ == "__main__":
    sys.exit(interrupts.interruptible(main))
