"""Learning rates, and when the criterion is asked."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

from secnn.registry import Registry
from secnn.training.recipe import Recipe

Rate = Callable[[float], float]
"""From the part of an epoch that is done, in [0, 1), to the learning rate of the next step."""


class Schedule(Protocol):
    """Epochs are counted from 1."""

    @property
    def rung(self) -> int | None:
        """The number of the present rung, from 1; None for a schedule that knows of none."""
        ...

    def rate(self, epoch: int) -> Rate:
        """The learning rate within `epoch`."""
        ...

    def observe(self, accuracy: float, loss: float) -> None:
        """Validation accuracy, in per cent, and loss after an epoch."""
        ...

    def asks(self, epoch: int) -> bool:
        """Whether the criterion is asked after `epoch`."""
        ...

    def go_on(self, epoch: int, grown: bool, grows: bool) -> None:
        """The criterion was asked after `epoch` (0: the trial begins); `grown` tells whether the
        network has grown, `grows` whether it can grow further."""
        ...

    def annealing(self) -> int:
        """Epochs over which what the last expansion added reaches its final form."""
        ...

    def around(self, epoch: int) -> tuple[int, int]:
        """The epochs before and after an expansion made after `epoch` whose losses, beside that of
        `epoch` itself, tell what it brought."""
        ...

    def state(self) -> dict[str, Any]:
        """What `restore` takes, of plain values."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Go on as the schedule did that gave `state`."""
        ...


class Plateau:
    """The paper's (arXiv:2401.05686, section 4): the rate halves after `patience` epochs without
    better validation accuracy, and the criterion is asked after every epoch that is not in the
    `cooldown` after an expansion.

    Attributes:
        scheduled: the rate, before the fall at the end if there is one.
        best: the highest validation accuracy, per cent.
        waited: epochs since then, or since the last halving or expansion.
        last_expansion: the epoch, None before the first one.
    """

    rung = None

    def __init__(self, recipe: Recipe, cooldown: int) -> None:
        self.recipe, self.cooldown = recipe, cooldown
        self.scheduled = recipe.learning_rate
        self.best, self.waited = -math.inf, 0
        self.last_expansion: int | None = None

    def rate(self, epoch: int) -> Rate:
        left = (self.recipe.epochs - epoch + 1) / (self.recipe.decay_epochs + 1)
        now = self.scheduled * min(1.0, left)
        return lambda through: now

    def observe(self, accuracy: float, loss: float) -> None:
        better = accuracy > self.best
        self.best, self.waited = max(accuracy, self.best), 0 if better else self.waited + 1
        if self.waited >= self.recipe.patience:
            self.scheduled, self.waited = self.scheduled / 2, 0

    def asks(self, epoch: int) -> bool:
        since = math.inf if self.last_expansion is None else epoch - self.last_expansion
        return since > self.cooldown and epoch < self.recipe.epochs - self.recipe.decay_epochs

    def go_on(self, epoch: int, grown: bool, grows: bool) -> None:
        if grown:
            self.last_expansion, self.waited = epoch, 0

    def annealing(self) -> int:
        return self.cooldown

    def around(self, epoch: int) -> tuple[int, int]:
        span = max(1, self.cooldown)
        return epoch - span, epoch + span

    def state(self) -> dict[str, Any]:
        names = ("scheduled", "best", "waited", "last_expansion")
        return {name: getattr(self, name) for name in names}

    def restore(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


class Rungs:
    """Every size is finished: warm-up, stable, decay (arXiv:2410.05192), and on from the decayed
    weights. With n epochs at a size, w of warm-up and the part f of fall, the rate after t of them
    is that of the recipe times

        min(1, t/w, (n − t)/(f·n)).

    The criterion is asked where the rate has reached zero: the gradient is least noisy there. If it
    declines, the size gets another rung. The last size gets all epochs that are left: once nothing
    fits any more, or there would be too few for another.

    Attributes:
        ends: the last epoch of every rung so far, that of the present one too.
    """

    def __init__(self, recipe: Recipe, cooldown: int) -> None:
        self.recipe = recipe
        self.ends: list[int] = []

    @property
    def rung(self) -> int:
        return len(self.ends)

    @property
    def begun(self) -> int:
        """Epochs before the present rung."""
        return self.ends[-2] if len(self.ends) > 1 else 0

    @property
    def length(self) -> int:
        """Epochs of the present rung."""
        return self.ends[-1] - self.begun

    def rate(self, epoch: int) -> Rate:
        recipe, before, whole = self.recipe, epoch - 1 - self.begun, self.length
        # A rung of one epoch rises over its first third.
        warmup, fall = min(recipe.warmup, whole / 3), recipe.fall * whole

        def now(through: float) -> float:
            t = before + through
            factor = min(1.0, (whole - t) / fall, t / warmup if warmup else 1.0)
            return recipe.learning_rate * max(factor, FLOOR)

        return now

    def observe(self, accuracy: float, loss: float) -> None:
        pass

    def asks(self, epoch: int) -> bool:
        return self.ends[-1] == epoch < self.recipe.epochs

    def go_on(self, epoch: int, grown: bool, grows: bool) -> None:
        recipe, end = self.recipe, epoch + self.recipe.rung_epochs
        enough = end + recipe.last_epochs <= recipe.epochs
        another = grows and len(self.ends) + 1 < recipe.rungs and enough
        self.ends.append(end if another else recipe.epochs)

    def annealing(self) -> int:
        # Before the rate falls, so that the network is finished in its final form.
        return max(1, round((1 - self.recipe.fall) * self.length))

    def around(self, epoch: int) -> tuple[int, int]:
        rung = self.ends.index(epoch)
        return self.ends[rung - 1] if rung else 0, self.ends[rung + 1]

    def state(self) -> dict[str, Any]:
        return {"ends": list(self.ends)}

    def restore(self, state: dict[str, Any]) -> None:
        self.ends = list(state["ends"])


FLOOR = 1e-3
"""Part of the highest rate below which that of `Rungs` does not go: a step shall do something."""

SCHEDULES: Registry[Callable[[Recipe, int], Schedule]] = Registry(
    "schedule", plateau=Plateau, rungs=Rungs
)
"""name → function (recipe, cooldown in epochs)."""
