"""Small networks of every module whose per-sample gradients are known, in every form."""

import random

import torch
from torch import nn

IMAGE, CLASSES = (4, 7, 9), 3


def draw(count=6, dtype=torch.float64):
    """Images and labels for every network here."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(count, *IMAGE, generator=generator, dtype=torch.float64)
    return images.to(dtype), torch.randint(CLASSES, (count,), generator=generator)


class Own(nn.Module):
    """Whatever `run` makes of the module and x."""

    def __init__(self, run, **modules):
        super().__init__()
        self.run = run
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.run(self, x)


def conv():
    return nn.Conv2d(4, 4, 3, padding=1)


class Residual(nn.Module):
    """What it is given, plus what is inside."""

    def __init__(self, *inside):
        super().__init__()
        self.inside = nn.Sequential(*inside)

    def forward(self, x):
        y = self.inside(x)
        y += x
        return y.relu_()


def ended(*layers):
    """`layers`, then a head for whatever comes out of them."""
    body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
    with torch.no_grad():
        features = body.eval()(torch.zeros(1, *IMAGE)).shape[1]
    return nn.Sequential(*body, nn.Linear(features, CLASSES))


def convolution(outputs=6, size=3, **fields):
    return lambda: ended(nn.Conv2d(4, outputs, size, **fields), nn.Tanh())


def freeze(network, *names):
    for name in names:
        network.get_parameter(name).requires_grad_(False)
    return network


CONVOLUTIONS = {
    "plain": convolution(padding=1),
    "one by one": convolution(size=1),
    "without bias": convolution(bias=False),
    "even kernel": convolution(size=2, padding=1),
    "two groups": convolution(padding=1, groups=2),
    "two groups, one by one": convolution(size=1, groups=2, bias=False),
    "depthwise": convolution(4, padding=1, groups=4),
    "depthwise, wide": convolution(4, 5, padding=2, groups=4, bias=False),
    "depthwise, two outputs a channel": convolution(8, padding=1, groups=4),
    "depthwise, strided": convolution(4, padding=1, groups=4, stride=2),
    "depthwise, circular": convolution(4, padding=1, groups=4, padding_mode="circular"),
    "dilated": convolution(padding=2, dilation=(2, 1)),
    "strided, with a rest": convolution(stride=(2, 3)),
    "asymmetric kernel": convolution(size=(3, 5), padding=(1, 2)),
    "asymmetric padding": convolution(padding=(0, 2)),
    "circular": convolution(padding=1, padding_mode="circular"),
    "reflected": convolution(padding=(2, 1), padding_mode="reflect", stride=2),
    "replicated, grouped": convolution(padding=1, padding_mode="replicate", groups=2),
    "same": convolution(padding="same"),
    "same, even kernel": convolution(size=(2, 4), padding="same"),
    "same, dilated, circular": convolution(
        padding="same", dilation=2, padding_mode="circular", size=2
    ),
    "same, depthwise": convolution(4, size=2, padding="same", groups=4),
    "valid": convolution(padding="valid", stride=2),
}


def _norms(**fields):
    return ended(
        nn.BatchNorm2d(4, **fields),
        nn.Conv2d(4, 3, 3),
        nn.BatchNorm2d(3),
        nn.Tanh(),
        nn.Flatten(2),
        nn.BatchNorm1d(3, **fields),
        nn.Unflatten(2, (5, 7)),
    )


def _frozen(*names):
    def network():
        layers = nn.Conv2d(4, 4, 3, groups=2), nn.BatchNorm2d(4), nn.Tanh()
        return freeze(ended(*layers), *names)

    return network


OTHERS = {
    "linear alone": lambda: nn.Sequential(nn.Flatten(), nn.Linear(252, CLASSES)),
    "linear at positions": lambda: nn.Sequential(
        *(nn.Flatten(2), nn.Linear(63, 5), nn.ReLU(inplace=True), nn.Linear(5, 2, bias=False)),
        *(nn.Tanh(), nn.Flatten(), nn.Linear(8, CLASSES)),
    ),
    "linear at rows": lambda: ended(nn.Linear(9, 3), nn.Tanh()),
    "batch norms": _norms,
    "batch norms that learn nothing": lambda: _norms(affine=False),
    "batch norm of features": lambda: nn.Sequential(
        *(nn.AvgPool2d(3), nn.Flatten(), nn.Linear(24, 5), nn.BatchNorm1d(5), nn.ReLU()),
        *(nn.Dropout(), nn.Linear(5, CLASSES)),
    ),
    "frozen weights": _frozen("0.weight", "1.weight", "5.weight"),
    "frozen biases": _frozen("0.bias", "1.bias", "5.bias"),
    "frozen modules": _frozen("0.weight", "0.bias", "1.weight", "1.bias"),
    "frozen module of an unknown kind": lambda: freeze(
        ended(nn.Conv2d(4, 4, 3), nn.PReLU()), "1.weight"
    ),
    "activations in place": lambda: ended(
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.LeakyReLU(inplace=True),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
    ),
    "residual": lambda: ended(
        Residual(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.BatchNorm2d(4))
    ),
}

NETWORKS = CONVOLUTIONS | OTHERS


def make(name):
    """The named network in float64, its batch norms' weights and statistics drawn."""
    torch.manual_seed(0)
    return _settled(NETWORKS[name]())


def _settled(network):
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                if tensor is not None:
                    nn.init.normal_(tensor)
            nn.init.uniform_(module.running_var, 0.3, 2)
    return network.double()


def drawn(seed):
    """A network of one to three random convolutions with what may follow them, some parameters
    frozen, in float64."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    layers, x = [], torch.zeros(2, *IMAGE)
    for _ in range(rng.randint(1, 3)):
        conv, x = _convolution(rng, x)
        layers += [conv, *_norm(rng, nn.BatchNorm2d, x.shape[1]), _activation(rng)]
    if rng.random() < 0.4:
        layers += [nn.Linear(x.shape[3], 3), *_norm(rng, nn.BatchNorm2d, x.shape[1]), nn.Tanh()]
    network = ended(*layers)
    for parameter in list(network.parameters())[:-1]:
        parameter.requires_grad_(rng.random() > 0.15)
    return _settled(network)


def _convolution(rng, x):
    """A convolution that x, N×C×H×W, is large enough for, and what it makes of x."""
    while True:
        try:
            conv = _any_convolution(rng, x.shape[1])
            with torch.no_grad():
                y = conv(x)
        except (RuntimeError, ValueError):
            continue
        if min(y.shape[2:]) > 1:
            return conv, y


def _any_convolution(rng, inputs):
    groups = rng.choice([g for g in range(1, inputs + 1) if inputs % g == 0])
    return nn.Conv2d(
        inputs,
        groups * rng.randint(1, max(1, 6 // groups)),
        (rng.randint(1, 3), rng.randint(1, 3)),
        stride=rng.choice([1, 1, 2, (1, 2)]),
        padding=rng.choice(["same", "valid", 0, 1, (1, 2), (2, 1)]),
        dilation=rng.choice([1, 1, 2, (2, 1)]),
        groups=groups,
        bias=rng.random() < 0.5,
        padding_mode=rng.choice(["zeros", "zeros", "circular", "reflect", "replicate"]),
    )


def _norm(rng, kind, channels):
    return [kind(channels, affine=rng.random() < 0.8)] if rng.random() < 0.6 else []


def _activation(rng):
    return rng.choice([nn.Tanh(), nn.LeakyReLU(inplace=True), nn.Identity(), nn.ELU()])
