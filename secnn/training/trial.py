"""A trial: a network that trains and grows, epoch by epoch."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

import torch

from secnn.data.batches import normalize
from secnn.data.dataset import ImageData
from secnn.growth.consideration import can_grow, consider, expand, grows
from secnn.growth.expansion import Expansion, from_dict
from secnn.growth.proposal import expect_sites
from secnn.network.network import SECNN, count_flops
from secnn.network.spec import NetworkSpec
from secnn.store import checkpoint
from secnn.store.ladder import Keeper
from secnn.store.record import EpochRecord, ExpansionRecord, TrialRecord
from secnn.training import audit
from secnn.training.config import TrialConfig
from secnn.training.epoch import Metrics, evaluate
from secnn.training.learner import Learner, normalised, place
from secnn.training.schedule import Rate, Schedule


class TrialDiverged(ArithmeticError):
    """The loss is not finite any more."""


class Trial:
    """The state of a trial between two epochs.

    The randomness of each epoch derives from the seed and the epoch's number alone, so that there
    is no generator to save: a trial restored from `state` goes on exactly as if never stopped.

    Attributes:
        records: one `EpochRecord` an epoch.
        considered: one `ExpansionRecord` for each candidate considered.
        expansions: those made, in order.
        ladder: name → checkpoint content, the networks that the trial leaves: `best` overall,
            `target-70` the first to reach 70 %, `size-11360` the best of each size. A dict, or a
            `secnn.store.ladder.Folder`.
    """

    def __init__(
        self,
        config: TrialConfig,
        data: ImageData,
        device: str | torch.device | None = None,
        ladder: MutableMapping[str, dict] | None = None,
    ) -> None:
        self.config = config
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.data = normalised(data, config).to(self.device)
        self.ladder = {} if ladder is None else ladder
        self.keeper = Keeper(self.ladder, config.targets)
        self.records: list[EpochRecord] = []
        self.considered: list[ExpansionRecord] = []
        self.expansions: list[Expansion] = []
        self._counted: tuple[NetworkSpec | None, int] = None, 0
        self._scoring_set = self._draw_scoring_set()
        self.learner = Learner(self._start(), config, self.device)
        self.schedule.go_on(0, False, can_grow(self.network, config, []))
        if grows(config):
            expect_sites(self.network, config.proposal)

    @property
    def network(self) -> SECNN:
        """The network as it is now."""
        return self.learner.network

    @property
    def schedule(self) -> Schedule:
        """Of the learning rate, and of growth."""
        return self.learner.schedule

    @property
    def epoch(self) -> int:
        """Epochs trained."""
        return len(self.records)

    @property
    def done(self) -> bool:
        """Whether all epochs are trained."""
        return self.epoch >= self.config.epochs

    def step(self) -> EpochRecord:
        """Train one epoch, evaluate, and grow if the criterion says so. The first one empties the
        ladder.

        Raises:
            TrialDiverged: the loss is not finite; the trial stays as it was after the last epoch
                that was, on disk.
        """
        epoch = self.epoch + 1
        if epoch == 1:
            self.keeper.clear()
        with self._randomness(epoch):
            self.network.anneal_slopes(self.schedule.annealing())
            rate = self.schedule.rate(epoch)
            trained, validated, seconds = self._measured(rate, epoch)
            self.schedule.observe(validated.accuracy, validated.loss)
            before, rung = self._shape(), self.schedule.rung
            self._keep(epoch, before, trained, validated)
            kept = time.perf_counter()
            grown = self._grow(epoch, validated.loss)
        record = EpochRecord(
            epoch=epoch,
            **before,
            train_loss=trained.loss,
            train_accuracy=trained.accuracy,
            val_loss=validated.loss,
            val_accuracy=validated.accuracy,
            learning_rate=rate(0.5),
            kernel=self.learner.kernel,
            precision=self.learner.precision,
            **grown,
            **seconds,
            score_seconds=time.perf_counter() - kept,
            rung=rung,
        )
        self.records.append(record)
        losses = [r.val_loss for r in self.records]
        self.considered = audit.with_reductions(self.considered, losses, self.schedule.around)
        return record

    def _measured(self, rate: Rate, epoch: int) -> tuple[Metrics, Metrics, dict]:
        """Train and evaluate for an epoch: both metrics, and the seconds of each."""
        started = time.perf_counter()
        trained = self._expect_finite(self.learner.train(self.data, rate), "training", epoch)
        halfway = time.perf_counter()
        validated = self._expect_finite(self.learner.validate(self.data), "validation", epoch)
        ended = time.perf_counter()
        seconds = {"train_seconds": halfway - started, "eval_seconds": ended - halfway}
        return trained, validated, seconds

    def finish(self) -> TrialRecord:
        """Measure the test accuracy of every network on the ladder, once, and sum up.

        Raises:
            ValueError: no epoch was trained yet, or the ladder is not the one that `step` filled.
        """
        if "best" not in self.ladder:
            raise ValueError(
                "ladder: expected the networks that the trial's epochs left, got none; train an "
                "epoch, and give a restored trial the ladder it had"
            )
        measured: dict[int, Metrics] = {}
        for name in list(self.ladder):
            content = self.ladder[name]
            epoch = content["metrics"]["epoch"]
            if epoch not in measured:
                measured[epoch] = self._test(checkpoint.rebuild(content))
            test = measured[epoch]
            content["metrics"] |= {"test_loss": test.loss, "test_accuracy": test.accuracy}
            self.ladder[name] = content
        best = max(self.records, key=lambda r: r.val_accuracy)
        return TrialRecord(
            epochs=self.epoch,
            best_val_accuracy=best.val_accuracy,
            best_epoch=best.epoch,
            parameters_at_best=best.parameters,
            test_accuracy=self.ladder["best"]["metrics"]["test_accuracy"],
            final_parameters=self.network.n_parameters,
            expansions=len(self.expansions),
            seconds=sum(r.train_seconds + r.eval_seconds + r.score_seconds for r in self.records),
        )

    def state(self) -> dict:
        """Checkpoint content that `restore` continues from; it is also a network's checkpoint."""
        content = checkpoint.describe(self.network, self.data, self.expansions, self._metrics())
        return content | {
            "config": self.config.to_dict(),
            "training": {
                **self.learner.state(),
                "best_of_size": self.keeper.best_of_size,
                "records": [dataclasses.asdict(r) for r in self.records],
                "considered": [dataclasses.asdict(r) for r in self.considered],
            },
        }

    def restore(self, content: dict) -> None:
        """Take up where the trial that gave `content` stood.

        Raises:
            ValueError: the content belongs to another configuration or other data.
        """
        # Compared as configurations: a setting that is newer than the file has its default there.
        if TrialConfig.from_dict(content["config"]) != self.config:
            raise ValueError("content: a trial of another configuration; start a new trial")
        if content["data"]["fingerprint"] != self.data.fingerprint:
            raise ValueError("content: a trial on other data; start a new trial")
        training = content["training"]
        self.learner = Learner(checkpoint.rebuild(content), self.config, self.device)
        self.learner.restore(training)
        self.expansions = [from_dict(fields) for fields in content["expansions"]]
        self.records = [EpochRecord(**fields) for fields in training["records"]]
        self.keeper.best_of_size = training["best_of_size"]
        self.keeper.highest = max((r.val_accuracy for r in self.records), default=-math.inf)
        self.considered = [ExpansionRecord(**fields) for fields in training["considered"]]

    def _start(self) -> SECNN:
        with self._randomness(0):
            network = SECNN(self.config.start(self.data.image_shape, self.data.classes))
        network.data = checkpoint.describe_data(self.data)
        return network

    @contextmanager
    def _randomness(self, epoch: int) -> Iterator[None]:
        """Inside, the global generators are seeded for `epoch`; afterwards they are as before."""
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(self._seed(epoch))
            yield

    def _seed(self, epoch: int) -> int:
        return self.config.seed * 1_000_003 + epoch

    def _draw_scoring_set(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Training images without augmentation, the same for the whole trial."""
        generator = torch.Generator().manual_seed(self._seed(0))
        count = len(self.data.train_images)
        drawn = torch.randperm(count, generator=generator)[: self.config.score_samples]
        drawn = drawn.to(self.device)
        return normalize(self.data.train_images[drawn], self.data), self.data.train_labels[drawn]

    def _expect_finite(self, measured: Metrics, what: str, epoch: int) -> Metrics:
        if not math.isfinite(measured.loss):
            raise TrialDiverged(
                f"epoch {epoch}: the {what} loss is {measured.loss}; lower learning_rate "
                f"({self.config.learning_rate:g})"
            )
        return measured

    def _test(self, network: SECNN) -> Metrics:
        network = place(network, self.config, self.device)
        return evaluate(network, self.data.test_images, self.data.test_labels, self.data)

    def _shape(self) -> dict:
        spec = self.network.spec
        if spec != self._counted[0]:  # A count is slow beside an epoch on a GPU.
            self._counted = spec, count_flops(self.network)
        return {
            "parameters": self.network.n_parameters,
            "flops": self._counted[1],
            "channels": "-".join(map(str, spec.channels)),
            "layers": "-".join(map(str, spec.layers)),
        }

    def _metrics(self) -> dict:
        return dataclasses.asdict(self.records[-1]) if self.records else {}

    def _keep(self, epoch: int, shape: dict, trained: Metrics, validated: Metrics) -> None:
        metrics = {"epoch": epoch, **shape, "train_loss": trained.loss}
        metrics |= {"val_loss": validated.loss, "val_accuracy": validated.accuracy}
        self.keeper.offer(
            validated.accuracy,
            lambda: checkpoint.describe(self.network, self.data, self.expansions, metrics),
        )
        if epoch == self.config.epochs:
            self.keeper.close_size()

    def _grow(self, epoch: int, loss: float) -> dict:
        """Consider the candidates and make the chosen one; the columns of the epoch's record."""
        if not (self.schedule.asks(epoch) and grows(self.config)):
            return audit.NOT_CONSIDERED
        given = self.network, self.config, self._scoring_set, self.expansions
        losses = [*(r.val_loss for r in self.records), loss]
        grown_after = [r.epoch for r in self.records if r.expansion]
        considered = consider(*given, losses, self._seed(epoch), grown_after)
        chosen, change = considered.decision.expansion, None
        if chosen is not None:
            change = self._expand(chosen, epoch)
        further = can_grow(self.network, self.config, self.expansions)
        self.schedule.go_on(epoch, chosen is not None, further)
        self.considered += audit.records(considered, epoch, change)
        return audit.columns(considered, change)

    def _expand(self, expansion: Expansion, epoch: int) -> float:
        self.keeper.close_size()
        self.expansions.append(expansion)
        given = self.network, self.learner.optimizer, expansion, self.config.proposal
        return expand(*given, self._scoring_set, self._seed(epoch))


def run_trial(
    config: TrialConfig,
    data: ImageData,
    device: str | torch.device | None = None,
    ladder: MutableMapping[str, dict] | None = None,
) -> Iterator[EpochRecord]:
    """Train and grow a network, yielding an `EpochRecord` an epoch; arguments as for `Trial`,
    errors as for `Trial.step`."""
    trial = Trial(config, data, device, ladder)
    while not trial.done:
        yield trial.step()
