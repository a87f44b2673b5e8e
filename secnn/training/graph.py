"""A training step recorded once and replayed: on a GPU one launch instead of some hundred."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

WARM_UP = 3
"""Steps of each shape before the recording, in which libraries choose their algorithms."""


class Graph(Protocol):
    """Something that can be recorded once and replayed."""

    def record(self, function: Callable[[], Tensor]) -> Tensor:
        """Record `function` without running it; the tensor that a replay writes its result to."""
        ...

    def replay(self) -> None:
        """Run what was recorded, on the same memory."""
        ...


class CudaGraph:
    """`torch.cuda.CUDAGraph`."""

    def record(self, function: Callable[[], Tensor]) -> Tensor:
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            return function()

    def replay(self) -> None:
        self.graph.replay()


class EagerGraph:
    """The same for any device, by calling the function again: the CPU twin of `CudaGraph`."""

    def record(self, function: Callable[[], Tensor]) -> Tensor:
        self.function, self.result = function, torch.zeros(2)
        return self.result

    def replay(self) -> None:
        self.result.copy_(self.function())


class ReplayedStep:
    """A training step that is recorded for each shape of batch, on buffers of its own.

    What the step reads from Python is frozen with the recording: the slopes of added layers, the
    network's shape. Where they change, make another. Recording costs `WARM_UP` ordinary steps a
    shape.

    Args:
        step: takes images and labels; returns a tensor of two sums (`secnn.training.epoch.Step`).
            Its optimizer must be capturable on a GPU.
        graph: makes a new `Graph`.
    """

    def __init__(
        self, step: Callable[[Tensor, Tensor], Tensor], graph: Callable[[], Graph]
    ) -> None:
        self.step, self.graph = step, graph
        self._seen: Counter[torch.Size] = Counter()
        self._recordings: dict[torch.Size, tuple[Graph, Tensor, Tensor, Tensor]] = {}
        self._stream: torch.cuda.Stream | None = None

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        shape = images.shape
        self._seen[shape] += 1
        if self._seen[shape] <= WARM_UP:
            return self._aside(images, labels)
        if shape not in self._recordings:
            self._recordings[shape] = self._record(images.clone(), labels.clone())
        graph, own_images, own_labels, sums = self._recordings[shape]
        own_images.copy_(images)
        own_labels.copy_(labels)
        graph.replay()
        return sums.clone()

    def _record(self, images: Tensor, labels: Tensor) -> tuple[Graph, Tensor, Tensor, Tensor]:
        graph = self.graph()
        return graph, images, labels, graph.record(lambda: self.step(images, labels))

    def _aside(self, images: Tensor, labels: Tensor) -> Tensor:
        """A step on a stream of its own, as CUDA wants it before a recording."""
        if images.device.type != "cuda":
            return self.step(images, labels)
        self._stream = self._stream or torch.cuda.Stream()
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            sums = self.step(images, labels)
        current.wait_stream(self._stream)
        return sums
