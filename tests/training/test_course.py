"""How a trial will grow is known before it trains, where its criterion reads no score."""

import pytest

from secnn import PRESETS, NetworkSpec, Trial, TrialConfig
from secnn.training.course import course

RUNGS = {"schedule": "rungs", "rungs": 4, "epochs": 9, "last": 0.3}
SMALL = {"channels": (4,), "channel_steps": (2,), "max_parameters": 4000, "score_samples": 16}


@pytest.mark.parametrize(
    "settings",
    [
        {"criterion": "schedule", **RUNGS},
        {"criterion": "pyramid", "cell": "separable", "layers": (2,), **RUNGS},
        {"criterion": "balanced-pyramid", "tau": 1e-9, "channels": (4, 4), **RUNGS},
        {"criterion": "layers-first", **RUNGS},
        {"criterion": "channels-first", "epochs": 7, "cooldown": 1},
        {"criterion": "never", "epochs": 3},
        {"criterion": "natural", "tau": 0.1, "epochs": 3, "max_parameters": None},
    ],
    ids=lambda settings: settings["criterion"],
)
def test_a_trial_takes_the_course_that_was_told(settings, make_data):
    config, data = TrialConfig(**SMALL | settings), make_data()
    told = course(config, data.image_shape, data.classes)
    trial, shapes = Trial(config, data), []
    while not trial.done:
        shapes.append(trial.network.spec)
        trial.step()
    if settings["criterion"] == "natural":  # It may decline as well as not.
        assert told == [shapes[0]] * config.epochs
    else:
        assert told == shapes
        assert (len(set(told)) > 1) == (settings["criterion"] != "never")


@pytest.mark.parametrize("name, sizes", [("conv", 9), ("default", 17), ("paper", 1)])
def test_the_presets_courses(name, sizes):
    told = course(PRESETS[name].reference, (3, 32, 32), 10)
    assert len(told) == PRESETS[name].reference.epochs
    assert len(set(told)) == sizes
    assert all(isinstance(spec, NetworkSpec) for spec in told)
