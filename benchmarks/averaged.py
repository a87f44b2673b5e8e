"""Whether averaged weights add to a rung that ends with a falling rate.

    python benchmarks/averaged.py DATASET [--seeds 0 1]

Trains a network of each cell for one rung of its preset, and prints its validation accuracy at the
end beside that of the same run's weights averaged over its last epochs (one value a step; batch
norms' statistics too), with the mean difference and its 95 % interval over seeds (Student's t).
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import pandas as pd
import torch
from accuracy import interval
from arms import RECIPE
from torch.optim.swa_utils import AveragedModel

from secnn import ImageData, Trial, TrialConfig, load_dataset
from secnn.kernels.memory import keep_freed_memory
from secnn.training.epoch import evaluate

EPOCHS = (1, 2, 4, 8)
"""How many of the last ones are averaged."""

ALONE = {"criterion": "never", **RECIPE}
SIZES = {
    "conv": TrialConfig(**ALONE, layers=(2, 2, 2), epochs=18),
    "separable": TrialConfig(
        **ALONE, cell="separable", channels=(16, 16, 32), layers=(3, 3, 3), epochs=15
    ),
}
"""A network of each cell's ladder, for as long as the preset's rungs are."""


def accuracies(config: TrialConfig, data: ImageData) -> dict[int, float]:
    """Validation accuracy (%) by the number of averaged epochs; 0: the weights as they end."""
    trial = Trial(config, data)
    network, averages = trial.network, {n: None for n in EPOCHS}

    def update(*_: object) -> None:
        for epochs in EPOCHS:
            if len(trial.records) >= config.epochs - epochs:
                averages[epochs] = averages[epochs] or AveragedModel(network, use_buffers=True)
                averages[epochs].update_parameters(network)

    trial.learner.optimizer.register_step_post_hook(update)
    while not trial.done:
        trial.step()
    images, labels = data.validation_images, data.validation_labels
    ends = {0: network} | {epochs: average.module for epochs, average in averages.items()}
    return {n: evaluate(end, images, labels, data).accuracy for n, end in ends.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1], metavar="SEED")
    asked = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    data = load_dataset(asked.dataset)
    print("| cell | n | last epochs averaged | accuracy | − as it ends |")
    print("|---|---|---|---|---|")
    for cell, config in SIZES.items():
        seeds = [accuracies(replace(config, seed=seed), data) for seed in asked.seeds]
        table = pd.DataFrame(seeds)
        for epochs in table:
            gains = (table[epochs] - table[0]).tolist() if epochs else []
            cells = [cell, str(len(table)), str(epochs or "none")]
            cells += [interval(table[epochs].tolist(), 2), interval(gains, 2)]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
