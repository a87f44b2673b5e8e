"""What the filters of new channels look for at first.

All proposals keep the function: the weights with which others read the new channels are noise of
1e-4. They differ in the channels' own filters, whose scale batch norm takes away, but not their
direction, nor how fast Adam turns it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

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
        )[:, : layer.conv.in_channels]
        for layer in network.blocks[expansion.block].layers
    ]


def gradient(network: SECNN, expansion: AddChannels, recording: Recording, generator) -> Filters:
    """The filters that most raise the gradient of the weights that read them.

    With P(x) the patches that a filter w sees, averaged over the pooling window up to a reader, and
    δ the gradient of the loss for the reader's output, the gradient of the weights Ω with which the
    reader would take up the channel is ∂L/∂Ω = M·w, M = Σ δ ⊗ P(x), if the activation is taken as
    linear. The filters are the directions of largest ‖Mw‖ at unit variance of the channel:
    w = Σ^(−½)·v with the top eigenvectors v of Σ^(−½)MᵀMΣ^(−½), Σ the patches' covariance, M
    stacked over the readers (GradMax, arXiv:2201.05125; TINY, arXiv:2405.19816). Of w and −w, which
    only the activation tells apart, the one with the larger ‖∂L/∂Ω‖ is taken. Scaled as in
    `random`.
    """
    del generator
    block = network.blocks[expansion.block]
    filters = []
    for i, layer in enumerate(block.layers):
        x = recording.inputs[layer.conv]
        readers = list(_readers(network, expansion.block, i, recording))
        found = _leading(x, readers, expansion.channels)
        filters.append(_as_long_as_others(_turned(found, x, layer, readers), layer))
    return filters


Proposal = Callable[[SECNN, AddChannels, Recording, torch.Generator], Filters | None]

PROPOSALS: dict[str, Proposal] = {"noise": noise, "random": random, "gradient": gradient}
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
        ValueError: `name` is not in `PROPOSALS`.
    """
    if name not in PROPOSALS:
        raise ValueError(f"proposal: expected one of {', '.join(PROPOSALS)}, got {name!r}")
    found: dict[Expansion, Filters | None] = dict.fromkeys(expansions)
    widening = [e for e in found if isinstance(e, AddChannels)]
    seen = record(network, images, labels) if name == "gradient" and widening else None
    for expansion in widening:
        generator = torch.Generator().manual_seed(seed)
        found[expansion] = PROPOSALS[name](network, expansion, seen, generator)
    return found


Reader = tuple[int, int, Tensor]
"""The pooling between a channel and its reader, the reader's kernel size, and δ, N×O×H×W."""


def _readers(network: SECNN, block: int, layer: int, recording: Recording) -> Iterator[Reader]:
    layers = network.blocks[block].layers
    if layer + 1 < len(layers):
        conv = layers[layer + 1].conv
        yield 1, conv.kernel_size[0], recording.gradients[conv]
        return
    for conv in network.consumers(block):
        pooling = 2 * network.skip_pooling if conv is network.head.skip else 2
        yield pooling, conv.kernel_size[0], recording.gradients[conv]


def _leading(x: Tensor, readers: list[Reader], count: int) -> Tensor:
    """The `count` best filters for input x, N×I×H×W, by the linear theory; count×I×3×3."""
    patches = F.unfold(x, 3, padding=1).view(len(x), -1, *x.shape[2:])
    whiten = _inverse_root(patches[:, :, ::2, ::2])
    raised = 0
    for pooling, side, delta in readers:
        pooled = F.avg_pool2d(patches, pooling) if pooling > 1 else patches
        shape = (delta.shape[1], patches.shape[1], side, side)
        gradients = conv2d_weight(pooled, shape, delta, padding=side // 2)
        rows = gradients.transpose(0, 1).flatten(1).double()
        raised = raised + rows @ rows.T
    directions = torch.linalg.eigh(whiten @ raised @ whiten).eigenvectors
    best = directions[:, -count:].flip(1)
    # More channels than directions: the rest repeats them.
    best = best[:, torch.arange(count) % best.shape[1]]
    return (whiten @ best).T.to(x.dtype).reshape(count, x.shape[1], 3, 3)


RIDGE = 0.01
"""Of the mean variance, added to the patches' covariance: directions that hardly occur in the
images are not blown up."""


def _inverse_root(patches: Tensor) -> Tensor:
    """Σ^(−½) of patches N×D×H×W, in double precision."""
    rows = patches.transpose(0, 1).flatten(1)
    covariance = torch.cov(rows).double().reshape(len(rows), len(rows))
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp(min=0) + RIDGE * values.mean() + torch.finfo(values.dtype).tiny
    return (vectors * values.rsqrt()) @ vectors.T


def _turned(filters: Tensor, x: Tensor, layer: Layer, readers: list[Reader]) -> Tensor:
    """Each filter or its negative, whichever gives its readers' weights the larger gradient."""
    both = F.conv2d(x, torch.cat([filters, -filters]), padding=1)
    variance, mean = torch.var_mean(both, (0, 2, 3), correction=0, keepdim=True)
    active = F.leaky_relu((both - mean) * (variance + layer.norm.eps).rsqrt(), layer.slope)
    strength = sum(_strength(active, *reader) for reader in readers).view(2, -1)
    signs = torch.where(strength[0] >= strength[1], 1.0, -1.0).to(filters)
    return filters * signs.view(-1, 1, 1, 1)


def _strength(active: Tensor, pooling: int, side: int, delta: Tensor) -> Tensor:
    """‖∂L/∂Ω‖² for each channel of `active`."""
    pooled = F.max_pool2d(active, pooling) if pooling > 1 else active
    shape = (delta.shape[1], active.shape[1], side, side)
    return conv2d_weight(pooled, shape, delta, padding=side // 2).square().sum((0, 2, 3))


def _as_long_as_others(filters: Tensor, layer: Layer) -> Tensor:
    """Filters with the mean norm of the layer's own."""
    norms = layer.conv.weight.detach().flatten(1).norm(dim=1)
    own = filters.flatten(1).norm(dim=1).clamp(min=1e-30).view(-1, 1, 1, 1)
    return (filters / own).to(layer.conv.weight) * norms.mean()
