"""A trial of seconds, and all that two of them can differ in."""

import dataclasses

import torch

from secnn import TrialConfig
from secnn.training.trial import Trial

TIMES = {"train_seconds", "eval_seconds", "score_seconds"}

# Grows by a layer and, when none fits, by channels; halves its learning rate, as eight validation
# images tie often; spends epochs in the cooldown. Seeds 0 to 11 do so in float32 and in bfloat16.
CONFIG = TrialConfig(
    tau=0.5,
    lam=1e-6,
    capacity=2,
    layers=(1, 2, 2),
    learning_rate=2e-2,
    epochs=7,
    cooldown=1,
    batch_size=128,
    channel_steps=(2, 4),
    patience=1,
    score_samples=64,
    channels=(4, 4, 4),
    targets=(20, 40),
    kernel="reference",
)


def untimed(record) -> dict:
    return {k: v for k, v in dataclasses.asdict(record).items() if k not in TIMES}


def finished(trial: Trial) -> dict:
    while not trial.done:
        trial.step()
    return everything(trial)


def everything(trial: Trial) -> dict:
    return {
        "records": [untimed(r) for r in trial.records],
        "considered": [dataclasses.asdict(r) for r in trial.considered],
        "weights": trial.network.state_dict(),
        "moments": {
            name: trial.learner.optimizer.state[p] for name, p in trial.network.named_parameters()
        },
        "ladder": {name: trial.ladder[name]["network"] for name in sorted(trial.ladder)},
    }


def assert_same(one: object, other: object) -> None:
    """Equal bit for bit, tensors included."""
    if torch.is_tensor(one):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    else:
        assert one == other
