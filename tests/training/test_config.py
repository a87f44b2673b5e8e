"""A configuration decides a trial: JSON-able, unchangeable, and never out of range."""

import dataclasses
import json
import math
import random

import numpy as np
import pytest

from secnn.growth.criterion import CRITERIA
from secnn.growth.proposal import PROPOSALS
from secnn.network.spec import NetworkSpec
from secnn.score.fisher import FISHERS
from secnn.training.config import KERNELS, PRECISIONS, TrialConfig
from secnn.training.presets import Preset


def test_the_defaults_are_the_paper_s():
    config = TrialConfig()
    assert config.criterion == "natural"
    assert (config.tau, config.cooldown, config.capacity) == (2, 10, 10)
    assert (config.epochs, config.batch_size, config.learning_rate) == (300, 512, 2e-3)
    assert (config.patience, config.l1) == (15, 1e-5)
    assert (config.dropout, config.head_dropout) == (0.1, 0.05)
    assert config.channels == (16, 16, 16)
    assert config.channel_steps == (2, 4)
    assert config.max_parameters is config.max_flops is None


@pytest.mark.parametrize("seed", range(20))
def test_a_config_survives_json(seed):
    rng = random.Random(seed)
    config = TrialConfig(
        criterion=rng.choice(list(CRITERIA)),
        tau=rng.uniform(1, 4),
        lam=rng.choice([0.0, 1e-9, rng.random()]),
        seed=rng.randint(0, 10**6),
        channel_steps=[rng.randint(1, 9) for _ in range(rng.randint(1, 4))],
        channels=[rng.randint(1, 64) for _ in range(rng.randint(1, 4))],
        fisher=rng.choice(list(FISHERS)),
        kernel=rng.choice(KERNELS),
        precision=rng.choice(PRECISIONS),
        max_parameters=rng.choice([None, 50_000]),
        targets=rng.choice([(), (70, 80.5)]),
    )
    fields = json.loads(json.dumps(config.to_dict(), allow_nan=False))
    assert TrialConfig.from_dict(fields) == config
    assert fields.keys() == {field.name for field in dataclasses.fields(TrialConfig)}


def test_a_config_is_a_value():
    config = TrialConfig(channels=[4, 4], channel_steps=[2], targets=[50])
    assert hash(config) == hash(TrialConfig(channels=(4, 4), channel_steps=(2,), targets=(50,)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.tau = 3.0
    assert dataclasses.replace(config, tau=3.0).channels == (4, 4)


NOT_POSITIVE = {
    name: [0, -1, -0.5, math.nan]
    for name in (
        "tau",
        "epochs",
        "capacity",
        "batch_size",
        "learning_rate",
        "patience",
        "score_samples",
        "damping",
    )
}
NEGATIVE = {name: [-1, -1e-9, math.nan] for name in ("lam", "seed", "cooldown", "l1")}
UNKNOWN = {name: ["", "none", None] for name in ("criterion", "fisher", "kernel", "precision")}
OTHERS = {
    "dropout": [-0.1, 1.0, math.nan],
    "head_dropout": [-0.1, 1.0],
    "negative_slope": [0.0, 1.5, -0.01],
    "batch_size": [1, 2],
    "channels": [(), (16, 0), (-1,), (16.5,), ("a",)],
    "channel_steps": [(), (0,), (2, -4)],
    "seed": [10**12 + 1],
    "max_parameters": [0, -1],
    "max_flops": [0, -1],
    "targets": [(0,), (70, 101), (-5,)],
}
BAD = [
    (name, value)
    for group in (NOT_POSITIVE, NEGATIVE, UNKNOWN, OTHERS)
    for name, values in group.items()
    for value in values
]


@pytest.mark.parametrize("name, value", BAD)
def test_a_field_out_of_range_is_named_with_its_value(name, value):
    with pytest.raises(ValueError, match=rf"^{name}: expected ") as error:
        TrialConfig(**{name: value})
    assert str(error.value).endswith(f"got {value!r}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name, registry", [("criterion", CRITERIA), ("fisher", FISHERS), ("proposal", PROPOSALS)]
)
def test_what_is_registered_later_counts(name, registry, monkeypatch):
    monkeypatch.setitem(registry, "mine", next(iter(registry.values())))
    assert getattr(TrialConfig(**{name: "mine"}), name) == "mine"


@pytest.mark.parametrize("name", ["criterion", "fisher"])
def test_an_unknown_name_is_answered_with_the_known_ones(name):
    known = CRITERIA if name == "criterion" else FISHERS
    with pytest.raises(ValueError, match=", ".join(known)):
        TrialConfig(**{name: "unheard-of"})


@pytest.mark.parametrize(
    "fields",
    [
        {"lam": 0, "seed": 0, "cooldown": 0, "l1": 0},
        {"epochs": 1, "capacity": 1, "batch_size": 3, "patience": 1},
        {"dropout": 0, "head_dropout": 0, "negative_slope": 1},
        {"targets": ()},
        {"targets": (100,)},
        {"max_parameters": 1, "max_flops": 1},
    ],
)
def test_the_ends_of_the_ranges_are_allowed(fields):
    config = TrialConfig(**fields)
    assert all(getattr(config, name) == value for name, value in fields.items())


@pytest.mark.parametrize(
    ("layers", "starting"), [((1,), (1, 1, 1)), ((2, 3), (2, 3, 3)), ((2, 1, 4), (2, 1, 4))]
)
def test_the_last_number_of_layers_holds_for_all_further_blocks(layers, starting):
    assert TrialConfig(layers=layers).start((3, 32, 32), 10) == NetworkSpec(layers=starting)


def test_a_preset_for_few_images_asks_for_no_more_than_before(make_data):
    own = TrialConfig(batch_size=8, score_samples=64, epochs=5, shift=1, cutout=4)
    small = Preset("mine", own, (), ()).for_data(make_data()).reference
    assert small == dataclasses.replace(own, batch_size=3, cutout=0)
    large = dataclasses.replace(own, batch_size=512, score_samples=512, epochs=300, shift=4)
    small = Preset("mine", large, (), ()).for_data(make_data()).reference
    assert (small.batch_size, small.score_samples, small.epochs, small.shift) == (128, 256, 90, 2)


@pytest.mark.parametrize(
    "name, value, expected",
    [
        *((name, 2.0, "a whole number") for name in ("epochs", "batch_size", "shift", "seed")),
        *(("score_samples", 8.5, "a whole number"), ("max_parameters", 9e4, "a whole number")),
        *(("tau", "2", "a finite number"), ("lam", None, "a finite number")),
        *((name, math.inf, "a finite number") for name in ("l1", "weight_decay", "tau", "fall")),
        *(("image_mean", (math.nan,), "finite numbers"), ("targets", (math.nan,), "finite")),
        *(("epochs", True, "a whole number"), ("cell", ["conv"], "a string")),
        *(("channels", 16, "a sequence"), ("expansions", "AddLayer", "a sequence")),
    ],
)
def test_values_of_another_type_are_named(name, value, expected):
    with pytest.raises(ValueError, match=f"^{name}: expected {expected}"):
        TrialConfig(**{name: value})


def test_numpys_numbers_are_numbers():
    config = TrialConfig(seed=np.int64(3), tau=np.float64(1.5), channels=np.array([8, 8]))
    assert json.loads(json.dumps(config.to_dict()))["seed"] == 3


@pytest.mark.parametrize("layers", [(), (0,), (1, 1, 1, 1), (11,)])
def test_impossible_layers_are_refused(layers):
    with pytest.raises(ValueError, match="layers: expected"):
        TrialConfig(layers=layers)
