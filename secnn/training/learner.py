"""A network with its optimizer and its learning-rate schedule, on one device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

from secnn.data.dataset import ImageData
from secnn.kernels import resolve_kernel
from secnn.network.network import SECNN
from secnn.training.config import TrialConfig
from secnn.training.epoch import Metrics, evaluate, resolve_precision, train_epoch
from secnn.training.graph import CudaGraph, EagerGraph, Graph
from secnn.training.schedule import SCHEDULES, Rate


def place(network: SECNN, config: TrialConfig, device: torch.device) -> SECNN:
    """Move `network` to `device` and choose what computes it there."""
    network.kernel = resolve_kernel(config.kernel) if device.type == "cpu" else "reference"
    return network.to(device)


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
        self.graph: type[Graph] | None = None
        if config.kernel == "graph":
            self.graph = CudaGraph if device.type == "cuda" else EagerGraph
        self.optimizer = make_optimizer(self.network, config, recorded=self.graph is CudaGraph)
        self.schedule = SCHEDULES.find(config.schedule)(config, config.cooldown)

    @property
    def kernel(self) -> str:
        """What computes a training step: "fused", "reference" or "graph"."""
        return "graph" if self.graph else self.network.kernel

    def train(self, data: ImageData, rate: Rate) -> Metrics:
        """One epoch at the learning rate `rate`."""
        config = self.config
        return train_epoch(
            self.network,
            self.optimizer,
            data,
            config.batch_size,
            config.l1,
            self.precision,
            self.graph,
            label_smoothing=config.label_smoothing,
            shift=config.shift,
            rate=rate,
        )

    def validate(self, data: ImageData) -> Metrics:
        """Loss and accuracy on the validation images."""
        return evaluate(self.network, data.validation_images, data.validation_labels, data)

    def state(self) -> dict:
        """What the optimizer and the schedule remember; tensors are not copied."""
        names = {id(p): name for name, p in self.network.named_parameters()}
        return {
            "optimizer": {names[id(p)]: dict(s) for p, s in self.optimizer.state.items()},
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
    return kind(groups, lr=rate, capturable=recorded)


def _before_0_2(state: dict) -> dict:
    """The schedule's state in a file of version 0.1, which kept it in PyTorch's form."""
    halving = state["scheduler"]
    return {
        "scheduled": state["learning_rate"],
        "best": halving["best"],
        "waited": halving["num_bad_epochs"],
        "last_expansion": state["last_expansion"],
    }
