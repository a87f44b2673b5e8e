"""Every network of a ladder against the same network trained alone for as many operations.

    python benchmarks/alone.py run OUT DATASET [--seeds 0] [--sizes 7746 …]
    python benchmarks/alone.py judge OUT [--seeds 0]

OUT is a study. `run` trains, one after the other, the network of each rung of its reference trials
(or of `--sizes` alone) from scratch with the same recipe, in one rung, for as many epochs as come
to the multiply-adds that the trial had spent by that rung's end; it goes on where it was stopped.
`judge` prints both accuracies of each size, and what the ladder cost against all sizes alone; rows
stay in alone.csv beside this file.
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
from secnn.analysis.logs import read_log
from secnn.kernels.memory import keep_freed_memory
from secnn.study.store import TrialStore, read_study

RESULTS = Path(__file__).with_suffix(".csv")


def references(out: Path, seeds: list[int]) -> dict[str, TrialConfig]:
    """The trials that grow at the reference's settings."""
    study = read_study(out)
    configs = {key: TrialConfig.from_dict(fields) for key, fields in study["trials"].items()}
    first = next(iter(configs.values()))
    return {
        k: c for k, c in configs.items() if replace(c, seed=first.seed) == first and c.seed in seeds
    }


def rungs(out: Path, key: str) -> pd.DataFrame:
    """The last epoch of every finished rung, with `spent`, the trial's FLOPs for an image each
    epoch until then."""
    log = read_log(out, "epochs", key).sort_values("epoch")
    log["spent"] = log["flops"].cumsum()
    ends = log.groupby("rung").last().reset_index()
    finished = ends["rung"] < ends["rung"].max()
    done = log["epoch"].max() == int(read_study(out)["trials"][key]["epochs"])
    return ends[finished | done]


def alone(config: TrialConfig, rung: pd.Series) -> TrialConfig:
    """The network of `rung`, for as many FLOPs in one rung."""
    return replace(
        config,
        criterion="never",
        channels=tuple(map(int, rung["channels"].split("-"))),
        layers=tuple(map(int, rung["layers"].split("-"))),
        epochs=max(1, round(rung["spent"] / rung["flops"])),
    )


def store(out: Path, key: str, parameters: int) -> TrialStore:
    return TrialStore(Path("runs/alone") / out.name, f"{key},size={parameters}", {"trial": key})


def run(asked: argparse.Namespace) -> None:
    keep_freed_memory()
    torch.set_num_threads(1)
    data = load_dataset(asked.dataset)
    for key, config in references(asked.out, asked.seeds).items():
        for _, rung in rungs(asked.out, key).iterrows():
            if not asked.sizes or rung["parameters"] in asked.sizes:
                train(alone(config, rung), data, store(asked.out, key, rung["parameters"]))


def gather(out: Path, seeds: list[int]) -> pd.DataFrame:
    """A row for each size that was trained alone, which then are in `RESULTS` too."""
    known = [pd.read_csv(RESULTS)] if RESULTS.exists() else []
    for key, config in references(out, seeds).items():
        for _, rung in rungs(out, key).iterrows():
            there = store(out, key, rung["parameters"])
            if there.done:
                last = read_log(there.out, "epochs", there.key).iloc[-1]
                row = {
                    "study": out.name,
                    "seed": config.seed,
                    **rung[["parameters", "flops", "epoch"]],
                }
                row |= {"spent": rung["spent"], "grown": rung["val_accuracy"]}
                known.append(
                    pd.DataFrame([row | {"epochs": last["epoch"], "alone": last["val_accuracy"]}])
                )
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
