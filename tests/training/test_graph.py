"""A recorded step does what the step does, on the CPU twin of a CUDA graph."""

import dataclasses

import pytest
import torch

from secnn import AddLayer, TrialConfig, load_dataset
from secnn.data.batches import normalize
from secnn.training.graph import WARM_UP, CudaGraph, EagerGraph, ReplayedStep
from secnn.training.learner import choose_graph
from secnn.training.trial import Trial

CONFIG = TrialConfig(
    tau=1.001, epochs=4, cooldown=1, batch_size=64, score_samples=64, channels=(4, 4, 4)
)


def untimed(trial):
    return [
        {k: v for k, v in dataclasses.asdict(r).items() if not k.endswith("_seconds")}
        for r in trial.records
    ]


@pytest.fixture(scope="module")
def digits(first):
    """Batches of two sizes: 500 = 4·63 + 4·62."""
    return first(load_dataset("digits"), 500)


def test_a_trial_of_recorded_steps_is_the_same_trial(digits):
    """Through expansions, annealing slopes and batches of several sizes, bit for bit."""
    trials = [
        Trial(dataclasses.replace(CONFIG, kernel=kernel), digits)
        for kernel in ("reference", "graph")
    ]
    for trial in trials:
        while not trial.done:
            trial.step()
    plain, recorded = trials
    assert plain.expansions
    assert {r.kernel for r in plain.records} == {"reference"}
    assert {r.kernel for r in recorded.records} == {"graph"}
    assert [r | {"kernel": "graph"} for r in untimed(plain)] == untimed(recorded)
    for one, other in zip(plain.network.parameters(), recorded.network.parameters(), strict=True):
        assert torch.equal(one, other)


MADE = []


class Log(EagerGraph):
    """Notes what happens to it."""

    def __init__(self):
        self.replays = 0
        MADE.append(self)

    def replay(self):
        self.replays += 1
        super().replay()


def test_each_shape_is_recorded_once_and_then_replayed():
    MADE.clear()
    weight = torch.zeros(())

    def step(images, labels):
        weight.add_(1)
        return torch.stack([images.sum(), labels.sum()])

    replayed = ReplayedStep(step, Log)
    batches = [
        (torch.full((n, 2), float(i)), torch.full((n,), i)) for i in range(8) for n in (3, 5)
    ]
    for images, labels in batches:
        sums = replayed(images, labels)
        assert sums.tolist() == [images.sum(), labels.sum()]
    assert weight == len(batches)
    assert [graph.replays for graph in MADE] == [8 - WARM_UP] * 2


def test_results_are_not_overwritten_by_later_replays():
    replayed = ReplayedStep(lambda x, y: torch.stack([x.sum(), y.sum()]), EagerGraph)
    given = [(torch.full((2, 1), float(i)), torch.zeros(2)) for i in range(6)]
    assert [replayed(*g)[0].item() for g in given] == [0, 2, 4, 6, 8, 10]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_cuda_graph_trains_as_eager_does(digits):
    first, second = (
        Trial(dataclasses.replace(CONFIG, kernel=kernel, epochs=1, precision="float32"), digits)
        for kernel in ("reference", "graph")
    )
    assert second.learner.graph is CudaGraph
    assert first.step().train_loss == pytest.approx(second.step().train_loss, rel=1e-2)


def test_a_recording_is_kept_until_what_it_froze_changes(digits, monkeypatch):
    """A slope that is annealed and a network that grows are recorded anew; an epoch more is not."""
    MADE.clear()
    monkeypatch.setattr("secnn.training.learner.EagerGraph", Log)
    config = dataclasses.replace(CONFIG, kernel="graph", criterion="never", dropout=0.0)
    learner = Trial(config, digits, "cpu").learner
    counts = []

    def epoch():
        learner.train(digits, lambda through: 1e-3)
        counts.append(len(MADE))

    epoch(), epoch()
    AddLayer(0).apply(learner.network, learner.optimizer, normalize(digits.train_images, digits))
    epoch(), epoch()
    learner.network.anneal_slopes(2)
    epoch()
    assert counts == [2, 2, 4, 4, 6]  # Two sizes of batches each time.


@pytest.mark.parametrize(
    "kernel, device, expected",
    [
        ("auto", "cuda", CudaGraph),
        ("graph", "cuda", CudaGraph),
        ("reference", "cuda", None),
        ("auto", "cpu", None),
        ("graph", "cpu", EagerGraph),
    ],
)
def test_steps_are_recorded_on_a_gpu_unless_plain_pytorch_is_asked_for(kernel, device, expected):
    assert choose_graph(kernel, torch.device(device)) is expected
