"""What the tests share: small networks, synthetic and real images, independent oracles."""

import copy
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from secnn.data.batches import normalize
from secnn.data.dataset import ImageData, load_dataset
from secnn.growth.expansion import AddChannels, AddLayer, Expansion
from secnn.network.network import SECNN
from secnn.network.spec import NetworkSpec
from secnn.training.epoch import Step, train_epoch

torch.set_num_threads(1)

CIFAR = Path(__file__).resolve().parents[2] / "shared" / "cifar10-jpeg"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def make_network() -> Callable[..., SECNN]:
    return _make_network


def _make_network(
    growth: Iterable[Expansion] = (), dtype: torch.dtype = torch.float64, **fields
) -> SECNN:
    """A small network, grown, whose every parameter and running statistic is out of its initial
    state: nothing is hidden by a zero or a one."""
    small = {"image_size": (12, 20), "channels": (3, 4, 5), "classes": 4, "maps": 3, "units": 6}
    network = SECNN(**(small | fields)).to(dtype)
    for expansion in growth:
        expansion.apply(network)
        network.anneal_slopes(3)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            draw = torch.randn(tensor.shape, generator=generator, dtype=dtype)
            tensor.add_(draw, alpha=0.3 if "norm" in name else 0.05)
        for name, tensor in network.named_buffers():
            draw = torch.rand(tensor.shape, generator=generator)
            if name.endswith("running_mean"):
                tensor.copy_(draw - 0.5)
            elif name.endswith("running_var"):
                tensor.copy_(draw + 0.3)
    return network


@pytest.fixture
def draw_images() -> Callable[..., tuple[Tensor, Tensor]]:
    return _draw_images


def _draw_images(network: SECNN, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Normalised random images and labels that `network` takes."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, network.spec.input_channels, *network.spec.image_size)
    images = torch.randn(shape, generator=generator, dtype=torch.float64)
    labels = torch.randint(network.spec.classes, (count,), generator=generator)
    return images.to(network.head.output.weight.dtype), labels


@pytest.fixture
def make_data() -> Callable[..., ImageData]:
    return _make_data


def _make_data(
    count: int = 120,
    size: tuple[int, int] = (8, 8),
    channels: int = 1,
    classes: int = 3,
    flip: bool = False,
) -> ImageData:
    """Learnable images: class k has a bright band in the k-th part of its rows, under noise."""
    generator = torch.Generator().manual_seed(0)

    def split(n: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(n) % classes
        images = torch.randint(0, 100, (n, channels, *size), generator=generator)
        bands = torch.arange(size[0]) * classes // size[0]
        bright = (bands == labels[:, None]).view(n, 1, size[0], 1)
        return (images + 150 * bright).to(torch.uint8), labels

    names = tuple(map(str, range(classes)))
    return ImageData(
        "bands", "synthetic", names, flip, "held-out", None, *split(count), *split(60), *split(60)
    )


@pytest.fixture(scope="session")
def cifar() -> ImageData:
    if not CIFAR.is_dir():
        pytest.skip(f"needs CIFAR-10 as Parquet in {CIFAR.parent.name}/{CIFAR.name}")
    return load_dataset(CIFAR)


@pytest.fixture(scope="session")
def _trained(cifar: ImageData) -> SECNN:
    # A third of the images in batches of 128: more steps than the paper's 512 give in an epoch.
    count = len(cifar.train_images) // 3
    torch.manual_seed(0)
    network = SECNN()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    train_epoch(Step(network, optimizer, 1e-5), _first(cifar, count), 128)
    return network


def _first(data: ImageData, count: int) -> ImageData:
    return replace(
        data, train_images=data.train_images[:count], train_labels=data.train_labels[:count]
    )


@pytest.fixture(scope="session")
def first() -> Callable[[ImageData, int], ImageData]:
    """The data with only its first training images."""
    return _first


@pytest.fixture
def trained(_trained: SECNN) -> SECNN:
    """The paper's starting network after an epoch on CIFAR-10; a copy, to do with as one likes."""
    return copy.deepcopy(_trained)


@pytest.fixture(scope="session")
def real_images(cifar: ImageData) -> Tensor:
    """1,000 normalised validation images."""
    return normalize(cifar.validation_images[:1000], cifar)


@pytest.fixture(scope="session")
def calibration_images(cifar: ImageData) -> Tensor:
    """512 normalised training images."""
    return normalize(cifar.train_images[:512], cifar)


@pytest.fixture
def draw_expansion() -> Callable[[random.Random, SECNN], Expansion]:
    return _draw_expansion


def _draw_expansion(rng: random.Random, network: SECNN) -> Expansion:
    """Any expansion that fits."""
    blocks = range(len(network.blocks))
    layers = [AddLayer(b) for b in blocks if AddLayer(b).fits(network)]
    channels = [AddChannels(b, rng.randint(1, 5)) for b in blocks]
    return rng.choice(layers + channels)


@pytest.fixture
def count_parameters() -> Callable[[NetworkSpec], int]:
    return _count_parameters


def _count_parameters(spec: NetworkSpec) -> int:
    """The number of parameters, layer by layer from the network's description."""
    total, inputs = 0, spec.input_channels
    height, width = spec.image_size
    for channels, layers in zip(spec.channels, spec.layers, strict=True):
        total += 3 * 3 * inputs * channels + channels  # the first convolution and its bias
        total += (layers - 1) * 3 * 3 * channels * channels  # the added ones have none
        total += layers * 2 * channels  # batch norms: weight and bias
        inputs, height, width = channels, height // 2, width // 2
    joined = spec.channels[-1] + spec.channels[0]  # the skip is concatenated
    total += joined * spec.maps + spec.maps
    total += spec.maps * height * width * spec.units + spec.units
    total += 2 * (2 * spec.units)
    return total + spec.units * spec.classes + spec.classes


@pytest.fixture
def reference_logits() -> Callable[..., Tensor]:
    return _reference_logits


def _reference_logits(network: SECNN, images: Tensor, parameters: dict | None = None) -> Tensor:
    """Logits in evaluation mode, written as the paper describes the network: activation before
    pooling, one 1×1 convolution of the concatenation with the skip."""
    values = dict(network.named_buffers()) | dict(parameters or network.named_parameters())

    def normalized(x: Tensor, name: str) -> Tensor:
        mean, variance = values[f"{name}.running_mean"], values[f"{name}.running_var"]
        return F.batch_norm(x, mean, variance, values[f"{name}.weight"], values[f"{name}.bias"])

    x, slope, blocks = images, network.spec.negative_slope, len(network.blocks)
    skip = None
    for b, block in enumerate(network.blocks):
        for i, layer in enumerate(block.layers):
            name = f"blocks.{b}.layers.{i}"
            x = F.conv2d(x, values[f"{name}.conv.weight"], values.get(f"{name}.conv.bias"), 1, 1)
            x = F.leaky_relu(normalized(x, f"{name}.norm"), layer.slope)
        x = F.max_pool2d(x, 2)
        skip = x if skip is None else F.max_pool2d(skip, 2)
    weight = torch.cat([values["head.last.weight"], values["head.skip.weight"]], 1)
    x = F.conv2d(torch.cat([x, skip], 1), weight, values["head.last.bias"])
    assert x.shape[2:] == tuple(side // 2**blocks for side in network.spec.image_size)
    x = F.leaky_relu(x, slope).flatten(1)
    x = F.linear(x, values["head.hidden.weight"], values["head.hidden.bias"])
    x = normalized(F.leaky_relu(normalized(x, "head.hidden_norm"), slope), "head.output_norm")
    return F.linear(x, values["head.output.weight"], values["head.output.bias"])
