"""What the terminal shows while trials run, and a note of those whose worker died."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from secnn.study.store import TrialStore

PAUSE = 600
"""Seconds between two estimates of the time that is left, where each is a line."""


MOVED = 0.1
"""Change of the logits, over their standard deviation, beyond which growth did not keep the
function: 0.017 is the most that was met where it should."""


def unusual(result: Mapping) -> str:
    """Of an epoch, what growth should not come to, in words; as a rule nothing."""
    score, change = result.get("eta_current"), result.get("logit_change")
    if not math.isfinite(score or 0):
        return f"the network's score is {score}, so that nothing can be chosen by it"
    if (change or 0) > MOVED:
        return f"it moved the logits by {change:.2g} of their deviation"
    return ""


class Pace:
    """How fast trials go, and how long the rest takes at that.

    Attributes:
        costs: key → what each epoch of the trial is expected to cost, in any unit.
        slots: how many trials there is room for at a time, now.
        left: key → epochs that the trial has still to train, unless Tune is done with it.
        seconds: key → what a unit of cost took in its last epoch, once it had one.
    """

    def __init__(
        self,
        costs: Mapping[str, Sequence[float]],
        slots: Callable[[], int],
        done: Mapping[str, int] | None = None,
    ) -> None:
        self.costs, self.slots = costs, slots
        self.left = {key: len(each) - (done or {}).get(key, 0) for key, each in costs.items()}
        self.seconds: dict[str, float] = {}

    @property
    def epochs(self) -> int:
        """Of all trials."""
        return sum(map(len, self.costs.values()))

    def observe(self, key: str, result: Mapping) -> None:
        """Take note of an epoch."""
        self.left[key] = len(self.costs[key]) - result["epoch"]
        took = sum(result[f"{part}_seconds"] for part in ("train", "eval", "score"))
        self.seconds[key] = took / self.costs[key][result["epoch"] - 1]

    def end(self, key: str) -> None:
        """Take note that nothing more comes of a trial: if it diverged, epochs that nobody will
        train are left."""
        self.left.pop(key, None)

    @property
    def running(self) -> int:
        """How many trials run at a time."""
        return max(1, min(self.slots(), len(self.left)))

    @property
    def known(self) -> bool:
        """Whether as many trials as run at a time had an epoch: a worker may still be starting
        when another has trained one."""
        return len(self.seconds) >= self.running

    def rest_of(self, key: str) -> float:
        """Seconds until the trial is done; one that has not begun is taken for the mean of the
        others, and before any has, costs are taken for seconds."""
        usual = sum(self.seconds.values()) / len(self.seconds) if self.seconds else 1.0
        costs = self.costs[key]
        return sum(costs[len(costs) - self.left[key] :]) * self.seconds.get(key, usual)

    def rest(self, slots: int) -> float:
        """Seconds until all trials are done, `slots` at a time."""
        each = [self.rest_of(key) for key in self.left]
        return max(0.0, *each, sum(each) / max(1, slots))

    def forecast(self) -> str:
        """How long the rest takes, in words."""
        left = duration(self.rest(self.running))
        return f"About {left} left at the sizes to be expected, {self.running} at a time"


class Reporter(Callback):
    """Shows what trials tell, between entering and leaving it.

    Attributes:
        pace: of the trials.
        follow: how many others come after these, of unknown sizes.
    """

    def __init__(self, pace: Pace, follow: int = 0) -> None:
        self.pace, self.follow = pace, follow

    def __getstate__(self) -> dict:
        # Tune pickles its callbacks to a file that nobody restores; a terminal cannot be.
        return {}

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def on_trial_result(
        self, iteration: int, trials: Sequence[Trial], trial: Trial, result: Mapping, **info: object
    ) -> None:
        self.pace.observe(trial.config["key"], result)
        self.show(trial.config["key"], result)

    def on_trial_complete(
        self, iteration: int, trials: Sequence[Trial], trial: Trial, **info: object
    ) -> None:
        self.pace.end(trial.config["key"])
        self.close(trial.config["key"])

    on_trial_error = on_trial_complete

    def show(self, key: str, result: Mapping) -> None:
        """Show an epoch."""

    def close(self, key: str) -> None:
        """Show that nothing more comes of a trial."""


class Lines(Reporter):
    """One line for each epoch of each trial, and from time to time how long the rest will take."""

    _estimated = -math.inf

    def show(self, key: str, result: Mapping) -> None:
        growth = f"  -> {result['expansion']}" if result["expansion"] else ""
        if told := unusual(result):
            growth += f" ({told})"
        rung = f"rung {result['rung']}  " if result.get("rung") else ""
        epochs = len(self.pace.costs[key])
        print(
            f"{key:<44} epoch {result['epoch']:>{len(str(epochs))}}/{epochs}  {rung}"
            f"{result['parameters']:>7,} parameters  train {result['train_accuracy']:5.2f} %  "
            f"validation {result['val_accuracy']:5.2f} %{growth}",
            flush=True,
        )
        self._estimate()

    def _estimate(self) -> None:
        if time.monotonic() - self._estimated < PAUSE or not self.pace.known:
            return
        self._estimated = time.monotonic()
        others = f", and without the {self.follow} that follow" if self.follow else ""
        print(f"{self.pace.forecast()}{others}.", flush=True)


WORDS, UNITS = 80, 100
"""Columns of a terminal from which on bars tell of what their numbers are."""


class Bars(Reporter):
    """A live bar for each trial that runs, and one for the study; a line for each that is over."""

    FIELDS = ("rung", "size", "accuracy", "left")
    WIDTHS = (len("rung 12"), len("543,210"), len("12.3 %"), len("120 min"))

    def __init__(self, pace: Pace, follow: int = 0, console: Console | None = None) -> None:
        super().__init__(pace, follow)
        console = console or Console()
        words, bar = console.width >= WORDS, 12 if console.width >= WORDS else 5
        self.unit = " parameters" if console.width >= UNITS else ""
        self.more = " left" if words else ""
        names = TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True))
        done = f"{'epoch ' * words}{{task.completed:.0f}}/{{task.total:.0f}}"
        fields = [TextColumn(f"{{task.fields[{name}]}}", justify="right") for name in self.FIELDS]
        columns = names, BarColumn(bar), TextColumn(done), *fields
        self.bars = Progress(*columns, console=console, expand=True)
        self.later = f"+ {follow} trials" if follow else ""
        epochs = len("epoch " * words) + 2 * len(str(pace.epochs)) + 1
        texts = sum(self.WIDTHS) + max(0, len(self.later) - self.WIDTHS[0])
        taken = bar + epochs + texts + len(self.unit + self.more) + len(columns)
        self.room = max(8, console.width - taken)
        self.tasks: dict[str, TaskID] = {}
        self.whole = self._add("study", pace.epochs)

    def __enter__(self) -> Bars:
        self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def show(self, key: str, result: Mapping) -> None:
        if key not in self.tasks:
            name = fitted(key.removeprefix("criterion="), self.room)
            self.tasks[key] = self._add(name, len(self.pace.costs[key]))
        left = self.pace.rest_of(key)
        self.bars.update(
            self.tasks[key],
            completed=result["epoch"],
            rung=f"rung {result['rung']}" if result.get("rung") else "",
            size=f"{result['parameters']:,}{self.unit}",
            accuracy=f"{result['val_accuracy']:.1f} %",
            left=self._told(left),
        )
        if told := unusual(result):
            self.bars.console.print(f"{key}: {told}", highlight=False, markup=False)
        self._update()
        self.bars.refresh()  # An epoch may be over before the next picture's turn.

    def close(self, key: str) -> None:
        if key in self.tasks:
            task = next(t for t in self.bars.tasks if t.id == self.tasks[key])
            self.bars.remove_task(self.tasks.pop(key))
            size = task.fields["size"].removesuffix(self.unit)
            ended = f"{key}: epoch {task.completed:.0f}/{task.total:.0f}, {size} parameters"
            told = f"{ended}, {task.fields['accuracy']}"
            self.bars.console.print(told, highlight=False, markup=False)
        self._update()

    def _add(self, name: str, epochs: int) -> TaskID:
        empty: dict[str, Any] = dict.fromkeys(self.FIELDS, "")
        return self.bars.add_task(name, total=epochs, **empty)

    def _update(self) -> None:
        """The study's bar: all epochs but those that are left."""
        done = self.pace.epochs - sum(self.pace.left.values())
        left = self._told(self.pace.rest(self.pace.running)) if self.pace.known else ""
        self.bars.update(self.whole, completed=done, left=left, rung=self.later)

    def _told(self, seconds: float) -> str:
        return short(seconds).removesuffix(" left") + self.more * bool(seconds)


def reporter(pace: Pace, follow: int, verbose: bool) -> Reporter:
    """Bars in a terminal that can draw them; else, and beside Ray's own tables, lines."""
    console = Console()
    live = console.is_terminal and not console.is_dumb_terminal and not verbose
    return Bars(pace, follow, console) if live else Lines(pace, follow)


class Deaths(Callback):
    """Notes why a trial of the results folder `out` failed for good if its worker, killed say for
    its memory, could not."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def on_trial_error(
        self, iteration: int, trials: Sequence[Trial], trial: Trial, **info: object
    ) -> None:
        store = TrialStore(self.out, trial.config["key"], {})
        if not store.done and store.failure is None:
            store.fail(ChildProcessError(DIED))


DIED = "its worker died, or never started; was there memory enough? repeat the command to go on"


def fitted(name: str, room: int) -> str:
    """`name` in at most `room` letters: of one that is longer its start and, as seeds stand there,
    more of its end."""
    if len(name) <= room:
        return name
    head = (room - 1) // 3
    return f"{name[:head]}…{name[head + 1 - room :]}"


def duration(seconds: float) -> str:
    """Minutes or hours in words, at least a minute."""
    minutes = max(1, round(seconds / 60))
    if minutes >= 120:
        return f"{seconds / 3600:.1f} hours"
    return f"{minutes} minute{'s' * (minutes != 1)}"


def short(seconds: float) -> str:
    """`40 s left`, `12 min left`, `3.5 h left`; nothing of nothing."""
    if not seconds:
        return ""
    if seconds < 100:
        return f"{seconds:.0f} s left"
    return f"{seconds / 60:.0f} min left" if seconds < 7200 else f"{seconds / 3600:.1f} h left"
