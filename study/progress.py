"""What the terminal shows while trials run."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

from ray.tune import Callback
from ray.tune.experiment import Trial

PAUSE = 600
"""Seconds between two estimates of the time that is left."""


class ProgressLines(Callback):
    """One line for each epoch of each trial, and from time to time how long the rest will take.

    Attributes:
        left: key → epochs that the trial has still to train.
        seconds: key → what its last epoch took, once it had one.
    """

    def __init__(self, epochs: Mapping[str, int]) -> None:
        self.epochs, self.left = epochs, dict(epochs)
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
        self._estimate([t.config["key"] for t in trials if t.status == Trial.RUNNING])

    def _estimate(self, running: Sequence[str]) -> None:
        """Say how long the rest will take, once every running trial has had an epoch."""
        if self.seconds.keys() >= set(running) and time.monotonic() - self._estimated >= PAUSE:
            self._estimated = time.monotonic()
            print(
                f"About {duration(self.rest(len(running)))} left at the sizes that the networks "
                f"have now, {len(running)} at a time; longer as they grow.",
                flush=True,
            )

    def rest(self, slots: int) -> float:
        """Seconds until all trials are done, `slots` at a time: those that have not begun taken for
        the mean of the others."""
        usual = sum(self.seconds.values()) / len(self.seconds)
        each = [n * self.seconds.get(key, usual) for key, n in self.left.items()]
        return max(*each, sum(each) / max(1, slots))


def duration(seconds: float) -> str:
    """Minutes or hours in words, at least a minute."""
    minutes = max(1, round(seconds / 60))
    return (
        f"{minutes} minute{'s' * (minutes != 1)}"
        if minutes < 120
        else f"{seconds / 3600:.1f} hours"
    )
