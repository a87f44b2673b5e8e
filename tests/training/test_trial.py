"""A trial is decided by its configuration, and survives being stopped anywhere."""

import dataclasses
import itertools
import math

import pytest
import torch

from secnn import AddLayer, TrialConfig, replay, run_trial
from secnn.data.dataset import ImageData, load_dataset
from secnn.growth.expansion import EXPANSIONS, Expansion
from secnn.store import checkpoint
from secnn.store.checkpoint import rebuild
from secnn.store.record import EpochRecord
from secnn.training.trial import Trial, TrialDiverged

TIMES = {"train_seconds", "eval_seconds", "score_seconds"}

# Grows by a layer and, when none fits, by channels; halves its learning rate, as eight validation
# images tie often; spends epochs in the cooldown. Seeds 0 to 11 do so in float32 and in bfloat16.
CONFIG = TrialConfig(
    tau=0.5,
    lam=1e-6,
    capacity=2,
    layers=(1, 2, 2),
    learning_rate=2e-2,
    epochs=7,
    cooldown=1,
    batch_size=128,
    channel_steps=(2, 4),
    patience=1,
    score_samples=64,
    channels=(4, 4, 4),
    targets=(20, 40),
    kernel="reference",
)


@pytest.fixture(scope="module")
def digits(first) -> ImageData:
    data = first(load_dataset("digits"), 500)
    return dataclasses.replace(
        data,
        validation_images=data.validation_images[:8],
        validation_labels=data.validation_labels[:8],
    )


def untimed(record) -> dict:
    return {k: v for k, v in dataclasses.asdict(record).items() if k not in TIMES}


def finished(trial: Trial) -> dict:
    while not trial.done:
        trial.step()
    return everything(trial)


def everything(trial: Trial) -> dict:
    return {
        "records": [untimed(r) for r in trial.records],
        "considered": [dataclasses.asdict(r) for r in trial.considered],
        "weights": trial.network.state_dict(),
        "moments": {
            name: trial.learner.optimizer.state[p] for name, p in trial.network.named_parameters()
        },
        "ladder": {name: trial.ladder[name]["network"] for name in sorted(trial.ladder)},
    }


def assert_same(one: object, other: object) -> None:
    """Equal bit for bit, tensors included."""
    if torch.is_tensor(one):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    else:
        assert one == other


@pytest.fixture(scope="module")
def whole(digits) -> dict:
    return finished(Trial(CONFIG, digits))


def test_the_trial_of_these_tests_meets_every_situation(whole):
    grown = [r["expansion"] for r in whole["records"] if r["expansion"]]
    rates = {r["learning_rate"] for r in whole["records"]}
    assert any("AddLayer" in e for e in grown)
    assert any("AddChannels" in e for e in grown)
    assert len(rates) > 1


def test_the_same_configuration_gives_the_same_trial(digits, whole):
    torch.manual_seed(5)  # The caller's generator must not matter,
    before = torch.get_rng_state()
    assert_same(whole, finished(Trial(CONFIG, digits)))
    assert torch.equal(before, torch.get_rng_state())  # nor be touched.


def test_another_seed_gives_another_trial(digits, whole):
    other = next(run_trial(dataclasses.replace(CONFIG, seed=1), digits))
    assert untimed(other) != whole["records"][0]


@pytest.mark.parametrize("stop", range(1, CONFIG.epochs))
def test_a_trial_stopped_after_any_epoch_goes_on_bit_for_bit(digits, whole, stop, tmp_path):
    from secnn.store import checkpoint
    from secnn.store.ladder import Folder

    trial = Trial(CONFIG, digits, ladder=Folder(tmp_path))
    for _ in range(stop):
        trial.step()
    checkpoint.save(tmp_path / "last", trial.state())
    resumed = Trial(CONFIG, digits, ladder=Folder(tmp_path))
    resumed.restore(checkpoint.read(tmp_path / "last"))
    assert_same(everything(trial), everything(resumed))
    assert_same(whole, finished(resumed))


def test_restoring_refuses_another_configuration_and_other_data(digits, first):
    state = Trial(CONFIG, digits).state()
    with pytest.raises(ValueError, match="another configuration"):
        Trial(dataclasses.replace(CONFIG, tau=3.0), digits).restore(state)
    with pytest.raises(ValueError, match="other data"):
        Trial(CONFIG, first(digits, 100)).restore(state)


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


def test_a_diverged_trial_says_when_and_keeps_its_last_state(digits):
    trial = Trial(dataclasses.replace(CONFIG, criterion="never"), digits)
    trial.step()
    with torch.no_grad():
        trial.network.head.output.bias.fill_(math.nan)
    with pytest.raises(TrialDiverged, match="epoch 2"):
        trial.step()
    assert trial.epoch == 1


def test_a_network_that_only_evaluation_breaks_is_not_kept(digits):
    trial = Trial(dataclasses.replace(CONFIG, criterion="never"), digits)
    trial.step()
    trial.network.blocks[0].layers[0].norm.running_mean.fill_(math.nan)
    kept = trial.ladder["best"]
    with pytest.raises(TrialDiverged, match="epoch 2: the validation loss is nan"):
        trial.step()
    assert trial.ladder["best"] is kept


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


def test_a_new_trial_leaves_nothing_of_another_on_its_ladder(digits):
    ladder = {name: {"network": {}, "metrics": {"epoch": 1}} for name in ("mine", "best of all")}
    finished(Trial(dataclasses.replace(CONFIG, epochs=3), digits, ladder=ladder))
    other = Trial(dataclasses.replace(CONFIG, criterion="never", epochs=1), digits, ladder=ladder)
    finished(other)
    assert {content["metrics"]["epoch"] for content in ladder.values()} == {1}
    assert {"mine", "best of all"} < set(ladder)


def test_what_restores_in_memory_is_a_copy(digits):
    """Training on from a state moves neither its trial nor what others begin with."""
    config = dataclasses.replace(CONFIG, criterion="never")
    origin, undisturbed = Trial(config, digits), Trial(config, digits)
    origin.step(), undisturbed.step()
    losses = []
    for _ in range(2):
        other = Trial(config, digits)
        other.restore(origin.state())
        losses.append(other.step().train_loss)
    assert losses[0] == losses[1] == undisturbed.step().train_loss == origin.step().train_loss


def test_run_trial_yields_records(digits):
    records = list(run_trial(dataclasses.replace(CONFIG, epochs=2), digits))
    assert all(isinstance(r, EpochRecord) for r in records)
    assert len(records) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_runs_the_same_trial(digits, whole):
    records = list(run_trial(CONFIG, digits, "cuda"))
    assert [r.epoch for r in records] == [r["epoch"] for r in whole["records"]]
