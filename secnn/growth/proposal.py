"""What the filters of new channels look for at first.

All proposals keep the function: the weights with which others read the new channels are noise of
1e-4. They differ in the channels' own filters, whose scale batch norm takes away, but not their
direction, nor how fast Adam turns it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

from secnn.growth.expansion import AddChannels, Expansion
from secnn.network.cell import Block
from secnn.network.conv.layer import Layer
from secnn.network.conv.sites import Site
from secnn.network.network import SECNN
from secnn.registry import Registry
from secnn.score.gradients import Recording, record

Filters = list[Tensor]
"""For each site of the block the new filters over its old inputs, k×I×3×3."""

Proposal = Callable[[SECNN, AddChannels, Recording, torch.Generator], Filters | None]


def noise(
    network: SECNN, expansion: AddChannels, recording: Recording, generator: torch.Generator
) -> None:
    """Gaussian noise of 1e-4 (arXiv:2401.05686, section 3.2): a single step of Adam, which moves a
    weight by about the learning rate of 2e-3, replaces such a filter by another."""
    return None


def random(
    network: SECNN, expansion: AddChannels, recording: Recording, generator: torch.Generator
) -> Filters:
    """Gaussian, with the mean norm of the layer's filters."""
    return [
        _as_long_as_others(
            torch.randn(expansion.channels, *site.layer.conv.weight.shape[1:], generator=generator),
            site.layer,
        )
        for site in sites(network, expansion.block, recording)
    ]


def linear(
    network: SECNN, expansion: AddChannels, recording: Recording, generator: torch.Generator
) -> Filters:
    """The filters that most raise the gradient of the weights that read them, if the activation is
    taken as linear (GradMax, arXiv:2201.05125; TINY, arXiv:2405.19816, which also takes from δ
    what the weights that are there could do themselves: here that stays).

    With P(x) the patches that a filter w sees, averaged over the pooling window up to a reader, and
    δ the gradient of the loss for the reader's output, the gradient of the weights Ω with which the
    reader would take up the channel is ∂L/∂Ω = M·w, M = Σ δ ⊗ P(x). The filters are the directions
    of largest ‖Mw‖ at unit variance of the channel: w = Σ^(−½)·v with the top eigenvectors v of
    Σ^(−½)MᵀMΣ^(−½), Σ the patches' covariance, M stacked over the readers. Of w and −w, which only
    the activation tells apart, the one with the larger ‖∂L/∂Ω‖ is taken. Scaled as in `random`.
    """
    del generator
    return [
        _as_long_as_others(_turned(site, _leading(site, expansion.channels)), site.layer)
        for site in sites(network, expansion.block, recording)
    ]


def gradient(
    network: SECNN, expansion: AddChannels, recording: Recording, generator: torch.Generator
) -> Filters:
    """The filters that most raise the gradient of the weights that read them, activation and
    pooling included: from those of `linear`, `STEPS` steps of Adam up Σ_k log ‖∂L/∂Ω_k‖², the
    channels at unit variance. A sum of logarithms lets no filter live at another's expense."""
    del generator
    return [
        _as_long_as_others(_ascended(site, _leading(site, expansion.channels)), site.layer)
        for site in sites(network, expansion.block, recording)
    ]


PROPOSALS: Registry[Proposal] = Registry(
    "proposal", noise=noise, random=random, linear=linear, gradient=gradient
)
"""name → function (network, expansion, recording of the scoring set, generator) → filters; None
stands for the expansion's own noise."""


def propose_filters(
    name: str,
    network: SECNN,
    expansions: Iterable[Expansion],
    images: Tensor,
    labels: Tensor,
    seed: int,
) -> dict[Expansion, Filters | None]:
    """For each expansion the filters of the named proposal, which depend on nothing but the
    arguments; None for one that adds no channels (an added layer starts as the identity).

    Raises:
        ValueError: `name` is not in `PROPOSALS`, or is not for networks of this cell.
    """
    propose = PROPOSALS.find(name)
    found: dict[Expansion, Filters | None] = dict.fromkeys(expansions)
    widening = [e for e in found if isinstance(e, AddChannels)]
    if not widening or propose is noise:
        return found
    seen = record(network, images, labels)
    for expansion in widening:
        generator = torch.Generator().manual_seed(seed)
        found[expansion] = propose(network, expansion, seen, generator)
    return found


def expect_sites(network: SECNN, proposal: str) -> None:
    """Raise ValueError if `proposal` is one of the above that need sites, and the network's cell
    has none: told before a trial starts."""
    kinds = {type(block) for block in network.blocks}
    if PROPOSALS.find(proposal) in (random, linear, gradient) and any(
        kind.sites is Block.sites for kind in kinds
    ):
        raise ValueError(
            f"proposal: expected noise, as the cell {network.spec.cell} takes no proposed filters, "
            f"got {proposal}"
        )


def sites(network: SECNN, block: int, recording: Recording) -> Iterable[Site]:
    """Where new channels of a block would be, in order."""
    return network.block(block).sites(network, block, recording)


def _leading(site: Site, count: int) -> Tensor:
    """The `count` best filters by the linear theory, count×I×3×3."""
    x = site.x
    patches = F.unfold(x, 3, padding=1).view(len(x), -1, *x.shape[2:])
    whiten = _inverse_root(patches[:, :, ::2, ::2])
    raised = torch.zeros_like(whiten)
    for reader in site.readers:
        pooled = F.avg_pool2d(patches, reader.pooling) if reader.pooling > 1 else patches
        rows = reader.gradients(pooled).transpose(0, 1).flatten(1).double()
        raised = raised + rows @ rows.T
    directions = torch.linalg.eigh(whiten @ raised @ whiten).eigenvectors.flip(1)
    # More channels than directions: the rest repeats them.
    best = directions[:, torch.arange(count) % directions.shape[1]]
    return (whiten @ best).T.to(x.dtype).reshape(count, x.shape[1], 3, 3)


RIDGE = 0.01
"""Of the mean variance, added to the patches' covariance: directions that hardly occur in the
images are not blown up."""


def _inverse_root(patches: Tensor) -> Tensor:
    """Σ^(−½) of patches N×D×H×W, in double precision."""
    rows = patches.transpose(0, 1).flatten(1)
    values, vectors = torch.linalg.eigh(torch.cov(rows).double())
    values = values.clamp(min=0) + RIDGE * values.mean() + torch.finfo(values.dtype).tiny
    return (vectors * values.rsqrt()) @ vectors.T


def _turned(site: Site, filters: Tensor) -> Tensor:
    """Each filter or its negative, whichever gives its readers' weights the larger gradient."""
    active = site.activations(torch.cat([filters, -filters]))
    strength = _strength([r.gradients(r.pool(active)) for r in site.readers])
    signs = torch.where(strength.view(2, -1)[0] >= strength.view(2, -1)[1], 1.0, -1.0)
    return filters * signs.to(filters).view(-1, 1, 1, 1)


def _strength(gradients: list[Tensor]) -> Tensor:
    """‖∂L/∂Ω_k‖² of each channel k, over its readers."""
    return torch.stack([g.square().sum((0, 2, 3)) for g in gradients]).sum(0)


STEPS = 20


def _ascended(site: Site, filters: Tensor) -> Tensor:
    """The filters after `STEPS` steps of Adam up Σ_k log ‖∂L/∂Ω_k‖²."""
    with torch.enable_grad():
        filters = _turned(site, filters)
        filters = F.normalize(filters.flatten(1), dim=1).view_as(filters).requires_grad_()
        # A step turns a filter of D weights of about 1/√D by about a tenth of its length.
        optimizer = torch.optim.Adam([filters], lr=0.1 / filters[0].numel() ** 0.5)
        for _ in range(STEPS):
            active = site.activations(filters)
            seen = [reader.pool(active) for reader in site.readers]
            filters.grad = -torch.autograd.grad(seen, [filters], _uphill(site, seen))[0]
            optimizer.step()
    return filters.detach()


@torch.no_grad()
def _uphill(site: Site, seen: list[Tensor]) -> list[Tensor]:
    """The gradient of Σ_k log Σ_r ‖∂L/∂Ω_rk‖² for what each reader r sees."""
    found = [r.gradients(x) for r, x in zip(site.readers, seen, strict=True)]
    strength = _strength(found)
    scale = 2 / strength.clamp(min=torch.finfo(strength.dtype).tiny).view(1, -1, 1, 1)
    return [
        conv2d_input(x.shape, g * scale, r.delta, padding=r.side // 2)
        for r, x, g in zip(site.readers, seen, found, strict=True)
    ]


def _as_long_as_others(filters: Tensor, layer: Layer) -> Tensor:
    """Filters with the mean norm of the layer's own."""
    norms = layer.conv.weight.detach().flatten(1).norm(dim=1)
    own = filters.flatten(1).norm(dim=1).clamp(min=1e-30).view(-1, 1, 1, 1)
    return (filters / own).to(layer.conv.weight) * norms.mean()
