"""Per-sample gradients and η agree with dense oracles, and leave the network as it was."""

import copy
import itertools
import math
import random

import pytest
import torch
from torch import nn
from torch.func import grad, vmap
from torch.nn import functional as F

from secnn.growth.expansion import AddChannels, AddLayer
from secnn.network.network import SECNN
from secnn.score import gradients
from secnn.score.fisher import FISHERS, Block, diagonal
from secnn.score.gradients import per_sample_gradients

GROWTH = (AddLayer(0), AddChannels(1, 2), AddLayer(2), AddChannels(0, 1), AddLayer(2))

NETWORKS = {
    "start": {},
    "grown": {"growth": GROWTH},
    "grey, not square": {"input_channels": 1, "image_size": (9, 13)},
    "one block": {"channels": (4,), "layers": (2,)},
    "four blocks": {"channels": (2, 3, 2, 3), "layers": (1, 2, 1, 1), "image_size": (17, 19)},
    "two classes": {"classes": 2},
}

networks = pytest.mark.parametrize("fields", NETWORKS.values(), ids=NETWORKS)


def one_at_a_time(network, images, labels):
    """Each sample's gradient by a backward pass of its own; parameter name → N×shape."""
    network = copy.deepcopy(network).eval()
    parameters = dict(network.named_parameters())
    rows = []
    for image, label in zip(images, labels, strict=True):
        loss = F.cross_entropy(network(image[None]), label[None])
        rows.append(torch.autograd.grad(loss, list(parameters.values())))
    return dict(zip(parameters, map(torch.stack, zip(*rows, strict=True)), strict=True))


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=lambda text, n=name: f"{n}: {text}")


def flat(gradients):
    return torch.cat([g.flatten(1) for g in gradients.values()], 1)


# --- per-sample gradients -----------------------------------------------------------------


@networks
@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_those_of_one_sample_at_a_time(fields, training, make_network, draw_images):
    network = make_network(**fields).train(training)
    images, labels = draw_images(network, 7)
    assert_equal(
        per_sample_gradients(network, images, labels), one_at_a_time(network, images, labels)
    )


@networks
def test_gradients_are_those_of_vmap(fields, make_network, draw_images, reference_logits):
    network = make_network(**fields)
    images, labels = draw_images(network, 7)

    def loss(parameters, image, label):
        logits = reference_logits(network, image[None], parameters)
        return F.cross_entropy(logits, label[None])

    parameters = {name: p.detach() for name, p in network.named_parameters()}
    expected = vmap(grad(loss), (None, 0, 0))(parameters, images, labels)
    assert_equal(per_sample_gradients(network, images, labels), expected)


def test_every_known_module_in_every_form():
    network = nn.Sequential(
        nn.Conv2d(2, 3, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
        nn.BatchNorm2d(3),
        nn.Tanh(),
        nn.Conv2d(3, 2, 1, bias=False),
        nn.Flatten(2),
        nn.BatchNorm1d(2),
        nn.Flatten(1),
        nn.Linear(2 * 5 * 7, 6, bias=False),
        nn.BatchNorm1d(6),
        nn.ReLU(),
        nn.Linear(6, 4),
    ).double()
    for module in network:
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean):
                nn.init.normal_(tensor)
            nn.init.uniform_(module.running_var, 0.3, 2)
    images, labels = torch.randn(5, 2, 9, 11, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 3])
    assert_equal(
        per_sample_gradients(network, images, labels), one_at_a_time(network, images, labels)
    )


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


@pytest.mark.parametrize(
    "unknown", [nn.GroupNorm(2, 4), nn.ConvTranspose2d(4, 4, 1), nn.PReLU()], ids=str
)
def test_an_unknown_module_with_parameters_is_refused(unknown):
    network = nn.Sequential(nn.Conv2d(1, 4, 3), unknown, nn.Flatten(), nn.Linear(4 * 9, 2))
    images, labels = torch.randn(3, 1, 5, 5), torch.tensor([0, 1, 0])
    with pytest.raises(ValueError, match=r"^network: .*Conv2d, Linear.*1\.weight") as error:
        per_sample_gradients(network, images, labels)
    assert "\n" not in str(error.value)
    assert all(p.grad is None for p in network.parameters())
    assert not any(m._forward_hooks for m in network.modules())


def test_modules_without_parameters_need_no_rule():
    network = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(4, 2)).double()
    images, labels = torch.randn(3, 1, 4, 4, dtype=torch.float64), torch.tensor([0, 1, 0])
    assert_equal(
        per_sample_gradients(network, images, labels), one_at_a_time(network, images, labels)
    )


# --- the network is left as it was --------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("compute", [per_sample_gradients, lambda *a: diagonal(*a, 1e-8)])
def test_the_network_is_left_as_it_was(compute, training, make_network, draw_images):
    network = make_network(GROWTH).train(training)
    network.kernel = "fused"
    before = copy.deepcopy(network.state_dict())
    random_state = torch.random.get_rng_state()
    compute(network, *draw_images(network, 5))
    assert all(m.training is training for m in network.modules())
    assert network.kernel == "fused"
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    assert not any(m._forward_hooks for m in network.modules())
    assert torch.equal(torch.random.get_rng_state(), random_state)
    for name, value in network.state_dict().items():
        same = torch.equal(value, before[name]) if torch.is_tensor(value) else value == before[name]
        assert same, name


def test_mode_and_kernel_return_after_a_failure(make_network):
    network = make_network().train()
    network.kernel = "fused"
    with pytest.raises(RuntimeError):
        per_sample_gradients(network, torch.zeros(2, 99, 12, 20), torch.zeros(2, dtype=torch.long))
    assert network.training
    assert network.kernel == "fused"
    assert not any(m._forward_hooks for m in network.modules())


# --- the diagonal score -------------------------------------------------------------------


def oracle(network, images, labels, damping):
    """gᵀ(diag(F) + damping·I)⁻¹g with all matrices written out."""
    rows = flat(one_at_a_time(network, images, labels))
    mean = rows.mean(0)
    information = rows.T @ rows / len(rows)
    damped = torch.diag(information.diagonal()) + damping * torch.eye(len(mean)).double()
    return (mean @ torch.linalg.solve(damped, mean)).item()


@pytest.mark.parametrize("damping", [1e-8, 1e-3, 10.0])
@pytest.mark.parametrize("growth", [(), GROWTH[:3]], ids=["start", "grown"])
def test_the_score_is_that_of_the_dense_matrices(growth, damping, make_network, draw_images):
    network = make_network(growth, channels=(2, 3, 2), units=4, image_size=(8, 11))
    images, labels = draw_images(network, 12)
    expected = oracle(network, images, labels, damping)
    assert diagonal(network, images, labels, damping) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("damping", [1e-6, 1e-3, 10.0])
@pytest.mark.parametrize("count", [3, 12])
def test_the_exact_score_is_that_of_the_full_matrix(count, damping, make_network, draw_images):
    network = make_network(GROWTH[:2], channels=(2, 3, 2), units=4, image_size=(8, 11))
    images, labels = draw_images(network, count)
    rows = flat(one_at_a_time(network, images, labels))
    mean, information = rows.mean(0), rows.T @ rows / count
    damped = information + damping * torch.eye(len(mean)).double()
    expected = (mean @ torch.linalg.solve(damped, mean)).item()
    found = FISHERS["exact"](network, images, labels, damping)
    assert found == pytest.approx(expected, rel=1e-6)
    assert 0 <= found < 1


def score_of_rows(name, rows, damping):
    """η of per-sample gradients, N×p."""
    weights = torch.full((1, len(rows)), 1 / len(rows)).double()
    statistic = FISHERS[name].statistic(Block(rows[:, None]), weights, damping)
    return FISHERS[name].score(statistic, weights, damping)[0].item()


def test_approximations_agree_where_they_must():
    """Gradients that share no parameter have a diagonal Gram and Fisher matrix."""
    samples = torch.diag(torch.rand(6, generator=torch.Generator().manual_seed(0)).double() + 0.1)
    scores = {name: score_of_rows(name, samples, 1e-3) for name in FISHERS}
    assert scores["exact"] == pytest.approx(scores["diagonal"])
    # With the mean gradient squared in place of the mean square every term saturates at 1.
    assert scores["diagonal"] < 1 < scores["batch"] < 6


def test_with_many_samples_the_exact_score_of_independent_gradients_is_the_diagonal_one():
    samples = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)).double()
    samples = samples * torch.tensor([0.1, 1.0, 5.0]) + torch.tensor([0.01, 0.1, 0.5])
    expected = score_of_rows("diagonal", samples, 1e-9)
    assert score_of_rows("exact", samples, 1e-9) == pytest.approx(expected, rel=0.05)


# --- the score without its noise ----------------------------------------------------------


def dense(name, rows, damping):
    """F + damping·I with all entries written out; that of `kfac` is the block of one channel."""
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
        return rows @ torch.linalg.inv(dense(name, rows, damping)) @ rows.T
    pairs = torch.zeros(len(rows), len(rows)).double()
    for n, m in itertools.permutations(range(len(rows)), 2):
        others = rows[[k for k in range(len(rows)) if k not in (n, m)]]
        information = others.T @ others / len(rows) + damping * torch.eye(rows.shape[1])
        pairs[n, m] = rows[n] @ torch.linalg.solve(information, rows[m])
    return pairs


@pytest.mark.parametrize("fisher", ["diagonal", "batch", "exact"])
def test_the_unbiased_score_is_the_mean_over_pairs(fisher, make_network, draw_images):
    network = make_network(channels=(2, 3, 2), units=4, image_size=(8, 11))
    images, labels = draw_images(network, 9)
    rows = flat(one_at_a_time(network, images, labels))
    pairs = products(fisher, rows, 1e-3).fill_diagonal_(0)
    found = FISHERS[fisher](network, images, labels, 1e-3, unbiased=True)
    assert found == pytest.approx(pairs.sum().item() / (9 * 8), rel=1e-6)


@pytest.mark.parametrize("fisher", FISHERS)
def test_resampled_weights_count_pairs_of_different_samples(fisher):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    weights = torch.tensor([[0.2] * 5, [0.4, 0.0, 0.2, 0.2, 0.2], [0.0, 0.6, 0.0, 0.0, 0.4]])
    whole = rows @ torch.linalg.inv(dense(fisher, rows, 0.1)) @ rows.T
    pairs, compute = products(fisher, rows, 0.1), FISHERS[fisher]
    found = compute.score(
        compute.statistic(Block(rows[:, None]), weights, 0.1), weights.double(), 0.1
    )
    for row, biased, unbiased in zip(weights.double(), *found, strict=True):
        both = torch.outer(row, row)
        assert biased.item() == pytest.approx((both * whole).sum().item())
        apart = both - torch.diag(both.diagonal())
        expected = ((apart * pairs).sum() / apart.sum()).item()
        assert unbiased.item() == pytest.approx(expected)


@pytest.mark.parametrize("fisher", ["diagonal", "exact"])
def test_random_signs_score_nothing_without_the_noise(fisher):
    """Over all 2^N signs, equally likely, η has mean tr(K)/N², and η_U zero."""
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights, compute, scores = torch.full((1, 6), 1 / 6).double(), FISHERS[fisher], []
    for signs in itertools.product([-1.0, 1.0], repeat=6):
        signed = rows * torch.tensor(signs).double()[:, None]
        scores.append(
            compute.score(compute.statistic(Block(signed[:, None]), weights, 0.01), weights, 0.01)
        )
    biased, unbiased = torch.stack(scores).mean(0)
    trace = (rows @ torch.linalg.inv(dense(fisher, rows, 0.01)) @ rows.T).trace()
    assert biased.item() == pytest.approx(trace.item() / 36)
    assert unbiased.item() == pytest.approx(0, abs=1e-12)


def test_a_single_sample_has_no_pair(make_network, draw_images):
    network = make_network()
    assert math.isnan(diagonal(network, *draw_images(network, 1), 1e-8, unbiased=True))


@pytest.mark.parametrize("chunk", [1, 3, 13, 1000])
def test_chunks_do_not_change_the_score(chunk, make_network, draw_images, monkeypatch):
    network = make_network(GROWTH)
    images, labels = draw_images(network, 13)
    monkeypatch.setattr(gradients, "CHUNK", 5)
    expected = diagonal(network, images, labels, 1e-8)
    monkeypatch.setattr(gradients, "CHUNK", chunk)
    assert diagonal(network, images, labels, 1e-8) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("count", [1, 2, 10, 40])
@pytest.mark.parametrize("damping", [1e-30, 1e-8, 1.0])
def test_the_score_is_between_0_and_the_parameter_count(count, damping, make_network, draw_images):
    network = make_network(GROWTH)
    score = diagonal(network, *draw_images(network, count), damping)
    assert 0 <= score <= network.n_parameters


def test_every_fisher_has_one_signature_and_no_negative_score(make_network, draw_images):
    network = make_network()
    for compute in FISHERS.values():
        assert compute(network, *draw_images(network, 5), 1e-4) >= 0


def test_a_single_sample_counts_the_parameters_it_moves(make_network, draw_images):
    # With N = 1 every term is g²/g².
    network = make_network(GROWTH)
    images, labels = draw_images(network, 1)
    moved = (flat(one_at_a_time(network, images, labels)).abs() > 1e-12).sum().item()
    assert diagonal(network, images, labels, 1e-40) == pytest.approx(moved, abs=1e-3)
    assert 0 < moved <= network.n_parameters


def test_more_damping_never_raises_the_score(make_network, draw_images):
    network = make_network()
    images, labels = draw_images(network, 20)
    scores = [diagonal(network, images, labels, 10.0**e) for e in range(-12, 4)]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < 1e-3 * scores[0]


def test_the_order_and_the_repetition_of_samples_do_not_matter(make_network, draw_images):
    network = make_network()
    images, labels = draw_images(network, 12)
    expected = diagonal(network, images, labels, 1e-8)
    order = torch.randperm(12)
    assert diagonal(network, images[order], labels[order], 1e-8) == pytest.approx(expected)
    twice = (images.repeat(2, 1, 1, 1), labels.repeat(2))
    assert diagonal(network, *twice, 1e-8) == pytest.approx(expected)


def test_the_score_does_not_depend_on_the_parameters_units(make_network, draw_images):
    # LeakyReLU(c·x) = c·LeakyReLU(x): the head's maps times c, their readers by c, is the same
    # function, and each of these gradients is scaled, in ḡ² as in F. Damping breaks this.
    network = make_network(GROWTH)
    images, labels = draw_images(network, 12)
    before = network.eval()(images)
    expected = diagonal(network, images, labels, 1e-30)
    with torch.no_grad():
        for parameter in (network.head.last.weight, network.head.last.bias):
            parameter.mul_(8)
        network.head.skip.weight.mul_(8)
        network.head.hidden.weight.div_(8)
    torch.testing.assert_close(network(images), before)
    assert diagonal(network, images, labels, 1e-30) == pytest.approx(expected, rel=1e-7)


def test_gradients_that_cancel_score_nothing(make_network, draw_images):
    # With no output weights every class has the same probability: over all labels of an image
    # the mean gradient is zero.
    network = make_network()
    nn.init.zeros_(network.head.output.weight)
    nn.init.zeros_(network.head.output.bias)
    images, _ = draw_images(network, 5)
    classes = network.spec.classes
    labels = torch.arange(classes).repeat_interleave(len(images))
    score = diagonal(network, images.repeat(classes, 1, 1, 1), labels, 1e-8)
    assert score < 1e-20


@pytest.mark.parametrize("count", [1, 4, 6])
def test_labels_of_pure_chance_score_one_nth_for_each_parameter(count, make_network, draw_images):
    """The noise floor: E[ḡ²/F] = 1/N where the per-sample gradients have random signs.

    With no output weights and two classes, the other label is the negative gradient. Over all 2^N
    labellings, equally likely, E[(Σ ±a_n)²] = Σ a_n², so that η has mean p/N, p counting the
    parameters with any gradient: the output layer's.
    """
    network = make_network(classes=2)
    nn.init.zeros_(network.head.output.weight)
    nn.init.zeros_(network.head.output.bias)
    images, _ = draw_images(network, count)
    scores = [
        diagonal(network, images, torch.tensor(labels), 1e-30)
        for labels in itertools.product([0, 1], repeat=count)
    ]
    active = network.head.output.weight.numel() + 2
    assert sum(scores) / len(scores) == pytest.approx(active / count, rel=1e-9)


def test_float32_is_exact_to_its_precision(make_network, draw_images):
    rng = random.Random(0)
    for _ in range(3):
        exact = make_network(GROWTH, classes=rng.randint(2, 9))
        images, labels = draw_images(exact, 30)
        single = SECNN(exact.spec)
        single.load_state_dict(exact.state_dict())
        expected = diagonal(exact, images, labels, 1e-8)
        assert diagonal(single, images.float(), labels, 1e-8) == pytest.approx(expected, rel=1e-3)
