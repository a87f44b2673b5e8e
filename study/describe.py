"""What a study's command asks for: the content of study.json, and how the terminal puts it."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from secnn.data.dataset import ImageData
from secnn.network.network import SECNN, count_flops
from secnn.store import checkpoint
from secnn.study import retrain
from secnn.study.grid import plan
from secnn.study.settings import option, reference
from secnn.training.config import TrialConfig
from secnn.training.presets import PRESETS

MOST_PARAMETERS = 10**9


def describe(asked: argparse.Namespace, data: ImageData) -> dict:
    """The content of study.json.

    Raises:
        ValueError: a setting is out of its range, does not fit the data, or forbids all growth.
    """
    preset = PRESETS[asked.preset].for_data(data)
    base = reference(asked, preset.reference)
    expect_room_to_grow(base, data)
    trials = plan(
        base,
        asked.num_samples,
        preset.taus if asked.tau is None else asked.tau,
        preset.lams if asked.lam is None else asked.lam,
        asked.sweep_samples,
        asked.criterion,
    )
    again = retrain.plan(trials, base) if asked.retrain else {}
    trials |= retrain.unresolved(trials, again)
    return {
        "format": 1,
        "preset": asked.preset,
        "dataset": {
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
        },
        "reference": {"criterion": base.criterion, "tau": base.tau, "lam": base.lam},
        "trials": {key: config.to_dict() for key, config in trials.items()},
        **({"retrain": again} if again else {}),
        "versions": checkpoint.versions(),
        "imports": [*dict.fromkeys(asked.imports)],
        "command": asked.command,
    }


def expect_room_to_grow(config: TrialConfig, data: ImageData) -> None:
    """Raise ValueError if the starting network does not fit the images, has more parameters than
    anybody trains, or is larger than the networks of the trial may become: it would never grow."""
    with torch.device("meta"):  # One that is too large shall not take the memory.
        network = SECNN(config.start(data.image_shape, data.classes))
        counts = {"max_parameters": network.n_parameters, "max_flops": count_flops(network)}
    if network.n_parameters > MOST_PARAMETERS:
        raise ValueError(
            f"channels: expected a network of at most {MOST_PARAMETERS:,} parameters to start "
            f"with, got one of {network.n_parameters:,}; use smaller --set channels"
        )
    for name, count in counts.items():
        most = getattr(config, name)
        if most is not None and most < count:
            raise ValueError(
                f"{option(name)}: expected at least {count}, the count of the network that trials "
                f"start with, got {most}; raise it, or start with fewer --set channels"
            )


def announce(study: dict, data: ImageData, out: Path) -> None:
    """Say what will run on what, and where to."""
    images = study["dataset"]["images"]
    print(
        f"{trials(len(study['trials']))} of preset {study['preset']} on {data.source}: "
        f"{images['train']} training, {images['validation']} validation and {images['test']} test "
        f"images, {data.classes} classes. Results: {out}"
    )
    print(_effort(study) + _reduced(study, data), flush=True)  # Ray may take a while to start.
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
