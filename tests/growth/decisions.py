"""Candidates with given scores, and what a criterion is asked with."""

import torch

from secnn.growth.candidates import Candidate, propose, ratio, regularize
from secnn.growth.decision import Growth
from secnn.growth.expansion import AddChannels, AddLayer
from secnn.network.network import SECNN
from secnn.network.spec import NetworkSpec


def growth(candidates=(), current=1.0, epoch=12, expansions=(), seed=0, losses=None, spec=None):
    generator = torch.Generator().manual_seed(seed)
    losses = losses or [1.0] * epoch
    spec = spec or NetworkSpec()
    return Growth(losses, expansions, current, list(candidates), generator, 1000, spec)


def scored(expansion, score, current=1.0, added=100, lam=0.0):
    regularized = regularize(score, lam, added)
    return Candidate(expansion, added, score, regularized, ratio(regularized, current))


def candidates(layers, channels, current=1.0):
    """Candidates with these scores for blocks 0, 1, …; None where the block takes none."""
    made = [scored(AddLayer(b), s, current) for b, s in enumerate(layers) if s is not None]
    return made + [scored(AddChannels(b, 2), s, current) for b, s in enumerate(channels)]


def priced(gains, prices, margins=None, current=10.0):
    """Layers for blocks 0, 1, … with these gains η − η_c, Δp and half-widths of their interval, in
    a network of 1,000 parameters with η_c = `current`."""
    margins = margins or [0.0] * len(gains)
    return [
        Candidate(
            AddLayer(b),
            added_parameters=price,
            score=current + gain,
            regularized=current + gain,
            ratio=ratio(current + gain, current),
            gain=gain,
            gain_unbiased=gain,
            gain_low=gain - margin,
            gain_high=gain + margin,
            density=(gain / price) / (current / 1000),
        )
        for b, (gain, price, margin) in enumerate(zip(gains, prices, margins, strict=True))
    ]


def proposals(network=None):
    network = network or SECNN()
    return [Candidate(e, e.added_parameters(network)) for e in propose(network, 2)]
