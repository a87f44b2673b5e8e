"""How a network's weights are trained."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """Optimizer, learning rate and what is done to the images; the defaults are the paper's
    (arXiv:2401.05686, section 4).

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step.
        batches: "equal" cuts the epoch into equal batches of at most `batch_size`; "full" has every
            batch whole and leaves out the images that are over, in training others each epoch, in
            validation the last ones.
        image_mean, image_std: what images are normalised by, one number a channel in units where
            255 is 1; none for the training images' own.
        optimizer: "adam", or "adamw", whose `weight_decay` does not pass through the moments
            (arXiv:1711.05101).
        weight_decay: of weights alone, not of biases and batch norms, a step and learning rate.
        learning_rate: at the start with `schedule` "plateau", the highest with "rungs".
        schedule: a key of `secnn.training.schedule.SCHEDULES`. "plateau" is the paper's: halving
            where validation accuracy does not rise. With "rungs" each size is finished: the rate
            rises over `warmup` epochs, stays, and falls to zero over the part `fall` of the size's
            epochs; then the criterion is asked.
        patience: for "plateau", epochs without better validation accuracy after which the rate
            halves. An expansion keeps the rate and the best accuracy, and starts the count anew.
        decay: for "plateau", part of the epochs, at the end, over which the rate falls linearly to
            zero and nothing grows; 0 is the paper's.
        rungs: for "rungs", how many sizes there are at most.
        last: for "rungs", part of the epochs that is kept for the last size; the others share the
            rest equally.
        warmup: for "rungs", epochs.
        fall: for "rungs", in (0, 1].
        l1: weight of the sum of absolute parameters in the loss.
        label_smoothing: part of the target that is spread over all classes (arXiv:1512.00567).
        shift: pixels by which a training image is moved at most, in each direction; what moves in
            is its own edge, repeated.
        cutout: side, in pixels, of the square of a training image that is blotted out, at another
            place each time (arXiv:1708.04552).
        cutout_from: parameters of the network from which on `cutout` holds: what a large one learns
            by heart a small one has no room for.
    """

    epochs: int = 300
    batch_size: int = 512
    batches: str = "equal"
    image_mean: tuple[float, ...] | None = None
    image_std: tuple[float, ...] | None = None
    optimizer: str = "adam"
    weight_decay: float = 0.0
    learning_rate: float = 2e-3
    schedule: str = "plateau"
    patience: int = 15
    decay: float = 0.0
    rungs: int = 9
    last: float = 0.5
    warmup: float = 1.0
    fall: float = 0.6
    l1: float = 1e-5
    label_smoothing: float = 0.0
    shift: int = 0
    cutout: int = 0
    cutout_from: int = 0

    @property
    def decay_epochs(self) -> int:
        """Epochs at the end in which the learning rate of "plateau" falls."""
        return round(self.decay * self.epochs)

    @property
    def rung_epochs(self) -> int:
        """Epochs of each size but the last."""
        return max(1, (self.epochs - self.last_epochs) // max(1, self.rungs - 1))

    @property
    def last_epochs(self) -> int:
        """Epochs of the last size at least."""
        return max(1, round(self.last * self.epochs))
