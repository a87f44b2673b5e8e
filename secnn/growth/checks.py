"""Whether expansions do what they promise, whosever cell or kind of growth it is."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from secnn.growth.candidates import propose
from secnn.growth.expansion import Expansion, largest_logit_change
from secnn.network.network import SECNN


def check_growth(
    network: SECNN,
    images: Tensor,
    expansions: Sequence[Expansion] | None = None,
    tolerance: float = 0.1,
) -> list[str]:
    """What goes wrong when each of `expansions` is made on a copy of `network`, in words; nothing
    if all is well. For who writes a cell or a kind of growth.

    Looked at: Δp is what the expansion says; the optimizer (Adam, after a step) trains all that is
    there and nothing else; the network's shape is that of a new one of its spec; and the function
    is kept, in evaluation mode, and in training mode unless the network has dropout, as dropout
    would draw other numbers.

    Args:
        images: normalised images N×C×H×W, some dozens; in training mode one batch.
        expansions: as a rule a layer and 4 channels wherever they fit.
        tolerance: the most that a logit may move, over the logits' standard deviation. A kind that
            changes the function on purpose needs its own.
    """
    made = propose(network, 4) if expansions is None else expansions
    return [f"{e}: {fault}" for e in made for fault in _faults(network, e, images, tolerance)]


def _faults(network: SECNN, expansion: Expansion, images: Tensor, tolerance: float) -> list[str]:
    grown = copy.deepcopy(network)
    try:
        optimizer = _begun(grown, images)
        before, expected = copy.deepcopy(grown), grown.n_parameters
        expected += expansion.added_parameters(grown)
        expansion.apply(grown, optimizer, images, torch.Generator().manual_seed(0))
        expect_grown(grown, optimizer, expansion, expected)
        faults = _unlike(grown, SECNN(grown.spec)) + _moved(before, grown, images, tolerance)
    except Exception as error:  # What a plugin does can fail anywhere.
        return [f"{type(error).__name__}: {error}"]
    return faults


PASSES = 60
"""After so many the running statistics of batch norms are those of the batch, within 0.2 %."""


def _begun(network: SECNN, images: Tensor) -> Optimizer:
    """An optimizer that remembers a step, in which the weights stayed as they were; the network's
    running statistics are those of `images`, as they nearly are in training."""
    network.train()
    with torch.no_grad():
        for _ in range(PASSES):
            network(images)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.0)
    network(images).square().mean().backward()
    optimizer.step()
    return optimizer


@torch.no_grad()
def _moved(before: SECNN, grown: SECNN, images: Tensor, tolerance: float) -> list[str]:
    """The modes in which logits moved too far."""
    drops = grown.spec.dropout or grown.spec.head_dropout
    faults = []
    for mode, training in [("evaluation", False)] + [("training", True)] * (not drops):
        old, new = (network.train(training)(images) for network in (before, grown))
        change = largest_logit_change(old, new)
        if not change <= tolerance:
            faults.append(f"moves logits by {change:.3g} of their deviation, in {mode} mode")
    return faults


def _unlike(grown: SECNN, fresh: SECNN) -> list[str]:
    """In which tensors a grown network differs from a new one of its spec."""
    shapes, expected = _shapes(grown), _shapes(fresh)
    return [
        f"{name} is {shapes.get(name, 'missing')}, in a new network of that spec "
        f"{expected.get(name, 'missing')}"
        for name in sorted(shapes.keys() | expected.keys())
        if shapes.get(name) != expected.get(name)
    ]


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    state = network.state_dict()
    return {name: tuple(value.shape) for name, value in state.items() if torch.is_tensor(value)}


def expect_grown(network: SECNN, optimizer: Optimizer, expansion: Expansion, expected: int) -> None:
    """Raise ValueError unless `network`, to which `expansion` was applied, has `expected`
    parameters, and `optimizer` trains them and nothing else."""
    if network.n_parameters != expected:
        raise ValueError(
            f"{expansion}: expected a network of {expected:,} parameters, as its grown() says, got "
            f"{network.n_parameters:,}"
        )
    groups = optimizer.param_groups
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    named = {id(p): name for name, p in network.named_parameters() if p.requires_grad}
    if forgotten := [name for key, name in named.items() if key not in trained]:
        raise ValueError(
            f"{expansion}: the optimizer does not train {', '.join(forgotten[:3])}; give it new "
            "modules by surgery.hand_over, and new tensors by surgery.replace"
        )
    if gone := len(trained - {id(p) for p in network.parameters()}):
        raise ValueError(
            f"{expansion}: the optimizer still trains {gone} tensors that the network has no more; "
            "tell it what took their place by surgery.replace"
        )
