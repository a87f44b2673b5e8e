"""The command line of a study: its options, checked, and what they ask for."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import math
from pathlib import Path
from typing import NoReturn

from secnn.data.dataset import DATASETS
from secnn.growth.criterion import CRITERIA
from secnn.growth.proposal import PROPOSALS
from secnn.kernels import KERNELS
from secnn.score.fisher import FISHERS
from secnn.training.config import PRECISIONS, TrialConfig
from secnn.training.presets import PRESETS

EPILOG = """\
Exit status: 0 all trials are done; 1 a trial failed; 2 bad input; 130 interrupted.
The same command continues a study that was interrupted.
"""


class Parser(argparse.ArgumentParser):
    """Bad input is answered by one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def parser() -> Parser:
    """The options, in groups."""
    top = Parser(
        prog="study/run.py",
        usage="python %(prog)s [options]",
        description="Train self-expanding networks: seeds, sweeps of tau and lambda, and\n"
        "controls, side by side on Ray Tune.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = top.add_argument_group("what to run")
    what.add_argument(
        "--preset",
        choices=PRESETS,
        default="default",
        help=" | ".join(f"{name}: {preset.summary}" for name, preset in PRESETS.items())
        + "; without this option, default",
    )
    what.add_argument(
        "--num-samples", type=_count, default=5, metavar="N", help="seeds at the reference (5)"
    )
    what.add_argument("--seed-offset", type=_natural, default=0, metavar="S", help="first seed (0)")
    what.add_argument(
        "--tau",
        type=_positive,
        nargs="*",
        metavar="T",
        help="thresholds to sweep; without a value none",
    )
    what.add_argument(
        "--lam", type=_not_negative, nargs="*", metavar="L", help="size penalties; likewise"
    )
    what.add_argument(
        "--sweep-samples", type=_count, default=1, metavar="N", help="seeds a sweep's value (1)"
    )
    what.add_argument(
        "--criterion",
        choices=CRITERIA,
        nargs="*",
        default=[],
        help="other rules and controls to run beside it, with as many seeds as the reference",
    )
    what.add_argument(
        "--proposal", choices=PROPOSALS, help="what the filters of new channels look for at first"
    )
    what.add_argument(
        "--fisher", choices=FISHERS, help="approximation of the Fisher matrix in the scores"
    )
    what.add_argument(
        "--retrain",
        action="store_true",
        help="one more control: the reference's final networks from scratch, for as many epochs "
        "and for as many FLOPs",
    )
    what.add_argument("--epochs", type=_count, metavar="N", help="epochs of each trial")
    what.add_argument("--max-parameters", type=_count, metavar="N", help="grow no larger")
    what.add_argument("--max-flops", type=_count, metavar="N", help="of one image; likewise")
    what.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="any other setting of secnn.TrialConfig, e.g. batch_size=256 cooldown=5",
    )
    data = top.add_argument_group("data")
    data.add_argument(
        "--dataset",
        default="auto",
        metavar="NAME|PATH",
        help=f"auto (CIFAR-10 if to be had, else the bundled digits), {', '.join(DATASETS)}, a "
        "Parquet file or folder (train*.parquet, test*.parquet), or a folder of train/CLASS/* and "
        "test/CLASS/* images",
    )
    data.add_argument("--data-dir", default="data", metavar="DIR", help="torchvision's data (data)")
    data.add_argument(
        "--validation",
        choices=("held-out", "test"),
        default="held-out",
        help="held-out: 10%% of the training set; test: the test set, the paper's protocol",
    )
    data.add_argument(
        "--no-flip",
        action="store_true",
        help="do not mirror images at random, as is done unless the classes are letters or numbers",
    )
    where = top.add_argument_group("where and how")
    where.add_argument(
        "--out", type=Path, metavar="DIR", help="results folder (runs/PRESET-DATASET)"
    )
    where.add_argument("--address", metavar="ADDR", help="Ray cluster to use, e.g. auto")
    where.add_argument(
        "--cpus-per-trial", type=_count, default=1, metavar="N", help="cores, and threads (1)"
    )
    where.add_argument(
        "--gpus-per-trial",
        type=_not_negative,
        metavar="G",
        help="also a part, as 0.25 (1 if there are GPUs, else 0)",
    )
    where.add_argument(
        "--kernel",
        choices=KERNELS,
        default="auto",
        help="fused: this package's own on CPUs; reference: plain PyTorch; graph: recorded once "
        "and replayed, on GPUs; auto: fused where it can be built",
    )
    where.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="of training; auto: bfloat16 where the processor computes in it",
    )
    where.add_argument(
        "--max-failures", type=_natural, default=1, metavar="N", help="retries of a trial (1)"
    )
    instead = top.add_argument_group("instead of running")
    only = instead.add_mutually_exclusive_group()
    only.add_argument("--dry-run", action="store_true", help="print the trials and stop")
    only.add_argument(
        "--status",
        action="store_true",
        help="print where every trial of --out (or of the newest study under runs) stands",
    )
    only.add_argument(
        "--fresh", action="store_true", help="move the old results aside, and start anew"
    )
    return top


def reference(asked: argparse.Namespace, preset: TrialConfig) -> TrialConfig:
    """The preset's reference trial with the options' changes.

    Raises:
        ValueError: `--set` names no setting, or a value is out of its range.
    """
    changes = {"seed": asked.seed_offset, "kernel": asked.kernel, "precision": asked.precision}
    for name in ("epochs", "max_parameters", "max_flops", "proposal", "fisher"):
        if getattr(asked, name) is not None:
            changes[name] = getattr(asked, name)
    return dataclasses.replace(preset, **changes, **dict(_setting(text) for text in asked.set))


OWN_OPTIONS = (
    *("seed", "epochs", "kernel", "precision", "max_parameters", "max_flops"),
    *("criterion", "proposal", "fisher"),
)


def option(name: str) -> str:
    """The option of one of `OWN_OPTIONS`."""
    return "--seed-offset" if name == "seed" else f"--{name.replace('_', '-')}"


def _setting(text: str) -> tuple[str, object]:
    fields = {f.name: f for f in dataclasses.fields(TrialConfig) if f.name not in OWN_OPTIONS}
    name, _, value = text.partition("=")
    if name in OWN_OPTIONS:
        raise ValueError(
            f"--set: expected no setting that has an option of its own, got {text}; use "
            f"{option(name)}"
        )
    if name not in fields:
        raise ValueError(f"--set: expected NAME=VALUE with one of {', '.join(fields)}, got {text}")
    default = fields[name].default
    default = 0.01 if default is None else default  # The only one is `damping`.
    try:
        parsed = ast.literal_eval(value) if not isinstance(default, str) else value
        if isinstance(default, tuple):
            parsed = tuple(parsed) if isinstance(parsed, tuple | list) else (parsed,)
            return name, tuple(map(_finite, parsed))
        if type(default)(parsed) != parsed:
            raise ValueError
        return name, parsed if isinstance(parsed, str) else type(default)(_finite(parsed))
    except (ValueError, SyntaxError, TypeError):
        example = ",".join(map(str, default)) if isinstance(default, tuple) else default
        raise ValueError(f"--set: expected a value like {name}={example}, got {text}") from None


def _finite(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    return value


def _number(kind: type, condition, expected: str):
    def parse(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = None
        # NaN fails every comparison, infinity the second one.
        if value is None or not condition(value) or not value < float("inf"):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text}")
        return value

    return parse


_count = _number(int, lambda n: n >= 1, "a whole number of at least 1")
_natural = _number(int, lambda n: n >= 0, "a whole number of at least 0")
_positive = _number(float, lambda x: x > 0, "a number above 0")
_not_negative = _number(float, lambda x: x >= 0, "a number of at least 0")
