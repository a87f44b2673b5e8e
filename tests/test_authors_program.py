"""The authors' program as a plugin: its score, its schedule, its data, and the command."""

import math
import re
from dataclasses import replace

import pytest
import torch
from studies import ROOT, secnn
from torch.nn import functional as F

from examples.authors_network import BoxLayer, DiracLayer, ResetChannels
from examples.authors_program import AUTHORS, LossPlateau
from examples.authors_score import mirrored
from secnn import SECNN, AddChannels, AddLayer
from secnn.growth.candidates import SCORERS, grown_copy
from secnn.study.settings import setting
from secnn.training.recipe import Recipe
from secnn.training.schedule import SCHEDULES

EXPANSIONS = [BoxLayer(0), DiracLayer(1), ResetChannels(0, 4), AddLayer(1), AddChannels(2, 4)]


@pytest.fixture
def network() -> SECNN:
    network = SECNN(AUTHORS.start((3, 32, 32), 10))
    network.train()(torch.randn(16, 3, 32, 32))  # Running statistics of their own.
    return network


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(48, 3, 32, 32, generator=torch.Generator().manual_seed(3))


LABELS = torch.arange(48) % 10


# --- the score ----------------------------------------------------------------------------


def squares(network, images, labels) -> torch.Tensor:
    """The squared gradient of the mean loss, in evaluation mode."""
    network.eval().zero_grad()
    F.cross_entropy(network(images), labels).backward()
    return torch.cat([p.grad.flatten() for p in network.parameters()]).square()


def score(name, network, images, expansions=(), seed=0, **changes):
    return SCORERS[name](network, images, LABELS, expansions, replace(AUTHORS, **changes), seed)


@pytest.mark.parametrize("expansion", [None, *EXPANSIONS])
def test_on_the_same_images_eta_is_a_mean_of_parameters_nearly_one(network, images, expansion):
    """Images that are their own mirror images are the same in both passes, whatever the flips."""
    symmetric = images + images.flip(3)
    expected = network if expansion is None else grown_copy(network, expansion, symmetric, 0)
    found = squares(expected, symmetric, LABELS)
    eta = (found / (found + 1e-5)).mean().item()
    for name in ("fresh-flips", "same-flips"):
        current, candidates = score(name, network, symmetric, [expansion] if expansion else [])
        alone = candidates[0].score if expansion else current
        assert alone == pytest.approx(eta, rel=1e-4)
        assert 0 < alone < 1
        summed, of_copies = score(f"{name}-sum", network, symmetric, [expansion] * bool(expansion))
        whole = of_copies[0].score if expansion else summed
        assert whole == pytest.approx(eta * expected.n_parameters, rel=1e-4)


def test_with_fresh_flips_the_fisher_is_that_of_other_images(network, images):
    drawn = torch.Generator().manual_seed(5)
    first, second = (squares(network, mirrored(images, drawn), LABELS) for _ in range(2))
    expected = (second / (first + 1e-5)).mean().item()
    assert score("fresh-flips", network, images, seed=5)[0] == pytest.approx(expected, rel=1e-4)
    found = {score("fresh-flips", network, images, seed=seed)[0] for seed in range(4)}
    assert len(found) == 4
    # The same flips leave nothing but the count of parameters.
    assert max(found) > 1.2 * score("same-flips", network, images)[0]


def test_each_image_is_mirrored_or_not(images):
    found = mirrored(images, torch.Generator().manual_seed(0))
    kept = (found == images).flatten(1).all(1)
    turned = (found == images.flip(3)).flatten(1).all(1)
    assert (kept ^ turned).all()
    assert 12 < kept.sum() < 36


def test_the_fisher_of_each_image_is_the_mean_of_its_squares(network, images):
    symmetric = images + images.flip(3)
    each = [
        squares(network, symmetric[i : i + 1], LABELS[i : i + 1]) for i in range(len(symmetric))
    ]
    fisher, whole = torch.stack(each).mean(0), squares(network, symmetric, LABELS)
    found, _ = score("fresh-flips", network, symmetric, fisher="diagonal")
    assert found == pytest.approx((whole / (fisher + 1e-5)).mean().item(), rel=1e-3)


def test_lambda_takes_off_by_the_square_of_the_added_parameters(network, images):
    current, candidates = score("fresh-flips", network, images, EXPANSIONS)
    for expansion, candidate in zip(EXPANSIONS, candidates, strict=True):
        grown = grown_copy(network, expansion, images, 0)
        added = grown.n_parameters - network.n_parameters
        assert candidate.expansion == expansion and candidate.added_parameters == added > 0
        expected = candidate.score * math.exp(-1e-7 * added**2)
        assert candidate.regularized == pytest.approx(expected)
        assert candidate.ratio == pytest.approx(expected / current)
        assert candidate.gain == candidate.score - current


def test_scoring_leaves_the_network_as_it_is(network, images):
    before = {name: tensor.clone() for name, tensor in network.named_buffers()}
    weights = [p.detach().clone() for p in network.parameters()]
    score("fresh-flips", network.train(), images, EXPANSIONS)
    assert network.training and all(module.training for module in network.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.named_buffers())
    assert all(map(torch.equal, weights, network.parameters()))
    assert all(p.grad is None for p in network.parameters())


def test_a_full_block_may_be_chosen_and_then_adds_nothing(network, images):
    full = replace(network.spec, layers=(11, 1, 1))
    grown = SECNN(full)
    _, (candidate,) = score("fresh-flips", grown, images, [BoxLayer(0)])
    assert candidate.added_parameters == 0
    assert candidate.regularized == candidate.score > 0


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"fisher": "kfac"}, "fisher: expected batch or diagonal for scorer fresh-flips, got kfac"),
        ({"proposal": "linear"}, "proposal: expected noise"),
        ({"criterion": "confident"}, "criterion: expected .* got confident; choose natural"),
    ],
)
def test_settings_that_mean_nothing_here_are_refused(network, images, changes, text):
    with pytest.raises(ValueError, match=text):
        score("fresh-flips", network, images, **changes)


# --- when ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_rate_falls_where_pytorchs_plateau_lets_it(seed):
    """Of losses that hardly fall, growth in between."""
    drawn = torch.randn(300, generator=torch.Generator().manual_seed(seed))
    losses = (1 + 0.001 * drawn - 1e-5 * torch.arange(300)).tolist()
    theirs = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2e-3)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, factor=0.5, patience=15)
    ours = SCHEDULES["loss-plateau"](Recipe(patience=15), 4)
    for epoch, loss in enumerate(losses, 1):
        assert ours.rate(epoch)(0.5) == theirs.param_groups[0]["lr"]
        plateau.step(loss)
        ours.observe(accuracy=50.0, loss=loss)
        ours.go_on(epoch, grown=epoch % 7 == 0, grows=True)
        resumed = SCHEDULES["loss-plateau"](Recipe(patience=15), 4)
        resumed.restore(ours.state())
        ours = resumed
    assert theirs.param_groups[0]["lr"] < 1e-3


def test_accuracy_does_not_matter():
    schedule = LossPlateau(Recipe(patience=1), 4)
    for epoch in range(1, 4):
        schedule.observe(accuracy=10.0 * epoch, loss=1.0)
    assert schedule.rate(4)(0.0) == 1e-3


def test_after_an_expansion_the_check_rests_until_the_fifth_epoch_after_it():
    schedule = LossPlateau(AUTHORS, AUTHORS.cooldown)
    assert schedule.asks(1) and schedule.asks(2)
    schedule.go_on(2, grown=True, grows=True)
    assert [epoch for epoch in range(3, 12) if schedule.asks(epoch)] == [7, 8, 9, 10, 11]
    schedule.go_on(7, grown=False, grows=True)
    assert schedule.asks(8)


# --- the command --------------------------------------------------------------------------

COMMAND = ("run", "--import", "examples.authors_program", "--preset", "authors")


def test_every_switch_that_the_document_names_is_one():
    text = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
    named = dict.fromkeys(re.findall(r"\b([a-z_]+=[A-Za-z0-9.,-]+)", text))
    assert len(named) > 20
    for name, value in map(setting, named.keys() - {"fisher=batch"}):
        replace(AUTHORS, **{name: value})


def test_the_command_knows_the_preset_and_its_switches(tmp_path):
    switches = ("--set", "scorer=same-flips", "expansions=DiracLayer,AddChannels")
    switches = (*switches, "image_mean=none", "image_std=none", "batches=equal", "damping=none")
    arguments = (
        "--dataset",
        "digits",
        "--dry-run",
        "--fisher",
        "diagonal",
        "--out",
        tmp_path / "o",
    )
    done = secnn(*COMMAND, *arguments, *switches)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("criterion=natural")]
    assert lines and all(",tau=2,lam=1e-07,seed=" in line for line in lines)


def test_a_study_of_small_grey_images_needs_constants_of_its_own(tmp_path):
    arguments = ("--dataset", "digits", "--epochs", "2", "--num-samples", "1")
    own = ("--set", "image_mean=none", "image_std=none", "score_samples=64")
    done = secnn(*COMMAND, *arguments, *own, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out" / "trials" / "criterion=natural,tau=2,lam=1e-07,seed=0").is_dir()
