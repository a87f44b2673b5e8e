"""Per-sample gradients by a backward pass for each, and scores with all matrices written out."""

import copy
import itertools
import math

import torch
from torch import nn
from torch.nn import functional as F

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def one_at_a_time(network, images, labels):
    """Parameter that is not frozen → N×(its shape)."""
    network = copy.deepcopy(network).eval()
    parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
    rows = []
    for image, label in zip(images.clone(), labels, strict=True):
        loss = F.cross_entropy(network(image[None]), label[None])
        rows.append(torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True))
    return dict(zip(parameters, map(torch.stack, zip(*rows, strict=True)), strict=True))


def flat(gradients):
    return torch.cat([g.flatten(1) for g in gradients.values()], 1)


def assert_equal(found, expected, **tolerances):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, msg=lambda text, n=name: f"{n}: {text}", **tolerances
        )


def learned(module):
    """Names of the module's own parameters that are not frozen."""
    return {name for name, p in module.named_parameters(recurse=False) if p.requires_grad}


def observed(network, images, labels):
    """Name → module that learns, its input and each sample's own gradient for its output."""
    met, outputs = {}, {}

    def keep(module, inputs, output):
        met[module], outputs[module] = inputs[0].detach(), output
        return output.clone()  # Which may be changed in place.

    network = copy.deepcopy(network).eval()
    modules = {name: m for name, m in network.named_modules() if learned(m)}
    for module in modules.values():
        module.register_forward_hook(keep)
    logits = network(images.clone())
    pairs = zip(logits, labels, strict=True)
    loss = sum(F.cross_entropy(out[None], label[None]) for out, label in pairs)
    sent = torch.autograd.grad(loss, [outputs[m] for m in modules.values()])
    return {n: (m, met[m], s) for (n, m), s in zip(modules.items(), sent, strict=True)}


def positions(module, x, s):
    """What a convolution or linear layer met and sent, N×T×J and N×T×O, the bias not yet in."""
    if isinstance(module, nn.Linear):
        return x.reshape(len(x), -1, x.shape[-1]), s.reshape(len(s), -1, s.shape[-1])
    return _patches(module, x), s.flatten(2).mT


def _patches(module, x):
    """N×T×(I·h·w), by a convolution of the same form whose filters are ones in one place each."""
    inputs, taps = module.in_channels, math.prod(module.kernel_size)
    names = ("kernel_size", "stride", "padding", "dilation", "padding_mode")
    form = {name: getattr(module, name) for name in names}
    reader = nn.Conv2d(inputs, inputs * taps, groups=inputs, bias=False, **form).to(x.dtype)
    ones = torch.eye(taps).view(taps, 1, *module.kernel_size)
    with torch.no_grad():
        reader.weight.copy_(ones.repeat(inputs, 1, 1, 1))
        return reader(x).flatten(2).mT


def kronecker(met, sent):
    """Per-sample gradients N×(O·J) and Γ ⊗ Ω."""
    count, steps = met.shape[:2]
    omega = torch.einsum("ntj,ntk->jk", met, met) / count
    gamma = torch.einsum("nto,ntp->op", sent, sent) / count / steps
    return torch.einsum("nto,ntj->noj", sent, met).flatten(1), torch.kron(gamma, omega)


def of_norm(module, x, s):
    """Per-sample gradients of each channel's weight and bias, and their mean square."""
    normal = (x.transpose(1, -1) - module.running_mean) / (module.running_var + 1e-5).sqrt()
    s = s.transpose(1, -1)
    columns = {"weight": normal * s, "bias": s}
    pairs = torch.stack([v for name, v in columns.items() if name in learned(module)], -1)
    pairs = pairs.flatten(1, -3).sum(1) if pairs.dim() > 3 else pairs
    for channel in pairs.unbind(1):
        yield channel, channel.T @ channel / len(channel)


def kfac_blocks(module, x, s):
    """Per-sample gradients and F of each channel of a batch norm, of each group of the rest."""
    if isinstance(module, NORMS):
        yield from of_norm(module, x, s)
        return
    met, sent = positions(module, x, s)
    ones, groups = met.new_ones(*met.shape[:2], 1), getattr(module, "groups", 1)
    for some, theirs in zip(met.chunk(groups, 2), sent.chunk(groups, 2), strict=True):
        columns = {"weight": some, "bias": ones}
        used = [v for name, v in columns.items() if name in learned(module)]
        yield kronecker(torch.cat(used, 2), theirs)


def dense(name, rows, damping):
    """F + damping·I of rows N×p; that of `kfac` is the block of one channel of a batch norm."""
    information, mean = rows.T @ rows / len(rows), rows.mean(0)
    matrices = {
        "diagonal": torch.diag(information.diagonal()),
        "batch": torch.diag(mean.square()),
        "kfac": information,
        "exact": information,
    }
    return matrices[name] + damping * torch.eye(rows.shape[1]).double()


def products(name, rows, damping):
    """gᵀ(F + damping·I)⁻¹g of every pair of rows, for the exact F without the two."""
    if name != "exact":
        return rows @ torch.linalg.solve(dense(name, rows, damping), rows.T)
    pairs = torch.zeros(len(rows), len(rows)).double()
    for n, m in itertools.permutations(range(len(rows)), 2):
        others = rows[[k for k in range(len(rows)) if k not in (n, m)]]
        information = others.T @ others / len(rows) + damping * torch.eye(rows.shape[1])
        pairs[n, m] = rows[n] @ torch.linalg.solve(information, rows[m])
    return pairs


def scores(name, network, images, labels, damping):
    """η and η_U in the named approximation."""
    if name == "kfac":
        seen = observed(network, images, labels).values()
        blocks = [block for found in seen for block in kfac_blocks(*found)]
        whole = pairs = sum(through(*block, damping) for block in blocks)
    else:
        rows = flat(one_at_a_time(network, images, labels))
        whole = rows @ torch.linalg.solve(dense(name, rows, damping), rows.T)
        pairs = products(name, rows, damping)
    return whole.mean().item(), mean_of_pairs(pairs)


def through(rows, information, damping):
    """K = G(F + damping·I)⁻¹Gᵀ, N×N."""
    damped = information + damping * torch.eye(rows.shape[1]).double()
    return rows @ torch.linalg.solve(damped, rows.T)


def mean_of_pairs(pairs):
    """Over pairs of different samples."""
    return (pairs.sum() - pairs.trace()).item() / (len(pairs) * (len(pairs) - 1))
