"""A study's trials, one after the other in this process: what Ray's must come to as well."""

from pathlib import Path

from secnn.data.dataset import load_dataset
from secnn.study import retrain
from secnn.study.command import parser
from secnn.study.run import describe
from secnn.study.store import TrialStore, open_study
from secnn.study.worker import identity
from secnn.training.config import TrialConfig
from secnn.training.trial import Trial


def run(arguments: tuple, out: Path, epochs: int | None = None) -> None:
    """Train the trials that `study/run.py arguments` asks for, to their end or up to `epochs`."""
    asked = parser().parse_args([str(argument) for argument in arguments])
    data = load_dataset(asked.dataset)
    study = describe(asked, data)
    open_study(out, study)
    for key in study["trials"]:
        study = retrain.resolved(out, study, [key])
        config = TrialConfig.from_dict(study["trials"][key])
        store = TrialStore(out, key, identity(study, key, config))
        with store.fence:
            trial = Trial(config, data, ladder=store.ladder)
            store.resume(trial)
            train(trial, store, epochs or config.epochs)


def train(trial: Trial, store: TrialStore, epochs: int) -> None:
    """Train and store up to `epochs`."""
    while trial.epoch < epochs:
        trial.step()
        store.save(trial)
    if trial.done:
        store.finish(trial.config, trial.finish())
