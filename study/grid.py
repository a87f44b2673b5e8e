"""Seeds, sweeps and controls as trial configurations with stable keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from secnn.growth.criterion import THRESHOLDS
from secnn.training.config import TrialConfig


def trial_key(config: TrialConfig) -> str:
    """The trial's name within a study, for example `criterion=natural,tau=2,lam=0,seed=0`; τ and λ
    only for the criteria that read scores."""
    parts = [f"criterion={config.criterion}"]
    if config.criterion in THRESHOLDS:
        parts += [f"tau={config.tau:.12g}", f"lam={config.lam:.12g}"]
    return ",".join([*parts, f"seed={config.seed}"])


def plan(
    reference: TrialConfig,
    samples: int,
    taus: Sequence[float],
    lams: Sequence[float],
    sweep_samples: int,
    controls: Sequence[str],
) -> dict[str, TrialConfig]:
    """Key → configuration of every trial of a study.

    `samples` seeds, counted from the reference's own, at the reference; around it each of `taus`
    and each of `lams` with `sweep_samples` seeds; each of the criteria `controls`, at its own τ of
    `THRESHOLDS`, with `samples` seeds. A trial that is asked for twice runs once.
    """
    varied = [
        *(replace(reference, tau=tau) for tau in taus),
        *(replace(reference, lam=lam) for lam in lams),
    ]
    # A criterion that reads neither τ nor λ decides the same all along a sweep, and has one key.
    own = trial_key(reference)
    told_apart = [c for c in varied if c == reference or trial_key(c) != own]
    settings = [
        (reference, samples),
        *((config, sweep_samples) for config in told_apart),
        *((_control(reference, name), samples) for name in controls),
    ]
    trials = [
        replace(config, seed=reference.seed + i) for config, count in settings for i in range(count)
    ]
    return {trial_key(config): config for config in trials}


def _control(reference: TrialConfig, criterion: str) -> TrialConfig:
    if criterion == reference.criterion:
        return reference
    return replace(reference, criterion=criterion, tau=THRESHOLDS.get(criterion, reference.tau))
