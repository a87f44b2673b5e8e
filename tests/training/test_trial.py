"""A trial grows by its configuration, within its budget, and tells what happened."""

import dataclasses
import itertools

import pytest
import torch
from small_trials import CONFIG, finished

from secnn import AddLayer, count_flops, replay, run_trial
from secnn.growth.expansion import EXPANSIONS, Expansion
from secnn.store import checkpoint
from secnn.store.checkpoint import rebuild
from secnn.store.record import EpochRecord
from secnn.training.trial import Trial


def test_the_trial_of_these_tests_meets_every_situation(whole):
    grown = [r["expansion"] for r in whole["records"] if r["expansion"]]
    rates = {r["learning_rate"] for r in whole["records"]}
    assert any("AddLayer" in e for e in grown)
    assert any("AddChannels" in e for e in grown)
    assert len(rates) > 1


def test_records_tell_what_happened(digits, whole):
    records = whole["records"]
    assert [r["epoch"] for r in records] == list(range(1, CONFIG.epochs + 1))
    for before, after in itertools.pairwise(records):
        assert (after["parameters"] > before["parameters"]) == (before["expansion"] is not None)
    grown = [r["epoch"] for r in records if r["expansion"]]
    assert all(b - a > CONFIG.cooldown for a, b in itertools.pairwise(grown))
    assert CONFIG.epochs not in grown
    chosen = [r for r in whole["considered"] if r["chosen"]]
    assert [r["epoch"] for r in chosen] == grown
    assert all(r["logit_change"] < 0.01 for r in chosen)
    for row in records:
        assert (row["eta_current"] is None) == (row["best_channels_ratio"] is None)


@pytest.mark.parametrize("cooldown", [0, 1, 2])
def test_the_reductions_are_those_of_the_epochs_around_an_expansion(digits, cooldown):
    config = dataclasses.replace(CONFIG, criterion="schedule", cooldown=cooldown)
    trial, span = Trial(config, digits), max(1, cooldown)
    while not trial.done:
        trial.step()
        losses = {r.epoch: r.val_loss for r in trial.records}
        for record in trial.considered:
            found = record.reduction_before, record.realised_reduction
            if not record.chosen:
                assert found == (None, None)
                continue
            ends = [(record.epoch - span, record.epoch), (record.epoch, record.epoch + span)]
            assert found == tuple(
                losses[a] - losses[b] if a in losses and b in losses else None for a, b in ends
            )
    chosen = [r for r in trial.considered if r.chosen]
    assert chosen[0].realised_reduction is not None
    # No further epoch follows that an expansion at the end could be measured in.
    assert (chosen[-1].realised_reduction is None) == (chosen[-1].epoch + span > config.epochs)


def test_the_ladder_holds_firsts_and_bests(digits):
    trial = Trial(CONFIG, digits)
    finished(trial)
    records = trial.records
    best = max(records, key=lambda r: r.val_accuracy)
    assert trial.ladder["best"]["metrics"]["epoch"] == best.epoch
    for size in {r.parameters for r in records}:
        of_size = max((r for r in records if r.parameters == size), key=lambda r: r.val_accuracy)
        assert trial.ladder[f"size-{size}"]["metrics"]["epoch"] == of_size.epoch
    for target in CONFIG.targets:
        reached = [r for r in records if r.val_accuracy >= target]
        assert (f"target-{target}" in trial.ladder) == bool(reached)
        if reached:
            content = trial.ladder[f"target-{target}"]
            assert content["metrics"]["epoch"] == reached[0].epoch
            assert rebuild(content).n_parameters == reached[0].parameters


def test_finishing_measures_the_test_accuracy_of_the_best_network(digits):
    trial = Trial(dataclasses.replace(CONFIG, epochs=2), digits)
    finished(trial)
    assert "test_accuracy" not in trial.ladder["best"]["metrics"]
    record = trial.finish()
    assert record.test_accuracy == trial.ladder["best"]["metrics"]["test_accuracy"]
    best = max(trial.records, key=lambda r: r.val_accuracy)
    assert (record.best_epoch, record.parameters_at_best) == (best.epoch, best.parameters)


@pytest.mark.parametrize("criterion", ["never", "random", "schedule"])
def test_controls_run_without_scores(digits, criterion):
    config = dataclasses.replace(CONFIG, criterion=criterion, cooldown=1, epochs=5)
    trial = Trial(config, digits)
    finished(trial)
    assert len(trial.expansions) == (0 if criterion == "never" else 2)
    assert all(r.eta_current is None for r in trial.records)


@pytest.mark.parametrize("budget", [{"max_parameters": 6500}, {"max_flops": 400_000}])
def test_growth_stays_within_its_budget(digits, budget):
    config = dataclasses.replace(CONFIG, criterion="schedule", cooldown=0, epochs=8, **budget)
    (name, most) = next(iter(budget.items()))
    column = name.removeprefix("max_")
    sizes = [getattr(r, column) for r in run_trial(config, digits)]
    assert sizes[0] < sizes[-1] <= most


def test_operations_are_counted_once_a_size(digits, monkeypatch):
    counted = []

    def count(network):
        counted.append(network.spec)
        return count_flops(network)

    monkeypatch.setattr("secnn.training.trial.count_flops", count)
    trial = Trial(dataclasses.replace(CONFIG, criterion="schedule"), digits)
    while not trial.done:
        before = count_flops(trial.network)
        assert trial.step().flops == before
    assert len(counted) == len(set(counted)) == 1 + len(trial.expansions) < trial.epoch


@dataclasses.dataclass(frozen=True)
class TwoLayers(Expansion):
    """An expansion of one's own."""

    block: int

    @classmethod
    def everywhere(cls, network, channels):
        return [cls(block) for block in range(len(network.blocks))]

    def fits(self, network):
        return len(network.blocks[self.block].layers) + 2 <= network.spec.capacity

    def grown(self, spec):
        return AddLayer(self.block).grown(AddLayer(self.block).grown(spec))

    def apply(self, network, optimizer=None, images=None, generator=None, filters=None):
        for _ in range(2):
            AddLayer(self.block).apply(network, optimizer, images, generator)


@pytest.fixture
def two_layers():
    """Registered for as long as the test runs."""
    EXPANSIONS["TwoLayers"] = TwoLayers
    yield
    del EXPANSIONS["TwoLayers"]


def test_an_expansion_of_one_s_own_takes_one_line(digits, two_layers, tmp_path):
    only = {"criterion": "density", "tau": 1e-9, "capacity": 10, "expansions": ("TwoLayers",)}
    config = dataclasses.replace(CONFIG, **only, lam=0.0, epochs=4, max_flops=1_500_000)
    trial = Trial(config, digits)
    finished(trial)
    assert {r.kind for r in trial.considered} == {"TwoLayers"}
    assert trial.expansions and {type(e) for e in trial.expansions} == {TwoLayers}
    assert all(r.logit_change < 0.01 for r in trial.considered if r.chosen)
    checkpoint.save(tmp_path / "last.pt", trial.state())
    assert replay(tmp_path / "last.pt").spec == trial.network.spec


def test_run_trial_yields_records(digits):
    records = list(run_trial(dataclasses.replace(CONFIG, epochs=2), digits))
    assert all(isinstance(r, EpochRecord) for r in records)
    assert len(records) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_runs_the_same_trial(digits, whole):
    records = list(run_trial(CONFIG, digits, "cuda"))
    assert [r.epoch for r in records] == [r["epoch"] for r in whole["records"]]


def test_a_trial_without_its_networks_cannot_be_summed_up(digits):
    short = dataclasses.replace(CONFIG, epochs=1)
    trial = Trial(short, digits)
    with pytest.raises(ValueError, match="train an epoch"):
        trial.finish()
    trial.step()
    elsewhere = Trial(short, digits)
    elsewhere.restore(trial.state())
    with pytest.raises(ValueError, match="give a restored trial the ladder it had"):
        elsewhere.finish()
    assert trial.finish().epochs == 1
