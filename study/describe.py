"""What a study's command asks for: the content of study.json, and how the terminal puts it."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from secnn.data.dataset import ImageData
from secnn.files import as_text
from secnn.growth.consideration import affordable, can_grow, channel_step, grows
from secnn.growth.criterion import criterion_of
from secnn.growth.proposal import expect_sites
from secnn.network.network import SECNN, count_flops, outline
from secnn.store import checkpoint
from secnn.study import retrain
from secnn.study.grid import plan
from secnn.study.settings import option, reference
from secnn.training.config import TrialConfig
from secnn.training.learner import normalised
from secnn.training.presets import PRESETS

MOST_PARAMETERS = 10**9
MOST_BLOCKS = 50
MOST = {"channels": 10**7, "layers": 10**3, "channel_steps": 10**6}
"""Setting → the largest number in it that anybody could mean."""


def describe(asked: argparse.Namespace, data: ImageData) -> dict:
    """The content of study.json.

    Raises:
        ValueError: a setting is out of its range, does not fit the data, or forbids all growth.
    """
    preset = PRESETS[asked.preset].for_data(data)
    base = reference(asked, preset.reference)
    expect_fit(base, data)
    expect_room_to_grow(base, data)
    trials = plan(
        base,
        asked.num_samples,
        preset.taus if asked.tau is None else asked.tau,
        preset.lams if asked.lam is None else asked.lam,
        asked.sweep_samples,
        asked.criterion,
    )
    for config in trials.values():
        criterion_of(config)
    again = retrain.plan(trials, base) if asked.retrain else {}
    trials |= retrain.unresolved(trials, again)
    return {
        "format": 1,
        "preset": asked.preset,
        "dataset": dataset_of(data),
        "reference": {"criterion": base.criterion, "tau": base.tau, "lam": base.lam},
        "trials": {key: config.to_dict() for key, config in trials.items()},
        **({"retrain": again} if again else {}),
        "versions": checkpoint.versions(),
        "imports": [*dict.fromkeys(asked.imports)],
        "command": as_text(asked.command),
    }


def dataset_of(data: ImageData) -> dict:
    """What study.json tells of the images."""
    return {
        "name": data.name,
        "source": data.source,
        "notice": data.notice,
        "validation": data.validation,
        "classes": data.classes,
        "class_names": list(data.class_names),
        "flip": data.flip,
        "image_shape": list(data.image_shape),
        "fingerprint": data.fingerprint,
        "images": {
            "train": len(data.train_images),
            "validation": len(data.validation_images),
            "test": len(data.test_images),
        },
    }


def expect_fit(config: TrialConfig, data: ImageData) -> None:
    """Raise ValueError if a setting is not one for such images: told before a trial starts."""
    normalised(data, config)
    side = min(data.image_shape[1:])
    for name in ("shift", "cutout"):
        if (pixels := getattr(config, name)) >= side:
            expected = f"expected fewer pixels than the {side} of an image's side"
            raise ValueError(f"{name}: {expected}, got {pixels:,}")


def expect_room_to_grow(config: TrialConfig, data: ImageData) -> None:
    """Raise ValueError if the starting network does not fit the images, has more parameters than
    anybody trains, or is as large as the networks of the trial may become: it would never grow."""
    for name, most in MOST.items():
        values = getattr(config, name)
        if len(values) > MOST_BLOCKS or max(values) > most:
            raise ValueError(
                f"{name}: expected at most {MOST_BLOCKS} numbers of at most {most:,}, got "
                f"{len(values)} of at most {max(values):,}"
            )
    network = started(config, data)
    if network is None or network.n_parameters > MOST_PARAMETERS:
        count = "more" if network is None else f"one of {network.n_parameters:,}"
        raise ValueError(
            f"channels: expected a network of at most {MOST_PARAMETERS:,} parameters to start "
            f"with, got {count}; use smaller --set channels and layers"
        )
    for name, there in (
        ("max_parameters", network.n_parameters),
        ("max_flops", count_flops(network)),
    ):
        most = getattr(config, name)
        if most is not None and most < there:
            raise ValueError(
                f"{option(name)}: expected at least {there}, the count of the network that trials "
                f"start with, got {most}; raise it, start with fewer --set channels, or make the "
                "images smaller with --resize"
            )
    if grows(config) and not can_grow(network, config, []):
        raise ValueError(_nothing_fits(config, network))
    if grows(config):
        expect_sites(network, config.proposal)


def started(config: TrialConfig, data: ImageData) -> SECNN | None:
    """The starting network without its numbers; None if it would have more than PyTorch can
    count."""
    spec = config.start(data.image_shape, data.classes)
    try:
        return outline(spec)
    except RuntimeError:  # An overflow: the sizes are those of a checked spec.
        return None


def _nothing_fits(config: TrialConfig, network: SECNN) -> str:
    """Why no expansion fits, and what to do."""
    free = dataclasses.replace(config, max_parameters=None, max_flops=None)
    step = channel_step(config, [])
    could = affordable(network, free, step)
    if not could:
        return (
            f"expansions: none of {', '.join(config.expansions)} fits the network that trials "
            "start with, which never grows; raise --set capacity, or add kinds of expansions"
        )
    added = [e.added_parameters(network) for e in could]
    return (
        f"{_budgets(config)}: no expansion fits, so that trials would never grow: they start with "
        f"{network.n_parameters:,} parameters, and the smallest expansion adds {min(added):,}; "
        "raise the budget, or start with fewer --set channels"
    )


def _budgets(config: TrialConfig) -> str:
    given = {name: getattr(config, name) for name in ("max_parameters", "max_flops")}
    return " ".join(f"{option(name)} {most}" for name, most in given.items() if most is not None)


def announce(study: dict, data: ImageData, out: Path) -> None:
    """Say what will run on what, and where to."""
    images = study["dataset"]["images"]
    print(
        f"{trials(len(study['trials']))} of preset {study['preset']} on {data.source}: "
        f"{images['train']:,} training, {images['validation']:,} validation and "
        f"{images['test']:,} test images, {data.classes} classes. Results: {out}"
    )
    print(_effort(study) + _reduced(study, data))
    print(_growth(study, data), flush=True)  # Ray may take a while to start.
    if data.flip:
        print("Training mirrors images at random; --no-flip turns that off.")
    if data.validation == "test":
        print("NOTE: validation is the test set (the paper's protocol).")
    if data.notice:
        print("\n".join(["", "!" * 80, data.notice, "!" * 80, ""]))


def trials(count: int) -> str:
    """`1 trial`, `2 trials`."""
    return f"{count} trial{'s' * (count != 1)}"


def _effort(study: dict) -> str:
    """Trials × epochs; what FLOPs pay for is known once the source trials are done."""
    paid = sum(about["budget"] == "flops" for about in study.get("retrain", {}).values())
    later = f", and {paid} more for as many FLOPs" if paid else ""
    return f"{trials(len(study['trials']) - paid)} × {_reference(study)['epochs']} epochs{later}."


def _growth(study: dict, data: ImageData) -> str:
    """From how many parameters the reference's networks grow, and to how many at most."""
    config = TrialConfig.from_dict(_reference(study))
    network = started(config, data)
    assert network is not None, "expect_room_to_grow has seen to it"
    start = f"{network.n_parameters:,} parameters"
    if not grows(config):
        return f"Networks have {start}; {config.criterion} does not grow them."
    if config.schedule == "rungs" and min(config.rungs, config.epochs) == 1:
        return f"Networks have {start}; in one rung they do not grow."
    flops = f"{config.max_flops:,} FLOPs an image" if config.max_flops else ""
    most = f"{config.max_parameters:,} parameters" if config.max_parameters else ""
    bounds = " and ".join(bound for bound in (most, flops) if bound)
    if not flops and most:
        return f"Networks grow from {network.n_parameters:,} to at most {most}."
    return f"Networks grow from {start}" + (f" to at most {bounds}." if bounds else ".")


def _reduced(study: dict, data: ImageData) -> str:
    """The settings that are not the preset's because the data is small, and how to have those."""
    preset = PRESETS[study["preset"]]
    usual, small = preset.reference.to_dict(), preset.for_data(data).reference.to_dict()
    taken = _reference(study)
    changed = [name for name in small if usual[name] != small[name] == taken[name]]
    if not changed:
        return ""
    now = ", ".join(f"{name} {small[name]} instead of {usual[name]}" for name in changed)
    epochs = f" --epochs {usual['epochs']}" * ("epochs" in changed)
    others = [f"{name}={usual[name]}" for name in changed if name != "epochs"]
    back = epochs + f" --set {' '.join(others)}" * bool(others)
    return f" As there are few images, {now}; for the preset's own add{back}"


def _reference(study: dict) -> dict:
    """The settings of the first trial, which is one of the reference's."""
    return next(iter(study["trials"].values()))
