"""Which rule, with which proposal, grows the better networks.

    python benchmarks/growth_quality.py run DATASET [--regime pilot] [--arms never …] [--seeds 0 1]
    python benchmarks/growth_quality.py judge [--regime pilot] [--seeds 0 1]
    python benchmarks/growth_quality.py explain [--regime pilot] [--seeds 0 1]

`run` trains every arm (`ARMS`) with every seed for the same number of epochs, from 9,024 parameters
to a budget, in one of the `REGIMES`; several can run side by side, each going on where it was
stopped. Arm `retrain-X` is the network that arm X ended with, trained from scratch for as many
epochs, `same-flops-X` for as many operations; `at-once-X` makes all of X's expansions before the
first epoch, so that the network is as large as long, but has X's initial weights. `judge` prints,
over seeds with 95 % intervals (Student's t): parameters, FLOPs of an image and validation accuracy
at the end; the mean of the best accuracy so far over the logarithm of the parameters; the best
accuracy within equal floating-point operations of training, before the learning rate falls for
anyone; the change of accuracy in the epoch after an expansion beside that in other epochs before
then; and the difference in accuracy to three controls of the same seed, and of a retrained network
to the grown one. `explain` fits the last accuracy of all grown networks by their operations and
whether no block was left with one layer.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accuracy import interval, shown
from growth_runs import ARMS, PREFIXES, REGIMES, Regime, Run, retrained

from secnn.analysis.stats import log_area, paired
from secnn.kernels.memory import keep_freed_memory

RESULTS = Path(__file__).with_suffix(".csv")
START = 9_024
COLUMNS = (
    *("regime", "arm", "seed", "epoch", "parameters", "flops", "channels", "layers"),
    *("train_loss", "val_loss", "val_accuracy", "expansion", "logit_change"),
)


def gather(regime: str, arms: list[str], seeds: list[int]) -> pd.DataFrame:
    """The rows of these trials as far as they are done, which then are in `RESULTS` too."""
    runs = [Run(regime, arm, seed) for arm in arms for seed in seeds]
    known = [pd.read_csv(RESULTS)] if RESULTS.exists() else []
    found = [run.log().assign(regime=regime)[list(COLUMNS)] for run in runs if run.store.done]
    rows = pd.concat([*known, *found], ignore_index=True)
    key = ["regime", "arm", "seed", "epoch"]
    rows = rows.drop_duplicates(key, keep="last").sort_values(key)
    rows.to_csv(RESULTS, index=False)
    asked = rows["seed"].isin(seeds) & rows["arm"].isin(arms)
    return rows[asked & (rows["regime"] == regime)]


def measures(trial: pd.DataFrame, operations: float, regime: Regime) -> dict[str, float]:
    """The figures of one trial; `operations` is the common budget of equal training, an image."""
    trial = trial.sort_values("epoch")
    steady = trial["epoch"].to_numpy() <= regime.steady
    accuracy, best = trial["val_accuracy"].to_numpy(), trial["val_accuracy"].cummax().to_numpy()
    within = steady & (trial["flops"].cumsum().to_numpy() <= operations)
    changes, grew = np.diff(accuracy), trial["expansion"].notna().to_numpy()[:-1]
    steady = steady[1:]
    return {
        "parameters": trial["parameters"].iloc[-1],
        "MFLOP": trial["flops"].iloc[-1] / 1e6,
        "accuracy": accuracy[-1],
        "loss": trial["val_loss"].iloc[-1],
        "area": log_area(trial["parameters"], best, START, regime.budget),
        "at equal FLOPs": best[within][-1] if within.any() else math.nan,
        "after an expansion": changes[grew & steady].mean() if grew.any() else math.nan,
        "after none": changes[~grew & steady].mean(),
        "expansions": grew.sum(),
    }


def judge(regime: str, arms: list[str], seeds: list[int]) -> None:
    """Print the table."""
    rows = gather(regime, arms, seeds)
    trials = rows.groupby(["arm", "seed"])
    steady = [t[t["epoch"] <= REGIMES[regime].steady] for _, t in trials]
    operations = min(t["flops"].sum() for t in steady if t["expansion"].notna().any())
    found = {which: measures(trial, operations, REGIMES[regime]) for which, trial in trials}
    columns = list(next(iter(found.values())))
    controls = ["random", "random-place", "layers-first", "what it retrains"]
    print("| arm | n | " + " | ".join(columns) + "".join(f" | − {c}" for c in controls) + " |")
    print("|---" * (len(columns) + len(controls) + 2) + "|")
    for arm in dict.fromkeys(a for a, _ in found):
        own = {s: m for (a, s), m in found.items() if a == arm}
        cells = [
            interval([float(m[c]) for m in own.values()], 0 if c == "parameters" else 2)
            for c in columns
        ]
        for control in (*controls[:-1], retrained(arm)):
            others = {s: m for (a, s), m in found.items() if a == control != arm}
            pair = ({s: m["accuracy"] for s, m in of.items()} for of in (own, others))
            cells.append(shown(paired(*pair), 2))
        print(f"| {arm} | {len(own)} | " + " | ".join(cells) + " |")


def explain(regime: str, arms: list[str], seeds: list[int]) -> None:
    """Print the least-squares fit, and its 95 % intervals with the runs as independent."""
    rows = gather(regime, arms, seeds).sort_values("epoch")
    last = rows.groupby(["arm", "seed"]).last()
    last = last[last["parameters"] > START]
    y = last["val_accuracy"].to_numpy()
    layers = last["layers"].str.split("-").map(lambda n: min(map(int, n)))
    terms = {
        "at 1 MFLOP": np.ones(len(last)),
        "each doubling of them": np.log2(last["flops"] / 1e6),
        "two layers or more in every block": layers >= 2,
    }
    for used in (list(terms)[:2], list(terms)):
        x = np.column_stack([terms[name] for name in used]).astype(float)
        found = np.linalg.lstsq(x, y, rcond=None)[0]
        left = y - x @ found
        variance = left @ left / (len(y) - len(used)) * np.linalg.inv(x.T @ x).diagonal()
        print(f"{len(y)} runs, R² {1 - left.var() / y.var():.2f}")
        for name, value, half in zip(used, found, 1.96 * variance**0.5, strict=True):
            print(f"  {name}: {value:.2f} ± {half:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "judge", "explain"])
    parser.add_argument("dataset", nargs="?")
    parser.add_argument("--regime", choices=list(REGIMES), default="pilot")
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked = parser.parse_args()
    if asked.what == "judge":
        arms = [f"{prefix}{arm}" for prefix in ("", *PREFIXES) for arm in asked.arms]
        judge(asked.regime, arms, asked.seeds)
        return
    if asked.what == "explain":
        explain(asked.regime, asked.arms, asked.seeds)
        return
    keep_freed_memory()
    torch.set_num_threads(1)
    data = REGIMES[asked.regime].data(asked.dataset)
    for seed in asked.seeds:
        for arm in asked.arms:
            Run(asked.regime, arm, seed).train(data)


if __name__ == "__main__":
    main()
