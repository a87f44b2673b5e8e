"""Studies on disk, written without running them, and what outputs are compared with."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
PLANNED = 15


def config(criterion="natural", tau=1.5, lam=0.0, seed=0) -> dict:
    return {"criterion": criterion, "tau": tau, "lam": lam, "seed": seed, "epochs": PLANNED}


def trial_key(config: dict) -> str:
    read = ("criterion", "tau", "lam", "seed")
    if config["criterion"] != "natural":
        read = ("criterion", "seed")
    return ",".join(
        f"{k}={v if isinstance(v, str) else format(v, 'g')}" for k, v in config.items() if k in read
    )


def write_study(out: Path, configs: list[dict], *, reference=None, **dataset) -> list[str]:
    dataset = {
        "name": "cifar10",
        "source": "synthetic",
        "notice": None,
        "validation": "held-out",
        "classes": 10,
        **dataset,
    }
    trials = {trial_key(c): c for c in configs}
    study = {"format": 1, "preset": "quick", "dataset": dataset, "trials": trials}
    if reference:
        study["reference"] = {k: reference[k] for k in ("criterion", "tau", "lam")}
    out.mkdir(parents=True, exist_ok=True)
    (out / "study.json").write_text(json.dumps(study))
    return list(trials)


def write_log(out: Path, kind: str, key: str, rows: pd.DataFrame) -> Path:
    path = out / "logs" / kind / f"{key}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.x.tmp")
    rows.to_parquet(temporary)
    os.replace(temporary, path)
    return path


def draw_epochs(count: int, seed: int) -> pd.DataFrame:
    """A trial that grows now and then; as a trial logs it, the parameters follow a row later."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(3, count, p=(0.6, 0.2, 0.2))
    named = (None, "AddLayer(block=1)", "AddChannels(block=0, channels=4)")
    added = np.array((0, 2336, 1500))[kinds]
    return pd.DataFrame(
        {
            "epoch": np.arange(1, count + 1),
            "parameters": 9024 + np.cumsum(added) - added,
            "val_accuracy": np.round(85 - 50 * np.exp(-np.arange(count) / 4), 1)
            + rng.integers(-30, 30, count) / 10,
            "expansion": [named[k] for k in kinds],
            "more": 1.0,
        }
    )


def draw_rungs(seed: int, count: int = PLANNED) -> pd.DataFrame:
    """A trial of rungs, after most of which it grows, as `schedule=rungs` logs it; accuracy is not
    highest where a rung ends."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 4, count)
    rung = np.repeat(np.arange(count), lengths)[:count]
    last = np.append(rung[1:] != rung[:-1], True)
    grows = last & (rng.random(count) < 0.8)
    grows[-1] = False
    grown = np.cumsum(grows) - grows
    return pd.DataFrame(
        {
            "epoch": np.arange(1, count + 1),
            "parameters": 9024 + 2336 * grown,
            "flops": 2_000_000 + 1_000_000 * grown,
            "channels": [f"16-16-{16 + 4 * g}" for g in grown],
            "layers": "1-2-1",
            "val_accuracy": np.round(60 + 20 * (1 - np.exp(-grown / 2)) + rng.random(count) * 5, 1),
            "learning_rate": 0.008 * rng.random(count),
            "expansion": np.where(grows, "AddChannels(block=2, channels=4)", None),
            "rung": rung + 1,
            **{f"{part}_seconds": 1.0 for part in ("train", "eval", "score")},
        }
    )


def write_trial(out: Path, key: str, epochs: pd.DataFrame, test_accuracy=None) -> None:
    """The epochs, and the row of the end if there is a `test_accuracy`."""
    write_log(out, "epochs", key, epochs)
    if test_accuracy is not None:
        write_log(out, "trials", key, pd.DataFrame({"test_accuracy": [test_accuracy]}))


SWEEP = [
    *(config(seed=s) for s in range(3)),
    config(tau=4.0),
    config(lam=1e-6),
    config(criterion="never"),
]


def pipe_rows(text: str, caption: str) -> dict[str, list[str]]:
    """The rows of the Markdown table under `caption`, by their first cell."""
    lines = text.split(caption)[1].split("**\n")[1].strip().split("\n\n")[0].splitlines()
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells}


def dominates(a: tuple, b: tuple) -> bool:
    return a[0] <= b[0] and a[1] >= b[1] and a != b
