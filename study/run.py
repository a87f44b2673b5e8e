"""Run a study: `python study/run.py --num-samples 5`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from secnn import checkpoint
from secnn.data import ImageData, load_dataset
from study import retrain
from study.command import parser, reference
from study.fence import Fence, FenceError
from study.grid import plan
from study.presets import PRESETS
from study.status import status
from study.store import NO_ROOM, TrialStore, has_room, is_full, move_aside, open_study

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    asked = parser().parse_args(arguments)
    try:
        return command(asked)
    except (ValueError, OSError, FenceError) as error:
        full = is_full(error)
        print(f"error: {error}" + f"; {NO_ROOM}" * full, file=sys.stderr)
        return 1 if full else 2
    except KeyboardInterrupt:
        print("interrupted: repeat the command to go on", file=sys.stderr)
        return INTERRUPTED


def command(asked: argparse.Namespace) -> int:
    """Do what was asked; the exit status."""
    if asked.status:
        # pandas takes a second to import.
        from analysis.logs import newest_study

        print(status(asked.out or newest_study()))
        return 0
    data = load_dataset(asked.dataset, asked.data_dir, asked.validation)
    study = describe(asked, data)
    out = (asked.out or Path("runs") / f"{asked.preset}-{data.name}").absolute()
    announce(study, data, out)
    if asked.dry_run:
        print("\n".join(study["trials"]))
        return 0
    with Fence(out.with_name(f".{out.name}.lock")):
        if asked.fresh:
            move_aside(out)
        open_study(out, study)
        return run(asked, study, data, out)


def describe(asked: argparse.Namespace, data: ImageData) -> dict:
    """The content of study.json."""
    preset = PRESETS[asked.preset].for_data(data)
    base = reference(asked, preset.reference)
    base.start(data.image_shape, data.classes)  # What does not fit is told before anything runs.
    trials = plan(
        base,
        asked.num_samples,
        preset.taus if asked.tau is None else asked.tau,
        preset.lams if asked.lam is None else asked.lam,
        asked.sweep_samples,
        asked.criterion,
    )
    again = retrain.plan(trials, base) if asked.retrain else {}
    trials |= retrain.unresolved(trials, again)
    return {
        "format": 1,
        "preset": asked.preset,
        "dataset": {
            "name": data.name,
            "source": data.source,
            "notice": data.notice,
            "validation": data.validation,
            "classes": data.classes,
            "class_names": list(data.class_names),
            "image_shape": list(data.image_shape),
            "fingerprint": data.fingerprint,
            "images": {
                "train": len(data.train_images),
                "validation": len(data.validation_images),
                "test": len(data.test_images),
            },
        },
        "reference": {"criterion": base.criterion, "tau": base.tau, "lam": base.lam},
        "trials": {key: config.to_dict() for key, config in trials.items()},
        **({"retrain": again} if again else {}),
        "versions": checkpoint.versions(),
        "command": " ".join(["study/run.py", *sys.argv[1:]]),
    }


def announce(study: dict, data: ImageData, out: Path) -> None:
    """Say what will run on what, and where to."""
    images = study["dataset"]["images"]
    print(
        f"{len(study['trials'])} trials of preset {study['preset']} on {data.source}: "
        f"{images['train']} training, {images['validation']} validation and {images['test']} test "
        f"images, {data.classes} classes. Results: {out}"
    )
    if data.validation == "test":
        print("NOTE: validation is the test set (the paper's protocol).")
    if data.notice:
        print("\n".join(["", "!" * 80, data.notice, "!" * 80, ""]))


def run(asked: argparse.Namespace, study: dict, data: ImageData, out: Path) -> int:
    """Run the trials that are not done, on Ray Tune; the exit status."""
    started, retrained = time.monotonic(), study.get("retrain", {})
    first = [key for key in study["trials"] if key not in retrained]
    train(asked, study, data, out, first)
    if not interrupted(out, study, first):
        ready = [key for key in retrained if TrialStore(out, retrained[key]["source"], {}).done]
        train(asked, study, data, out, ready)
    return report(out, study, (time.monotonic() - started) / 60)


def train(
    asked: argparse.Namespace, study: dict, data: ImageData, out: Path, keys: Iterable[str]
) -> None:
    """Run those of the trials `keys` that are not done."""
    left = unfinished(out, keys)
    if left:
        # Ray takes seconds to import: not for bad input, --status or --dry-run.
        from study.tuning import tune_trials

        tune_trials(asked, retrain.resolved(out, study, left), data, out, left)


def report(out: Path, study: dict, minutes: float) -> int:
    """Say what is done and what failed; the exit status."""
    left, trials = unfinished(out, study["trials"]), len(study["trials"])
    print(f"{trials - len(left)} of {trials} trials are done, {minutes:.1f} minutes.")
    if not left:
        print(f"Next: python analysis/make_table.py {out}")
        return 0
    for key, reason in failures(out, study).items():
        print(f"FAILED {key}: {reason}", file=sys.stderr)
    if not has_room(out):
        print(f"error: {out}: {NO_ROOM}", file=sys.stderr)
        return 1
    if not interrupted(out, study, study["trials"]):
        return 1
    print("interrupted: repeat the command to go on", file=sys.stderr)
    return INTERRUPTED


def unfinished(out: Path, keys: Iterable[str]) -> dict[str, TrialStore]:
    """Those of the trials `keys` that are not done."""
    stores = {key: TrialStore(out, key, {}) for key in keys}
    return {key: store for key, store in stores.items() if not store.done}


def failures(out: Path, study: dict) -> dict[str, str]:
    """Key → why, of the trials that failed, or whose source did."""
    left = unfinished(out, study["trials"])
    reasons = {k: store.error.read_text().strip() for k, store in left.items() if store.failed}
    return reasons | {
        key: f"{about['source']} has to be done first"
        for key, about in study.get("retrain", {}).items()
        if about["source"] in reasons
    }


def interrupted(out: Path, study: dict, keys: Iterable[str]) -> bool:
    """Whether one of the trials `keys` is neither done nor failed."""
    return not unfinished(out, keys).keys() <= failures(out, study).keys()


if __name__ == "__main__":
    sys.exit(main())
