"""What has no per-sample gradients is refused by name, with the reason and a remedy."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from toy_networks import Own, conv, draw, ended, freeze

from secnn.score.fisher import FISHERS
from secnn.score.gradients import per_sample_gradients
from secnn.score.natural import natural_expansion_score
from secnn.score.rules import FREEZE


def two(run, **modules):
    """Two convolutions and a head, used as `run` says."""
    return Own(run, **({"a": conv(), "b": conv(), "head": ended(conv())} | modules))


class Standardised(nn.Conv2d):
    """Its weight is not what slides over the input."""

    def forward(self, x):
        return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)


def patched():
    module = conv()
    module.forward = lambda x: F.conv2d(x, 2 * module.weight, padding=1)
    return module


def tied():
    network = nn.Sequential(conv(), nn.ReLU(), conv(), ended(conv()))
    network[2].weight = network[0].weight
    return network


def _changes_what_was_read(m, x):
    z = x + 1
    y = m.a(z)
    z.relu_()
    return m.head(m.b(y))


def bare(*layers):
    return nn.Sequential(*layers)


one_call = r"expected one call in a forward pass, got "
no_rule = r"known for Conv2d, Linear, BatchNorm1d, BatchNorm2d, .*add a rule to .*RULES"

REFUSALS = {
    "another module": (
        lambda: ended(conv(), nn.GroupNorm(2, 4)),
        rf"network\.1 \(Group.*{no_rule}",
    ),
    "transposed": (lambda: ended(nn.ConvTranspose2d(4, 4, 1)), rf"network\.0 \(ConvT.*{no_rule}"),
    "a learned slope": (lambda: ended(conv(), nn.PReLU()), rf"network\.1 \(PReLU\).*{no_rule}"),
    "another forward": (
        lambda: ended(Standardised(4, 4, 3)),
        rf"network\.0 \(Standardised\).*{no_rule}",
    ),
    "a forward of the object's": (lambda: ended(patched()), rf"network\.0 \(Conv2d\).*{no_rule}"),
    "a parametrisation": (
        lambda: ended(nn.utils.parametrizations.weight_norm(conv())),
        rf"network\.0\.parametrizations\.weight \(ParametrizationList\).*{no_rule}",
    ),
    "a parametrisation of the old kind": (
        lambda: ended(nn.utils.spectral_norm(conv())),
        r"network\.0 \(Conv2d\).*no parameters but weight and bias, got weight_orig",
    ),
    "called twice": (
        lambda: two(lambda m, x: m.head(m.b(m.a(m.a(x))))),
        rf"network\.a \(Conv2d\): {one_call}two; use two modules",
    ),
    "called twice by two names": (
        lambda: bare(shared := conv(), nn.ReLU(), shared, ended(conv())),
        rf"network\.0 = network\.2 \(Conv2d\): {one_call}two",
    ),
    "not called": (
        lambda: two(lambda m, x: m.head(m.a(x))),
        rf"network\.b \(Conv2d\): {one_call}none; call it, remove it",
    ),
    "weight used without a call": (
        lambda: two(lambda m, x: m.head(m.a(F.conv2d(x, m.b.weight, padding=1)))),
        rf"network\.b \(Conv2d\): {one_call}none",
    ),
    "weight used beside its call": (
        lambda: two(lambda m, x: m.head(m.b(m.a(x)) + F.conv2d(x, m.a.weight, padding=1))),
        r"network\.a \(Conv2d\): expected its weight to be used by its own call alone",
    ),
    "weight used, output not": (
        lambda: two(lambda m, x: (m.a(x), m.head(m.b(F.conv2d(x, m.a.weight, padding=1))))[1]),
        r"network\.a \(Conv2d\): expected its weight to be used by its own call alone",
    ),
    "a shared weight": (
        tied,
        r"network\.2 \(Conv2d\): its weight belongs to network\.0 \(Conv2d\) too; give it a copy",
    ),
    "what it read changed in place": (
        lambda: two(_changes_what_was_read),
        r"network\.a \(Conv2d\): .*changed in place afterwards.*inplace=False",
    ),
    "without gradients": (
        lambda: two(lambda m, x: m.head(m.b(torch.no_grad()(m.a)(x)))),
        r"network\.a \(Conv2d\): expected a call that records gradients, .*torch.no_grad",
    ),
    "recomputed out of sight": (
        lambda: two(lambda m, x: m.head(m.b(checkpoint(m.a, x, use_reentrant=True)))),
        r"network\.a \(Conv2d\): expected a call that records gradients, .*use_reentrant=True",
    ),
    "samples and positions in one": (
        lambda: two(
            lambda m, x: m.head(m.c(m.b(m.a(x)).reshape(24, 63)).view(6, 4, 7, 9)),
            c=nn.Linear(63, 63),
        ),
        r"network\.c \(Linear\): expected its input to have a row an image, 6×…, got 24×63",
    ),
    "no running statistics": (
        lambda: ended(conv(), nn.BatchNorm2d(4, track_running_stats=False)),
        r"network\.1 \(BatchNorm2d\): expected running statistics, .*track_running_stats=True",
    ),
    "no running statistics, no parameters": (
        lambda: ended(conv(), nn.BatchNorm2d(4, affine=False, track_running_stats=False)),
        r"network\.1 \(BatchNorm2d\): expected running statistics",
    ),
    "all frozen": (
        lambda: ended(conv()).requires_grad_(False),
        r"network: expected at least one parameter that requires a gradient, got none",
    ),
    "maps for logits": (
        lambda: bare(conv()),
        r"network: expected it to return logits N×classes for N = 6 images, got 6×4×7×9",
    ),
    "several outputs": (
        lambda: two(lambda m, x: (m.head(m.b(m.a(x))), x)),
        r"network: expected it to return logits .* got tuple",
    ),
    "a row for all": (
        lambda: two(lambda m, x: m.head(m.b(m.a(x))).mean(0, keepdim=True)),
        r"network: expected it to return logits N×classes for N = 6 images, got 1×3",
    ),
}

cases = pytest.mark.parametrize(("make", "reason"), REFUSALS.values(), ids=REFUSALS)


@cases
def test_it_is_named_with_the_reason_and_a_remedy(make, reason):
    network = make().double().train()
    hooks = [len(m._forward_hooks) for m in network.modules()]
    with pytest.raises(ValueError, match=f"^{reason}") as error:
        per_sample_gradients(network, *draw())
    assert "\n" not in str(error.value)
    assert all(p.grad is None for p in network.parameters())
    assert all(m.training for m in network.modules())
    assert hooks == [len(m._forward_hooks) for m in network.modules()]


@pytest.mark.parametrize("fisher", FISHERS)
@cases
def test_nor_has_it_a_score(make, reason, fisher):
    with pytest.raises(ValueError, match=f"^{reason}"):
        natural_expansion_score(make().double(), *draw(), fisher)


@cases
def test_frozen_it_is_accepted(make, reason):
    """Where the message says so, and something is left to score."""
    network = make().double()
    with pytest.raises(ValueError) as error:
        per_sample_gradients(network, *draw())
    if FREEZE not in str(error.value):
        return
    name = str(error.value).removeprefix("network.").split()[0]
    network.get_submodule(name).requires_grad_(False)
    found = per_sample_gradients(network, *draw())
    assert found
    assert not any(parameter.startswith(f"{name}.") for parameter in found)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([0, 1, 2, 0, 1, 3], r"labels: expected class indices from 0 to 2, .* got 0 to 3"),
        ([0, 1, 2, 0, 1, -100], r"labels: expected class indices from 0 to 2, .* got -100 to 2"),
        ([0, 1, 2], r"labels: expected one an image, 6, got 3"),
    ],
)
@pytest.mark.parametrize("compute", [per_sample_gradients, natural_expansion_score])
def test_labels_of_no_class_are_refused(labels, reason, compute):
    network, (images, _) = ended(conv()).double(), draw()
    with pytest.raises(ValueError, match=f"^{reason}"):
        compute(network, images, torch.tensor(labels))


def test_what_is_frozen_need_not_be_called():
    network = freeze(two(lambda m, x: m.head(m.a(x))), "b.weight", "b.bias").double()
    assert "b.weight" not in per_sample_gradients(network, *draw())
