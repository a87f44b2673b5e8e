"""What the terminal shows while trials run, and a note of those whose worker died."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ray.tune import Callback
from ray.tune.experiment import Trial

from secnn.study.store import TrialStore

PAUSE = 600
"""Seconds between two estimates of the time that is left."""


class ProgressLines(Callback):
    """One line for each epoch of each trial, and from time to time how long the rest will take.

    Attributes:
        epochs: key → epochs of the trial.
        slots: how many trials there is room for at a time, now.
        follow: how many others come after these, of unknown sizes.
        left: key → epochs that the trial has still to train, unless Tune is done with it.
        seconds: key → what its last epoch took, once it had one.
    """

    def __init__(
        self, epochs: Mapping[str, int], slots: Callable[[], int], follow: int = 0
    ) -> None:
        self.epochs, self.slots, self.left = epochs, slots, dict(epochs)
        self.follow = follow
        self.seconds: dict[str, float] = {}
        self._estimated = -math.inf

    def on_trial_result(
        self, iteration: int, trials: Sequence[Trial], trial: Trial, result: Mapping, **info: object
    ) -> None:
        key = trial.config["key"]
        growth = f"  -> {result['expansion']}" if result["expansion"] else ""
        print(
            f"{key:<44} epoch {result['epoch']:>3}  "
            f"{result['parameters']:>7,} parameters  train {result['train_accuracy']:5.2f} %  "
            f"validation {result['val_accuracy']:5.2f} %{growth}",
            flush=True,
        )
        self.left[key] = self.epochs[key] - result["epoch"]
        self.seconds[key] = sum(result[f"{part}_seconds"] for part in ("train", "eval", "score"))
        self._estimate()

    def on_trial_complete(
        self, iteration: int, trials: Sequence[Trial], trial: Trial, **info: object
    ) -> None:
        # A trial that diverged ends like any other, with epochs that nobody will train.
        self.left.pop(trial.config["key"], None)

    on_trial_error = on_trial_complete

    def _estimate(self) -> None:
        """Say how long the rest will take, once as many trials as run at a time had an epoch: a
        worker may still be starting when another has trained one."""
        if time.monotonic() - self._estimated < PAUSE:
            return
        running = min(self.slots(), len(self.left))
        if len(self.seconds) >= running:
            self._estimated = time.monotonic()
            others = f", and without the {self.follow} that follow" if self.follow else ""
            print(
                f"About {duration(self.rest(running))} left at the sizes that the networks "
                f"have now, {running} at a time; longer as they grow{others}.",
                flush=True,
            )

    def rest(self, slots: int) -> float:
        """Seconds until all trials are done, `slots` at a time: those that have not begun taken for
        the mean of the others."""
        usual = sum(self.seconds.values()) / len(self.seconds)
        each = [n * self.seconds.get(key, usual) for key, n in self.left.items()]
        return max(*each, sum(each) / max(1, slots))


class Deaths(Callback):
    """Notes why a trial of the results folder `out` failed for good if its worker, killed say for
    its memory, could not."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def on_trial_error(
        self, iteration: int, trials: Sequence[Trial], trial: Trial, **info: object
    ) -> None:
        store = TrialStore(self.out, trial.config["key"], {})
        if not (store.done or store.failed):
            store.fail(ChildProcessError(DIED))


DIED = "its worker died, or never started; was there memory enough? repeat the command to go on"


def duration(seconds: float) -> str:
    """Minutes or hours in words, at least a minute."""
    minutes = max(1, round(seconds / 60))
    if minutes >= 120:
        return f"{seconds / 3600:.1f} hours"
    return f"{minutes} minute{'s' * (minutes != 1)}"
