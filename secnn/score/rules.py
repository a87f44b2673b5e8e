"""Of which modules are per-sample gradients known, and of which not, and why?"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from secnn.score.parts import BatchNorm, Convolution, Linear, Part, trainable

Rule = Callable[..., Part]

RULES: dict[type, Rule] = {
    nn.Conv2d: Convolution.of,
    nn.Linear: Linear.of,
    nn.BatchNorm1d: BatchNorm.of,
    nn.BatchNorm2d: BatchNorm.of,
}
"""Module class → function (module, input, output gradient, kernel) → part.

An entry makes a module of your own known: `RULES[Scale] = scale`. The function gets the module, in
evaluation mode; the first argument of its only call, N×…; the gradient of each sample's own loss
for what it returned, N×…; and "fused" or "reference", which it may ignore. The `samples` of the
`secnn.score.parts.Part` that it returns hold the module's own parameters (not those of modules
inside it, which have rules of their own), by name, but for frozen ones. A subclass that keeps
`forward` goes by its parent's rule; one that does not needs an entry.
"""

BUILT_IN = tuple(RULES)


def rule(module: nn.Module) -> Rule | None:
    """What makes a part of the parameters of `module` itself; None if nothing is known of it."""
    found = kind(module)
    return None if found is None else RULES[found]


def kind(module: nn.Module) -> type | None:
    """The class whose rule is the module's."""
    found = next((k for k in type(module).__mro__ if k in RULES), None)
    return found if found is not None and _keeps_forward(module, found) else None


def _keeps_forward(module: nn.Module, parent: type) -> bool:
    names = [name for name in ("forward", "_conv_forward") if hasattr(parent, name)]
    own = (getattr(getattr(module, name), "__func__", None) for name in names)
    return all(f is getattr(parent, name) for f, name in zip(own, names, strict=True))


def owners(network: nn.Module) -> dict[str, nn.Module]:
    """Name → module, of the modules that have parameters of their own that are not frozen."""
    return {name: module for name, module in network.named_modules() if trainable(module)}


def describe(network: nn.Module, module: nn.Module) -> str:
    """All names of `module` in `network`, and its class."""
    found = network.named_modules(remove_duplicate=False)
    names = [f"network.{name}".rstrip(".") for name, other in found if other is module]
    return f"{' = '.join(names)} ({type(module).__name__})"


FREEZE = "freeze it (requires_grad_(False))"


def check(network: nn.Module) -> None:
    """Refuse what shows before anything has passed through.

    Raises:
        ValueError: nothing is known of a module with parameters that are not frozen, or of such a
            parameter; two modules share one; a batch norm has no running statistics; all
            parameters are frozen.
    """
    for module in network.modules():
        reason = _mixes(module) or (_unknown(module) if trainable(module) else "")
        if reason:
            raise ValueError(f"{describe(network, module)}: {reason}")
    _check_shared(network)


def _mixes(module: nn.Module) -> str:
    if not isinstance(module, _BatchNorm) or module.running_mean is not None:
        return ""
    return (
        "expected running statistics, without which each sample's output depends on the others; "
        "make it with track_running_stats=True"
    )


def _unknown(module: nn.Module) -> str:
    found, known = kind(module), ", ".join(k.__name__ for k in RULES)
    if found is None:
        return (
            f"per-sample gradients are known for {known}, and subclasses that keep their forward; "
            f"add a rule to secnn.score.gradients.RULES, or {FREEZE}"
        )
    others = trainable(module).keys() - {"weight", "bias"}
    if found in BUILT_IN and others:
        return (
            f"expected no parameters but weight and bias, got {', '.join(sorted(others))}; remove "
            f"the parametrisation, add a rule to secnn.score.gradients.RULES, or {FREEZE}"
        )
    return ""


def _check_shared(network: nn.Module) -> None:
    seen: dict[nn.Parameter, nn.Module] = {}
    for module in owners(network).values():
        for name, parameter in trainable(module).items():
            if parameter in seen:
                raise ValueError(
                    f"{describe(network, module)}: its {name} belongs to "
                    f"{describe(network, seen[parameter])} too; give it a copy, or {FREEZE}"
                )
            seen[parameter] = module
    if not seen:
        raise ValueError(
            "network: expected at least one parameter that requires a gradient, got none; "
            "unfreeze what shall be scored (requires_grad_(True))"
        )
