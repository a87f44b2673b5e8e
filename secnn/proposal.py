"""What the filters of new channels look for at first.

All proposals keep the function: the weights with which others read the new channels are noise of
1e-4. They differ in the channels' own filters, whose scale batch norm takes away, but not their
direction, nor how fast Adam turns it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input, conv2d_weight

from secnn.expansion import AddChannels, Expansion
from secnn.gradients import Recording, record
from secnn.network import SECNN, Layer

Filters = list[Tensor]
"""For each layer of the block the new filters over its old inputs, k×I×3×3."""


def noise(network: SECNN, expansion: AddChannels, recording: Recording, generator) -> None:
    """Gaussian noise of 1e-4 (arXiv:2401.05686, section 3.2): a single step of Adam, which moves a
    weight by about the learning rate of 2e-3, replaces such a filter by another."""
    return None


def random(network: SECNN, expansion: AddChannels, recording: Recording, generator) -> Filters:
    """Gaussian, with the mean norm of the layer's filters."""
    return [
        _as_long_as_others(
            torch.randn(expansion.channels, *layer.conv.weight.shape[1:], generator=generator),
            layer,
        )
        for layer in network.blocks[expansion.block].layers
    ]


def linear(network: SECNN, expansion: AddChannels, recording: Recording, generator) -> Filters:
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


def gradient(network: SECNN, expansion: AddChannels, recording: Recording, generator) -> Filters:
    """The filters that most raise the gradient of the weights that read them, activation and
    pooling included: from those of `linear`, `STEPS` steps of Adam up Σ_k log ‖∂L/∂Ω_k‖², the
    channels at unit variance. A sum of logarithms lets no filter live at another's expense."""
    del generator
    return [
        _as_long_as_others(_ascended(site, _leading(site, expansion.channels)), site.layer)
        for site in sites(network, expansion.block, recording)
    ]


Proposal = Callable[[SECNN, AddChannels, Recording, torch.Generator], Filters | None]

PROPOSALS: dict[str, Proposal] = {
    "noise": noise,
    "random": random,
    "linear": linear,
    "gradient": gradient,
}
"""name → function (network, expansion, recording of the scoring set, generator) → filters; None
stands for the expansion's own noise."""

BLIND = (noise, random)
"""Proposals that look at no images and are given no recording."""


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
        ValueError: `name` is not in `PROPOSALS`.
    """
    if name not in PROPOSALS:
        raise ValueError(f"proposal: expected one of {', '.join(PROPOSALS)}, got {name!r}")
    found: dict[Expansion, Filters | None] = dict.fromkeys(expansions)
    widening = [e for e in found if isinstance(e, AddChannels)]
    looks = widening and PROPOSALS[name] not in BLIND
    seen = record(network, images, labels) if looks else None
    for expansion in widening:
        generator = torch.Generator().manual_seed(seed)
        found[expansion] = PROPOSALS[name](network, expansion, seen, generator)
    return found


@dataclass(frozen=True)
class Reader:
    """A convolution that reads a channel.

    Attributes:
        pooling: the max-pooling between the two.
        side: its kernel size.
        delta: gradient of the loss for its output, N×O×H×W.
    """

    pooling: int
    side: int
    delta: Tensor

    def pool(self, x: Tensor) -> Tensor:
        """What it sees of the channels x."""
        return F.max_pool2d(x, self.pooling) if self.pooling > 1 else x

    def gradients(self, seen: Tensor) -> Tensor:
        """∂L/∂Ω, O×C×side×side, of its weights on what it sees, N×C×H×W."""
        shape = (self.delta.shape[1], seen.shape[1], self.side, self.side)
        return conv2d_weight(seen, shape, self.delta, padding=self.side // 2)


@dataclass(frozen=True)
class Site:
    """Where new channels would be: a layer, its input N×I×H×W, and who would read them."""

    layer: Layer
    x: Tensor
    readers: list[Reader]

    def activations(self, filters: Tensor) -> Tensor:
        """The channels of the filters, at unit variance before the activation."""
        z = F.conv2d(self.x, filters, padding=1)
        z = F.batch_norm(z, None, None, training=True, eps=self.layer.norm.eps)
        return F.leaky_relu(z, self.layer.slope)


def sites(network: SECNN, block: int, recording: Recording) -> Iterator[Site]:
    """The layers of a block, in order."""
    layers = network.blocks[block].layers
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        readers = [following.conv] if following is not None else network.consumers(block)
        found = [
            Reader(
                _pooling(network, conv, following is not None),
                conv.kernel_size[0],
                recording.gradients[conv],
            )
            for conv in readers
        ]
        yield Site(layer, recording.inputs[layer.conv], found)


def _pooling(network: SECNN, reader: nn.Conv2d, inside: bool) -> int:
    if inside:
        return 1
    return 2 * network.skip_pooling if reader is network.head.skip else 2


def _leading(site: Site, count: int) -> Tensor:
    """The `count` best filters by the linear theory, count×I×3×3."""
    x = site.x
    patches = F.unfold(x, 3, padding=1).view(len(x), -1, *x.shape[2:])
    whiten = _inverse_root(patches[:, :, ::2, ::2])
    raised = 0
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
    strength = sum(r.gradients(r.pool(active)).square().sum((0, 2, 3)) for r in site.readers)
    signs = torch.where(strength.view(2, -1)[0] >= strength.view(2, -1)[1], 1.0, -1.0)
    return filters * signs.to(filters).view(-1, 1, 1, 1)


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
    strength = sum(g.square().sum((0, 2, 3)) for g in found)
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
