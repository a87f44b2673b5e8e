"""A network with its optimizer and its learning-rate schedule, on one device."""

from __future__ import annotations

import torch
from torch import Tensor

from secnn.data.dataset import ImageData
from secnn.kernels import resolve_kernel
from secnn.network.network import SECNN
from secnn.training.config import TrialConfig
from secnn.training.epoch import Metrics, evaluate, plateau, resolve_precision, train_epoch
from secnn.training.graph import CudaGraph, EagerGraph


def place(network: SECNN, config: TrialConfig, device: torch.device) -> SECNN:
    """Move `network` to `device` and choose what computes it there."""
    network.kernel = resolve_kernel(config.kernel) if device.type == "cpu" else "reference"
    return network.to(device)


class Learner:
    """What is trained, and what trains it: Adam, and halving at a plateau.

    Attributes:
        network, optimizer, scheduler: expansions grow the first two in place.
        precision: "float32" or "bfloat16", of training.
    """

    def __init__(self, network: SECNN, config: TrialConfig, device: torch.device) -> None:
        self.config = config
        self.network = place(network, config, device)
        self.precision = resolve_precision(config.precision, device)
        self.graph = None
        if config.kernel == "graph":
            self.graph = CudaGraph if device.type == "cuda" else EagerGraph
        self.optimizer = torch.optim.Adam(
            self.network.parameters(),
            lr=config.learning_rate,
            # A recording holds the step counts too, which must then be on the GPU.
            capturable=self.graph is CudaGraph,
        )
        self.scheduler = plateau(self.optimizer, config.patience)

    @property
    def kernel(self) -> str:
        """What computes a training step: "fused", "reference" or "graph"."""
        return "graph" if self.graph else self.network.kernel

    @property
    def learning_rate(self) -> float:
        """Adam's, now."""
        return self.optimizer.param_groups[0]["lr"]

    def train(self, data: ImageData, rate: float | None = None) -> Metrics:
        """One epoch, at learning rate `rate` if it is given instead of the schedule's."""
        config, scheduled = self.config, self.learning_rate
        self.optimizer.param_groups[0]["lr"] = scheduled if rate is None else rate
        trained = train_epoch(
            self.network,
            self.optimizer,
            data,
            config.batch_size,
            config.l1,
            self.precision,
            self.graph,
        )
        self.optimizer.param_groups[0]["lr"] = scheduled
        return trained

    def validate(self, data: ImageData) -> Metrics:
        """Loss and accuracy on the validation images."""
        return evaluate(self.network, data.validation_images, data.validation_labels, data)

    def state(self) -> dict:
        """What the optimizer and the schedule remember; tensors are not copied."""
        names = {id(p): name for name, p in self.network.named_parameters()}
        return {
            "optimizer": {names[id(p)]: dict(s) for p, s in self.optimizer.state.items()},
            "learning_rate": self.learning_rate,
            "scheduler": self.scheduler.state_dict(),
        }

    def restore(self, state: dict) -> None:
        """The inverse of `state`, for the same network."""
        for name, parameter in self.network.named_parameters():
            if name in state["optimizer"]:
                memory = self._like(parameter, state["optimizer"][name])
                self.optimizer.state[parameter] = memory
        self.optimizer.param_groups[0]["lr"] = state["learning_rate"]
        self.scheduler.load_state_dict(state["scheduler"])

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
