"""A network with its optimizer and its learning-rate schedule, on one device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from secnn.data.dataset import ImageData
from secnn.kernels import resolve_kernel
from secnn.network.network import SECNN
from secnn.training.config import TrialConfig
from secnn.training.epoch import Metrics, Step, evaluate, resolve_precision, train_epoch
from secnn.training.graph import CudaGraph, EagerGraph, Graph, ReplayedStep
from secnn.training.schedule import SCHEDULES, Rate


def place(network: SECNN, config: TrialConfig, device: torch.device) -> SECNN:
    """Move `network` to `device` and choose what computes it there."""
    network.kernel = resolve_kernel(config.kernel, device.type)
    return network.to(device)


def normalised(data: ImageData, config: TrialConfig) -> ImageData:
    """The same images, normalised by what `config` says.

    Raises:
        ValueError: it does not give one number a channel.
    """
    given = {}
    for name, numbers in (("mean", config.image_mean), ("std", config.image_std)):
        if numbers is None:
            continue
        if len(numbers) != data.image_shape[0]:
            raise ValueError(
                f"image_{name}: expected {data.image_shape[0]} numbers, one a channel of the "
                f"images, got {len(numbers)}; give as many, or none for the images' own"
            )
        given[name] = np.array(numbers)
    return ImageData.from_arrays(data.arrays() | given) if given else data


def choose_graph(kernel: str, device: torch.device) -> type[Graph] | None:
    """What records training steps for a trial's `kernel`, if anything does."""
    if kernel == "graph" or (kernel == "auto" and device.type == "cuda"):
        return CudaGraph if device.type == "cuda" else EagerGraph
    return None


class Learner:
    """What is trained, and what trains it.

    Attributes:
        network, optimizer: expansions grow them in place.
        schedule: the learning rate, and when the criterion is asked.
        precision: "float32" or "bfloat16", of training.
    """

    def __init__(self, network: SECNN, config: TrialConfig, device: torch.device) -> None:
        self.config = config
        self.network = place(network, config, device)
        self.precision = resolve_precision(config.precision, device)
        self.graph = choose_graph(config.kernel, device)
        self.optimizer = make_optimizer(self.network, config, recorded=self.graph is CudaGraph)
        self.schedule = SCHEDULES.find(config.schedule)(config, config.cooldown)
        self._recorded: tuple[object, Step, ReplayedStep] | None = None

    @property
    def kernel(self) -> str:
        """What computes a training step: "fused", "reference" or "graph"."""
        return "graph" if self.graph else self.network.kernel

    def train(self, data: ImageData, rate: Rate) -> Metrics:
        """One epoch at the learning rate `rate`."""
        config = self.config
        step, run = self._step()
        return train_epoch(
            step,
            data,
            config.batch_size,
            shift=config.shift,
            cutout=config.cutout if self.network.n_parameters >= config.cutout_from else 0,
            full=config.batches == "full",
            rate=rate,
            run=run,
        )

    def _step(self) -> tuple[Step, ReplayedStep | None]:
        """A training step, and its recording, which is kept while nothing that it froze changes:
        the network's shape, and what of its state is no tensor."""
        config = self.config
        given = self.network, self.optimizer, config.l1, self.precision, config.label_smoothing
        if self.graph is None:
            return Step(*given), None
        state = self.network.state_dict()
        frozen = self.network.spec, {k: v for k, v in state.items() if not torch.is_tensor(v)}
        if self._recorded is None or self._recorded[0] != frozen:
            step = Step(*given)
            self._recorded = frozen, step, ReplayedStep(step, self.graph)
        return self._recorded[1:]

    def validate(self, data: ImageData) -> Metrics:
        """Loss and accuracy on the validation images."""
        images, labels = data.validation_images, data.validation_labels
        if self.config.batches == "full" and len(images) >= self.config.batch_size:
            kept = len(images) - len(images) % self.config.batch_size
            images, labels = images[:kept], labels[:kept]
        return evaluate(self.network, images, labels, data)

    def state(self) -> dict:
        """A copy of what the optimizer and the schedule remember."""
        names = {id(p): name for name, p in self.network.named_parameters()}
        return {
            "optimizer": {names[id(p)]: copied(s) for p, s in self.optimizer.state.items()},
            "schedule": self.schedule.state(),
        }

    def restore(self, state: dict) -> None:
        """The inverse of `state`, for the same network."""
        for name, parameter in self.network.named_parameters():
            if name in state["optimizer"]:
                memory = self._like(parameter, state["optimizer"][name])
                self.optimizer.state[parameter] = memory
        self.schedule.restore(state["schedule"] if "schedule" in state else _before_0_2(state))

    def _like(self, parameter: Tensor, memory: dict) -> dict:
        """A copy of optimizer state with the parameter's device and layout; step counts stay on the
        CPU unless they are recorded."""
        counts = parameter.device if self.optimizer.defaults["capturable"] else None
        return {
            k: torch.empty_like(parameter).copy_(v)
            if v.shape == parameter.shape
            else v.to(counts, copy=True)
            for k, v in memory.items()
        }


def copied(memory: dict) -> dict:
    """An optimizer's memory of one parameter, to which its next steps do nothing."""
    return {k: v.clone() if torch.is_tensor(v) else v for k, v in memory.items()}


def make_optimizer(network: SECNN, config: TrialConfig, recorded: bool = False) -> Optimizer:
    """Adam, or AdamW: weights in one group, and biases and batch norms, which do not decay, in
    another. A recorded step holds the rate and the step counts, which then are on the GPU."""
    named = list(network.named_parameters())
    weights = [p for _, p in named if p.dim() > 1]
    others = [p for _, p in named if p.dim() <= 1]
    groups = [
        {"params": weights, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    rate: float | Tensor = config.learning_rate
    if recorded:
        rate = torch.tensor(rate, device=named[0][1].device)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate, capturable=recorded, fused=recorded or None)


def _before_0_2(state: dict) -> dict:
    """The schedule's state in a file of version 0.1, which kept it in PyTorch's form."""
    halving = state["scheduler"]
    return {
        "scheduled": state["learning_rate"],
        "best": halving["best"],
        "waited": halving["num_bad_epochs"],
        "last_expansion": state["last_expansion"],
    }
