"""Training named arms, with every seed, and comparing them with the first."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from accuracy import interval

from secnn import ImageData, Trial, TrialConfig, load_dataset
from secnn.analysis.logs import read_log
from secnn.kernels.memory import keep_freed_memory
from secnn.study.fence import FenceError
from secnn.study.store import TrialStore

COLUMNS = ("epoch", "rung", "parameters", "flops", "train_accuracy", "val_accuracy", "val_loss")

RECIPE = {
    **{"schedule": "rungs", "optimizer": "adamw", "weight_decay": 0.02, "learning_rate": 8e-3},
    **{"batch_size": 256, "shift": 4, "l1": 0.0, "dropout": 0.0, "head_dropout": 0.0},
}
"""The reference of all comparisons."""


@dataclass(frozen=True)
class Group:
    """Trials that are compared: the first arm's settings, and what each arm changes of them."""

    shared: dict
    arms: dict[str, dict]

    def config(self, arm: str, seed: int) -> TrialConfig:
        """The trial of an arm with a seed."""
        return TrialConfig(**(self.shared | self.arms[arm] | {"seed": seed}))


def command(
    doc: str, groups: Mapping[str, Group], results: Path, validation: str = "held-out"
) -> None:
    """`run DATASET` trains, `judge` prints; rows go to the file `results`. `validation` is that of
    `load_dataset`."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("what", choices=("run", "judge"))
    parser.add_argument("dataset", nargs="?", help="for run: a data set, say a folder of Parquet")
    parser.add_argument("--group", choices=groups, default=next(iter(groups)))
    parser.add_argument("--arms", nargs="+", metavar="ARM")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1], metavar="SEED")
    asked = parser.parse_args()
    group = groups[asked.group]
    arms = asked.arms or list(group.arms)
    if unknown := set(arms) - set(group.arms):
        parser.error(f"--arms: expected some of {', '.join(group.arms)}, got {', '.join(unknown)}")
    folder = Path("runs") / results.stem / asked.group
    if asked.what == "judge":
        judge(group, arms, gather(folder, results, asked.group, arms, asked.seeds))
        return
    keep_freed_memory()
    torch.set_num_threads(1)
    data = load_dataset(asked.dataset, validation=validation)
    for seed in asked.seeds:
        for arm in arms:
            train(group.config(arm, seed), data, store(folder, arm, seed))


def store(folder: Path, arm: str, seed: int) -> TrialStore:
    """Where the files of a trial are."""
    return TrialStore(folder, f"{arm},seed={seed}", {"arm": arm, "seed": seed})


def train(config: TrialConfig, data: ImageData, there: TrialStore) -> None:
    """To the end, unless that is done or another process is at it."""
    try:
        there.fence.acquire()
    except FenceError:
        return
    if not there.done:
        trial = Trial(config, data, ladder=there.ladder)
        there.resume(trial)
        while not trial.done:
            trial.step()
            there.save(trial)
        there.finish(config, trial.finish())
        last, seconds = trial.records[-1], sum(r.train_seconds for r in trial.records)
        reached = f"{last.parameters} parameters, {last.val_accuracy:.2f} %, {seconds:.0f} s"
        print(f"{there.key}: {reached}", flush=True)
    there.fence.release()


def gather(
    folder: Path, results: Path, group: str, arms: list[str], seeds: list[int]
) -> pd.DataFrame:
    """The rows of the finished trials, which then are in `results` too."""
    known = [pd.read_csv(results)] if results.exists() else []
    for trial in (store(folder, arm, seed) for arm in arms for seed in seeds):
        if trial.done:
            log = read_log(folder, "epochs", trial.key)
            known.append(log[list(COLUMNS)].assign(group=group, **_identity(trial)))
    key = ["group", "arm", "seed", "epoch"]
    rows = pd.concat(known, ignore_index=True).drop_duplicates(key, keep="last").sort_values(key)
    rows.to_csv(results, index=False, float_format="%.6g")
    return rows[(rows["group"] == group) & rows["seed"].isin(seeds) & rows["arm"].isin(arms)]


def _identity(trial: TrialStore) -> dict:
    return {name: trial.identity[name] for name in ("arm", "seed")}


def judge(group: Group, arms: list[str], rows: pd.DataFrame) -> None:
    """Print, for each arm, parameters, multiply-adds and validation accuracy of the last epoch over
    seeds with their 95 % interval (Student's t), the paired difference to the first arm, and the
    accuracy at the end of each rung."""
    last = rows.sort_values("epoch").groupby(["arm", "seed"]).last()
    there = set(last.index.get_level_values("arm"))
    first = next(iter(group.arms))
    base = last.xs(first, level="arm")["val_accuracy"] if first in there else None
    print("| arm | n | parameters | M multiply-adds | accuracy | − first | ends of rungs |")
    print("|---|---|---|---|---|---|---|")
    for arm in (a for a in arms if a in there):
        own = last.xs(arm, level="arm")
        paired = [] if base is None or arm == first else (own["val_accuracy"] - base).dropna()
        cells = [
            *(arm, str(len(own)), interval(own["parameters"].tolist(), 0)),
            interval((own["flops"] / 2e6).tolist(), 1),
            interval(own["val_accuracy"].tolist(), 2),
            interval(list(paired), 2),
            ends(rows[rows["arm"] == arm]),
        ]
        print(f"| {' | '.join(cells)} |")


def ends(rows: pd.DataFrame) -> str:
    """Mean parameters and accuracy at the end of each rung."""
    finished = rows.sort_values("epoch").groupby(["seed", "rung"]).last().groupby("rung")
    return ", ".join(
        f"{rung['parameters'].mean():,.0f}: {rung['val_accuracy'].mean():.1f}"
        for _, rung in finished
    )
