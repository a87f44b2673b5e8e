"""What do modules meet in a forward pass, and what does it send back to them?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from secnn.score.rules import BUILT_IN, FREEZE, describe, kind, owners, trainable

Tensors = dict[nn.Module, Tensor]


class Watch:
    """The modules that have parameters or are blocks of `network`, while `count` images pass.

    Modules with parameters that are not frozen are `owners`, of which nothing may be missed: what
    hooks cannot see, or would see wrongly, is refused. Of the others what can be seen is kept.
    """

    def __init__(self, network: nn.Module, count: int) -> None:
        self.network, self.count = network, count
        self.owners = list(owners(network).values())
        self.inputs: Tensors = {}
        self.outputs: Tensors = {}
        # Where in the graph the output's gradient arrives. An activation that works in place makes
        # of the output what it is after it; this stays what it was.
        self.edges: dict[nn.Module, GradientEdge] = {}
        # How often inputs and outputs had been changed in place.
        self.versions: dict[nn.Module, tuple[int, int]] = {}

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Watch what is called; then refuse what was not, or was changed.

        Raises:
            ValueError: see `secnn.score.gradients.record`.
        """
        blocks = getattr(self.network, "blocks", None)
        watched = {m for m in self.network.modules() if list(m.parameters(recurse=False))}
        watched.update(blocks if isinstance(blocks, nn.ModuleList) else ())
        # Before hooks that are there and may return something else.
        handles = [
            m.register_forward_hook(self._keep, prepend=True, with_kwargs=True) for m in watched
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        for module in self.owners:
            self._check_called(module)

    def gradients(self, loss: Tensor) -> Tensors:
        """∂loss/∂output of each module, zero where the loss does not depend on it.

        Raises:
            ValueError: the loss depends on a parameter by another way than its module's output.
        """
        found = torch.autograd.grad(loss, list(self.edges.values()), allow_unused=True)
        of = dict(zip(self.edges, found, strict=True))
        used = _uses(loss)
        for module in self.owners:
            self._check_used(module, used, int(of[module] is not None))
        return {m: torch.zeros_like(self.outputs[m]) if s is None else s for m, s in of.items()}

    def unchanged(self) -> tuple[Tensors, Tensors]:
        """Inputs and outputs, but for those that were changed in place afterwards."""
        met, sent = self.inputs.items(), self.outputs.items()
        return (
            {m: x for m, x in met if x._version == self.versions[m][0]},
            {m: y for m, y in sent if y._version == self.versions[m][1]},
        )

    def _keep(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> Any:
        x: Any = next(iter((*args, *kwargs.values())), None)
        if module in self.owners:
            self._check_call(module, x, output)
        elif not (isinstance(x, Tensor) and isinstance(output, Tensor)):
            return output
        if output._is_view():
            # A view that is changed in place leaves its old place in the graph to nobody.
            output = output.clone()
        self.inputs[module], self.outputs[module] = x.detach(), output.detach()
        self.versions[module] = x._version, output._version
        if output.requires_grad:
            self.edges[module] = get_gradient_edge(output)
        return output

    def _check_call(self, module: nn.Module, x: Any, output: Any) -> None:
        if module in self.inputs:
            self._refuse(
                module,
                f"expected one call in a forward pass, got two; use two modules, or {FREEZE}",
            )
        for name, value in (("input", x), ("output", output)):
            if not isinstance(value, Tensor) or value.shape[:1] != (self.count,):
                got = "×".join(map(str, getattr(value, "shape", ()))) or type(value).__name__
                self._refuse(
                    module,
                    f"expected its {name} to have a row an image, {self.count}×…, got {got}; keep "
                    f"the samples in the first dimension, or {FREEZE}",
                )
        if not output.requires_grad:
            self._refuse(
                module,
                "expected a call that records gradients, got one that does not (torch.no_grad or "
                "inference_mode, checkpoint with use_reentrant=True); let it record them, or "
                f"{FREEZE}",
            )

    def _check_called(self, module: nn.Module) -> None:
        if module not in self.inputs:
            self._refuse(
                module,
                f"expected one call in a forward pass, got none; call it, remove it, or {FREEZE}",
            )
        if self.inputs[module]._version != self.versions[module][0]:
            self._refuse(
                module,
                "expected what it read to stay as it was, but it was changed in place afterwards; "
                "use an operation that is not in place there (ReLU(inplace=False), x = x + y)",
            )

    def _check_used(self, module: nn.Module, used: Mapping[Tensor, int], expected: int) -> None:
        if kind(module) not in BUILT_IN:
            return  # What its forward does with its parameters is its rule's concern.
        for name, parameter in trainable(module).items():
            if used[parameter] != expected:
                self._refuse(
                    module,
                    f"expected its {name} to be used by its own call alone, but the loss depends "
                    f"on it in another way too; use parameters of its own there, or {FREEZE}",
                )

    def _refuse(self, module: nn.Module, reason: str) -> None:
        raise ValueError(f"{describe(self.network, module)}: {reason}")


def _uses(loss: Tensor) -> Counter[Tensor]:
    """How many operations in the graph of `loss` read each parameter."""
    found: Counter[Tensor] = Counter()
    seen: set[Node] = set()
    left: list[Any] = [loss.grad_fn]
    while left:
        for node, _ in left.pop().next_functions:
            if node is None:
                continue
            if node.name().endswith("AccumulateGrad"):
                found[node.variable] += 1
            elif node not in seen:
                seen.add(node)
                left.append(node)
    return found
