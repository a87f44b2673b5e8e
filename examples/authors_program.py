"""What the program of the paper's authors does, which is not what the paper says: docs/paper.md.

secnn run --import examples.authors_program --preset authors --validation test --precision float32

Each deviation is a setting, and `--set`, or an option of its own, turns it back: see the table in
docs/paper.md. Written anew from a description of what the program does.
"""

from __future__ import annotations

from examples import authors_network, authors_score
from secnn import PRESETS, Preset, TrialConfig
from secnn.training.schedule import SCHEDULES, Plateau

__all__ = ["AUTHORS", "LossPlateau", "authors_network", "authors_score"]


class LossPlateau(Plateau):
    """The rate halves when the validation *loss* has not been below (1 − `THRESHOLD`) times its
    lowest in more than `patience` epochs in a row, counted as PyTorch's `ReduceLROnPlateau` does:
    one epoch later than the paper's, and growth does not start the count anew.

    Attributes:
        best: the lowest validation loss, with its sign turned, so that higher is better.
    """

    THRESHOLD = 1e-4

    def observe(self, accuracy: float, loss: float) -> None:
        better = loss < -self.best * (1 - self.THRESHOLD)
        self.best, self.waited = (-loss, 0) if better else (self.best, self.waited + 1)
        if self.waited > self.recipe.patience:
            self.scheduled, self.waited = self.scheduled / 2, 0

    def go_on(self, epoch: int, grown: bool, grows: bool) -> None:
        if grown:
            self.last_expansion = epoch


SCHEDULES["loss-plateau"] = LossPlateau

AUTHORS = TrialConfig(
    cell="authors",
    negative_slope=0.2,
    capacity=11,  # A first layer and ten added ones.
    expansions=("BoxLayer", "ResetChannels"),
    channel_steps=(4,),
    scorer="fresh-flips",
    fisher="batch",
    damping=authors_score.DAMPING,
    tau=2.0,
    lam=1e-7,
    cooldown=4,  # The check rests until the fifth epoch after an expansion.
    schedule="loss-plateau",
    batches="full",
    image_mean=(0.4914, 0.4822, 0.4465),
    image_std=(0.2023, 0.1994, 0.2010),
)

PRESETS["authors"] = Preset(
    "what the authors' program does: its box filters, resets and two scoring passes",
    AUTHORS,
    (),
    (),
)
