"""Per-sample gradients are those of a backward pass for each sample."""

import pytest
import torch
from dense_oracles import assert_equal, one_at_a_time
from torch import nn
from torch.func import grad, vmap
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint
from toy_networks import CONVOLUTIONS, NETWORKS, Own, conv, draw, drawn, ended, make

from secnn.growth.expansion import AddChannels, AddLayer
from secnn.score.gradients import RULES, per_sample_gradients, record
from secnn.score.parts import Convolution

# torch's own, at its first such convolution.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")

GROWTH = (AddLayer(0), AddChannels(1, 2), AddLayer(2), AddChannels(0, 1), AddLayer(2))

SHAPES = {
    "start": {},
    "grown": {"growth": GROWTH},
    "grey, not square": {"input_channels": 1, "image_size": (9, 13)},
    "one block": {"channels": (4,), "layers": (2,)},
    "four blocks": {"channels": (2, 3, 2, 3), "layers": (1, 2, 1, 1), "image_size": (17, 19)},
    "two classes": {"classes": 2},
}

shapes = pytest.mark.parametrize("fields", SHAPES.values(), ids=SHAPES)


# --- of any module ------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_every_known_module_in_every_form(name):
    network, given = make(name), draw()
    assert_equal(per_sample_gradients(network, *given), one_at_a_time(network, *given))


@pytest.mark.parametrize("seed", range(40))
def test_networks_drawn_at_random(seed):
    network, given = drawn(seed), draw()
    assert_equal(per_sample_gradients(network, *given), one_at_a_time(network, *given))


@pytest.mark.parametrize("kernel", ["reference", "fused"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_in_float32_as_well(name, kernel):
    """Compiled code and oneDNN's convolutions take only that."""
    network = make(name)
    expected = one_at_a_time(network, *draw())
    network.float().kernel = kernel
    found = per_sample_gradients(network, *draw(dtype=torch.float32))
    assert_equal({n: v.double() for n, v in found.items()}, expected, rtol=1e-3, atol=1e-5)


def test_a_module_alone():
    network = nn.Linear(5, 3).double()
    given = torch.randn(4, 5, dtype=torch.float64), torch.tensor([0, 1, 2, 2])
    assert_equal(per_sample_gradients(network, *given), one_at_a_time(network, *given))


same = conv()
doubling = conv()
doubling.register_forward_hook(lambda module, inputs, output: 2 * output)
doubling.register_forward_pre_hook(lambda module, inputs: (inputs[0] + 1,))

USES = {
    "its output leads nowhere": Own(lambda m, x: (m.a(x), m.b(x))[1], a=conv(), b=ended(conv())),
    "two names, one call": Own(lambda m, x: m.b(m.a(x)), a=same, again=same, b=ended(conv())),
    "by keyword": Own(lambda m, x: m.b(m.a(input=x)), a=conv(), b=ended(conv())),
    "recomputed": Own(
        lambda m, x: m.b(checkpoint(m.a, x, use_reentrant=False)), a=conv(), b=ended(conv())
    ),
    "hooks of its own": ended(doubling),
    "a subclass that adds nothing": ended(type("Mine", (nn.Conv2d,), {})(4, 4, 3)),
    "half of it changed in place": Own(
        lambda m, x: (y := m.a(x), y[:, :2].mul_(3), m.b(y))[2], a=conv(), b=ended(conv())
    ),
    "a module called kernel": Own(lambda m, x: m.b(m.kernel(x)), kernel=conv(), b=ended(conv())),
}


@pytest.mark.parametrize("name", USES)
def test_however_a_module_is_used(name):
    network, given = USES[name].double(), draw()
    assert_equal(per_sample_gradients(network, *given), one_at_a_time(network, *given))


def test_a_recording_holds_nothing_that_was_changed_afterwards():
    network, (images, labels) = make("activations in place"), draw()
    seen = record(network, images, labels)
    conv, norm = network[1], network[3]
    assert set(seen.inputs) >= {conv, norm}
    assert conv not in seen.outputs
    assert norm not in seen.outputs
    torch.testing.assert_close(seen.inputs[conv], images.relu())
    expected = F.leaky_relu(conv(images.relu()), network[2].negative_slope)
    torch.testing.assert_close(seen.inputs[norm], expected)


class Power(nn.Module):
    """y = x·a^b, of which no rule is known: a is used in no way that hooks could tell."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor([1.5])), nn.Parameter(torch.tensor([0.5]))

    def forward(self, x):
        return x * self.a.abs() ** (self.b * self.a.sign())


class Powers:
    def __init__(self, module, x, gradient, kernel):
        self.a, self.b = module.a.detach(), module.b.detach()
        self.product = (x * gradient).flatten(1).sum(1, keepdim=True)

    def samples(self):
        power = self.product * self.a**self.b
        return {"a": power * self.b / self.a, "b": power * self.a.log()}

    def factors(self):
        return None


def test_a_rule_of_one_s_own(monkeypatch):
    monkeypatch.setitem(RULES, Power, Powers)
    network, given = ended(conv(), Power(), conv()).double(), draw()
    assert_equal(per_sample_gradients(network, *given), one_at_a_time(network, *given))


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest tensor has that any operation returns."""

    numbers = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return result


def test_a_depthwise_convolution_takes_no_more_memory_than_its_input():
    x, gradient = torch.randn(2, 8, 16, 20, 20)
    module = nn.Conv2d(16, 16, 3, padding=1, groups=16)
    with Largest() as largest:
        Convolution.of(module, x, gradient, "reference").samples()
    assert largest.numbers == x.numel()


# --- of the project's networks ------------------------------------------------------------


@shapes
@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_those_of_one_sample_at_a_time(fields, training, make_network, draw_images):
    network = make_network(**fields).train(training)
    given = draw_images(network, 7)
    assert_equal(per_sample_gradients(network, *given), one_at_a_time(network, *given))


@shapes
def test_gradients_are_those_of_vmap(fields, make_network, draw_images, reference_logits):
    network = make_network(**fields)
    images, labels = draw_images(network, 7)

    def loss(parameters, image, label):
        logits = reference_logits(network, image[None], parameters)
        return F.cross_entropy(logits, label[None])

    parameters = {name: p.detach() for name, p in network.named_parameters()}
    expected = vmap(grad(loss), (None, 0, 0))(parameters, images, labels)
    assert_equal(per_sample_gradients(network, images, labels), expected)


def test_their_mean_is_the_gradient_of_the_mean_loss(make_network, draw_images):
    network = make_network(GROWTH).eval()
    images, labels = draw_images(network, 9)
    found = per_sample_gradients(network, images, labels)
    loss = F.cross_entropy(network(images), labels)
    expected = torch.autograd.grad(loss, list(network.parameters()))
    for (name, _), value in zip(network.named_parameters(), expected, strict=True):
        torch.testing.assert_close(found[name].mean(0), value)


def test_gradients_are_computed_under_no_grad_as_well(make_network, draw_images):
    network = make_network()
    images, labels = draw_images(network, 3)
    with torch.no_grad():
        found = per_sample_gradients(network, images, labels)
    assert_equal(found, one_at_a_time(network, images, labels))
    assert not any(value.requires_grad for value in found.values())
