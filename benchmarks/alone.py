"""Every network of a ladder against the same network trained alone for as many operations.

    python benchmarks/alone.py run OUT DATASET [--seeds 0] [--sizes 7746 …]
    python benchmarks/alone.py judge OUT [--seeds 0]

OUT is a study. `run` trains, one after the other, the network of each rung of its reference trials
(or of `--sizes` alone) from scratch with the same recipe, in one rung, for as many epochs as come
to the multiply-adds that the trial had spent by that rung's end; it goes on where it was stopped.
`judge` prints both accuracies of each size, of its best epoch, and what the ladder cost against
all sizes alone; rows stay in alone.csv beside this file.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from accuracy import interval
from arms import train

from secnn import TrialConfig, load_dataset
from secnn.analysis.logs import Trial, read_log, read_study
from secnn.analysis.summary import ladder
from secnn.kernels.memory import keep_freed_memory
from secnn.study import store

RESULTS = Path(__file__).with_suffix(".csv")


def references(out: Path, seeds: list[int]) -> list[Trial]:
    """The trials at the reference's settings."""
    study = read_study(out)
    return [trial for trial in study.settings[study.reference] if trial.seed in seeds]


def rungs(trial: Trial) -> pd.DataFrame:
    """Its ladder, with `spent`, the trial's FLOPs for an image each epoch until then."""
    return ladder(trial).assign(spent=trial.epochs["flops"].cumsum())


def settings(out: Path, key: str) -> TrialConfig:
    return TrialConfig.from_dict(store.read_study(out)["trials"][key])


def alone(config: TrialConfig, rung: pd.Series) -> TrialConfig:
    """The network of `rung`, for as many FLOPs in one rung."""
    return replace(
        config,
        criterion="never",
        channels=tuple(map(int, rung["channels"].split("-"))),
        layers=tuple(map(int, rung["layers"].split("-"))),
        epochs=max(1, round(rung["spent"] / rung["flops"])),
    )


def there(out: Path, key: str, parameters: int) -> store.TrialStore:
    """Where the files of the trial of one size are."""
    name = f"{key},size={parameters}"
    return store.TrialStore(Path("runs/alone") / out.name, name, {"trial": key})


def run(asked: argparse.Namespace) -> None:
    keep_freed_memory()
    torch.set_num_threads(1)
    data = load_dataset(asked.dataset)
    for trial in references(asked.out, asked.seeds):
        config = settings(asked.out, trial.key)
        for _, rung in rungs(trial).iterrows():
            if not asked.sizes or rung["parameters"] in asked.sizes:
                train(alone(config, rung), data, there(asked.out, trial.key, rung["parameters"]))


def gather(out: Path, seeds: list[int]) -> pd.DataFrame:
    """A row for each size that was trained alone, which then are in `RESULTS` too."""
    known = [pd.read_csv(RESULTS)] if RESULTS.exists() else []
    for trial in references(out, seeds):
        for _, rung in rungs(trial).iterrows():
            files = there(out, trial.key, rung["parameters"])
            if files.done:
                epochs = read_log(files.out, "epochs", files.key)
                row = {"study": out.name, "seed": trial.seed}
                row |= dict(rung[["parameters", "flops", "epoch", "spent"]])
                row |= {"grown": rung["val_accuracy"]}
                row |= {"epochs": len(epochs), "alone": epochs["val_accuracy"].max()}
                known.append(pd.DataFrame([row]))
    if not known:
        sys.exit(f"no size of {out} was trained alone yet: alone.py run {out} DATASET")
    rows = pd.concat(known, ignore_index=True)
    rows = rows.drop_duplicates(["study", "seed", "parameters"], keep="last")
    rows = rows.sort_values(["study", "seed", "parameters"])
    rows.to_csv(RESULTS, index=False, float_format="%.6g")
    return rows[(rows["study"] == out.name) & rows["seed"].isin(seeds)]


def judge(asked: argparse.Namespace) -> None:
    rows = gather(asked.out, asked.seeds)
    print("| seed | parameters | epochs grown | % | epochs alone | % | grown − alone |")
    print("|---|---|---|---|---|---|---|")
    for row in rows.itertuples():
        print(
            f"| {row.seed} | {row.parameters:,.0f} | {row.epoch:.0f} | {row.grown:.1f} | "
            f"{row.epochs:.0f} | {row.alone:.1f} | {row.grown - row.alone:+.1f} |"
        )
    print("\ngrown − alone, mean of all:", interval((rows["grown"] - rows["alone"]).tolist()))
    for seed, of_seed in rows.groupby("seed"):
        share = of_seed["spent"].max() / of_seed["spent"].sum()
        print(f"seed {seed}: the ladder takes {share:.0%} of the operations of these sizes alone")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "judge"))
    parser.add_argument("out", type=Path)
    parser.add_argument("dataset", nargs="?")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--sizes", nargs="+", type=int)
    asked = parser.parse_args()
    {"run": run, "judge": judge}[asked.what](asked)


if __name__ == "__main__":
    main()
