"""Training as a user would write it against this project's, on one core.

`python benchmarks/training_step.py DATASET [--rounds 5]`, with colour images of 32×32 in ten
classes, starts one process a measurement, in turn, and prints for each network the median seconds
per 1,000 training images, and the median and range of each variant's speed-up over the usual
pipeline of the same round.

usual         PIL images, torchvision transforms, DataLoader, NCHW, element-wise dropout, activation
              before pooling, concatenated skip, a Python loop over parameters for L1
usual+malloc  the same with `secnn.kernels.memory.keep_freed_memory`, as all the following have it
reference32   this project in plain PyTorch, float32
reference     this project in plain PyTorch, default precision (the fallback without a compiler)
fused32       the fused operator, float32
default       the fused operator, default precision: what a study runs
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from secnn import SECNN, NetworkSpec, TrialConfig, load_dataset
from secnn.data.dataset import ImageData
from secnn.kernels.memory import keep_freed_memory
from secnn.training.learner import Learner

NETWORKS = {
    "9k": NetworkSpec(),
    "41k": NetworkSpec(channels=(16, 28, 24), layers=(1, 1, 6)),
    "wide": NetworkSpec(channels=(32, 32, 32), layers=(2, 2, 2)),
}
BATCH, L1, RATE, STEPS = 512, 1e-5, 2e-3, 8


class UsualNetwork(nn.Module):
    """The network of arXiv:2401.05686, section 4, straight from its description."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.blocks, inputs = nn.ModuleList(), spec.input_channels
        for width, layers in zip(spec.channels, spec.layers, strict=True):
            parts = [nn.Conv2d(inputs, width, 3, padding=1), nn.Dropout(spec.dropout)]
            parts += [nn.BatchNorm2d(width), nn.LeakyReLU(spec.negative_slope)]
            for _ in range(layers - 1):
                parts += [nn.Conv2d(width, width, 3, padding=1, bias=False)]
                parts += [nn.BatchNorm2d(width), nn.LeakyReLU(spec.negative_slope)]
            self.blocks.append(nn.Sequential(*parts, nn.MaxPool2d(2)))
            inputs = width
        self.head = nn.Sequential(
            nn.Conv2d(inputs + spec.channels[0], spec.maps, 1),
            nn.LeakyReLU(spec.negative_slope),
            nn.Flatten(),
            nn.Linear(spec.maps * 16, spec.units),
            nn.BatchNorm1d(spec.units),
            nn.LeakyReLU(spec.negative_slope),
            nn.Dropout(spec.head_dropout),
            nn.BatchNorm1d(spec.units),
            nn.Linear(spec.units, spec.classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        skip = F.max_pool2d(outputs[0], 4)
        return self.head(torch.cat([x, skip], 1))


class Pictures(Dataset):
    """PIL images behind torchvision transforms, as `torchvision.datasets.CIFAR10` gives them."""

    def __init__(self, data: ImageData, shift: int = 0) -> None:
        self.arrays = data.train_images.permute(0, 2, 3, 1).numpy()
        self.labels = data.train_labels.tolist()
        moved = [transforms.RandomCrop(data.image_shape[1:], padding=shift)] if shift else []
        self.transform = transforms.Compose(
            [
                *moved,
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(data.mean, data.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.arrays[index])), self.labels[index]


def usual(
    data: ImageData, spec: NetworkSpec, batch: int = BATCH, shift: int = 0
) -> Callable[[], None]:
    """An epoch in the way of the tutorials, of images moved by up to `shift` pixels."""
    network = UsualNetwork(spec)
    assert sum(p.numel() for p in network.parameters()) == SECNN(spec).n_parameters
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    loader = DataLoader(Pictures(data, shift), batch_size=batch, shuffle=True)
    criterion = nn.CrossEntropyLoss()

    def epoch() -> None:
        network.train()
        for images, labels in loader:
            optimizer.zero_grad()
            logits = network(images)
            loss = criterion(logits, labels)
            penalty = 0.0
            for parameter in network.parameters():
                penalty = penalty + parameter.abs().sum()
            (loss + L1 * penalty).backward()
            optimizer.step()

    return epoch


def ours(kernel: str, precision: str) -> Callable[[ImageData, NetworkSpec], Callable[[], None]]:
    """An epoch as in a trial."""

    def make(data: ImageData, spec: NetworkSpec) -> Callable[[], None]:
        keep_freed_memory()
        config = TrialConfig(kernel=kernel, precision=precision)
        learner = Learner(SECNN(spec), config, torch.device("cpu"))
        return lambda: learner.train(data, lambda through: RATE)

    return make


def tuned_usual(data: ImageData, spec: NetworkSpec) -> Callable[[], None]:
    keep_freed_memory()
    return usual(data, spec)


VARIANTS: dict[str, Callable[[ImageData, NetworkSpec], Callable[[], None]]] = {
    "usual": usual,
    "usual+malloc": tuned_usual,
    "reference32": ours("reference", "float32"),
    "reference": ours("reference", "auto"),
    "fused32": ours("fused", "float32"),
    "default": ours("auto", "auto"),
}


def measure(dataset: str, variant: str, network: str) -> float:
    """Seconds per 1,000 images of the second epoch of `STEPS` batches; the first one warms up."""
    torch.set_num_threads(1)
    data = load_dataset(dataset)
    count = min(STEPS * BATCH, len(data.train_images))
    data = dataclasses.replace(
        data, train_images=data.train_images[:count], train_labels=data.train_labels[:count]
    )
    epoch = VARIANTS[variant](data, NETWORKS[network])
    epoch()
    started = time.perf_counter()
    epoch()
    return 1000 * (time.perf_counter() - started) / count


def measured_in_process(dataset: str, variant: str, network: str) -> float:
    """`measure` in a process of its own with one thread."""
    line = [sys.executable, __file__, dataset, "--one", variant, network]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return float(subprocess.run(line, env=environment, check=True, capture_output=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(measure(asked.dataset, *asked.one))
        return
    for network in asked.networks:
        rounds = [
            {v: measured_in_process(asked.dataset, v, network) for v in VARIANTS}
            for _ in range(asked.rounds)
        ]
        print(f"\n| {network} | s per 1,000 images | speed-up | range |\n|---|---|---|---|")
        for variant in VARIANTS:
            speed_ups = [r["usual"] / r[variant] for r in rounds]
            print(
                f"| {variant} | {statistics.median(r[variant] for r in rounds):.3f} | "
                f"{statistics.median(speed_ups):.1f} | {min(speed_ups):.1f}–{max(speed_ups):.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
