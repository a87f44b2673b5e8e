"""Is what a GPU computes what the CPU computes?"""

from __future__ import annotations

import copy
import dataclasses

import torch
from torch import Tensor

from secnn import PRESETS, SECNN, AddChannels, AddLayer, Trial, TrialConfig, score_candidates
from secnn.data.batches import normalize
from secnn.data.dataset import ImageData
from secnn.training.epoch import Step, train_epoch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
NAME = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "CPU (no GPU here)"
FISHERS = ("diagonal", "batch", "kfac", "exact")


def part_of(data: ImageData, count: int) -> ImageData:
    images, labels = data.train_images[:count], data.train_labels[:count]
    return dataclasses.replace(data, train_images=images, train_labels=labels)


def check(data: ImageData) -> None:
    data = part_of(data, 6_000)
    for preset in ("default", "conv"):
        short = {"epochs": 6, "rungs": 3, "last": 0.4, "warmup": 0.5, "targets": ()}
        config = dataclasses.replace(PRESETS[preset].reference, **short)
        against_cpu(preset, dataclasses.replace(config, precision="float32"), data)
        for precision in ("float32", "bfloat16"):
            interrupted(preset, dataclasses.replace(config, precision=precision), data)
        grown_and_scored(preset, config, data)


def against_cpu(preset: str, config: TrialConfig, data: ImageData) -> None:
    """The same trial on both: dropout aside, what differs is rounding, which training amplifies."""
    trials = {"CPU": Trial(config, data, "cpu"), str(DEVICE): Trial(config, data, DEVICE)}
    for name, trial in trials.items():
        while not trial.done:
            trial.step()
        losses = " ".join(f"{r.val_loss:.4f}" for r in trial.records)
        accuracies = " ".join(f"{r.val_accuracy:.1f}" for r in trial.records)
        print(f"{preset} on {name} ({trial.learner.kernel}): {losses} | {accuracies}")
        print(f"  {trial.network.spec.channels} {trial.network.spec.layers}", flush=True)


def interrupted(preset: str, config: TrialConfig, data: ImageData) -> None:
    """A trial restored from every second epoch against one that ran through."""
    whole, parts = Trial(config, data, DEVICE), Trial(config, data, DEVICE)
    while not whole.done:
        whole.step()
    while not parts.done:
        parts.step()
        content, parts = copy.deepcopy(parts.state()), Trial(config, data, DEVICE)
        parts.restore(content)
    pairs = zip(whole.network.parameters(), parts.network.parameters(), strict=True)
    furthest = max((a - b).abs().max().item() for a, b in pairs)
    print(f"{preset}, {config.precision}, resumed after each epoch: weights differ by {furthest:g}")


def grown_and_scored(preset: str, config: TrialConfig, data: ImageData) -> None:
    """Candidates' scores by every Fisher, and the logits after every expansion, by both."""
    torch.manual_seed(0)
    start = SECNN(config.start(data.image_shape, data.classes))
    optimizer = torch.optim.Adam(start.parameters(), 2e-3)
    train_epoch(Step(start, optimizer, 0.0), part_of(data, 2_000), 100)
    images, labels = normalize(data.train_images[:512], data), data.train_labels[:512]
    expansions = [kind(b) for kind in (AddLayer, lambda b: AddChannels(b, 8)) for b in range(3)]
    for fisher in FISHERS:
        found = []
        for device in ("cpu", DEVICE):
            given = images.to(device), labels.to(device), expansions
            network = copy.deepcopy(start).to(device)
            current, candidates = score_candidates(network, *given, fisher=fisher)
            found.append(torch.tensor([current, *(c.score for c in candidates)]).double())
        print(f"{preset}, scores, {fisher}: relative difference {relative(*found):.1e}")
    for expansion in expansions:
        grown = [after(start, expansion, images, d) for d in ("cpu", DEVICE)]
        print(f"{preset}, {expansion}: logits' relative difference {relative(*grown):.1e}")


def relative(expected: Tensor, found: Tensor) -> float:
    return ((found.cpu() - expected).norm() / expected.norm()).item()


@torch.no_grad()
def after(
    start: SECNN, expansion: AddLayer | AddChannels, images: Tensor, device: str | torch.device
) -> Tensor:
    """Logits of the network grown on a device."""
    network, generator = copy.deepcopy(start).to(device), torch.Generator().manual_seed(1)
    expansion.apply(network, None, images.to(device), generator)
    return network.eval()(images.to(device))
