"""The command line of a study: its options, checked."""

from __future__ import annotations

import argparse
from typing import Any

from secnn.commands import Parser, folder, not_negative, positive, whole
from secnn.data.dataset import DATASETS
from secnn.growth.criterion import CRITERIA
from secnn.growth.proposal import PROPOSALS
from secnn.kernels import KERNELS
from secnn.plugins import add_option
from secnn.score.fisher import FISHERS
from secnn.training.config import PRECISIONS
from secnn.training.presets import PRESETS

EPILOG = """\
Exit status: 0 all trials are done; 1 a trial failed; 2 bad input; 130 interrupted.
The same command continues a study that was interrupted.
On CIFAR-10 a trial of preset paper takes about 20 minutes on one core with AVX-512,
default and conv two to three hours, quick four minutes; the first lines of a study tell how long it
will take here.
"""
SEEDS, COUNT = whole(1, 10**4), whole(1, 10**6)


def parser() -> Parser:
    """The options, in groups, with the choices that the registries hold now."""
    top = Parser(
        "run",
        usage="%(prog)s [options]",
        description="Train self-expanding networks: seeds, sweeps of tau and lambda, and\n"
        "controls, side by side on Ray Tune.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = top.add_argument_group("what to run")
    _add_trials(what)
    _add_settings(what)
    add_option(what)
    _add_data(top.add_argument_group("data"))
    _add_place(top.add_argument_group("where and how"))
    _add_instead(top.add_argument_group("instead of running").add_mutually_exclusive_group())
    return top


def _add_trials(group: argparse._ArgumentGroup) -> None:
    summaries = " | ".join(f"{name}: {preset.summary}" for name, preset in PRESETS.items())
    several: dict[str, Any] = {"nargs": "*", "action": "extend"}
    group.add_argument(
        "--preset",
        choices=PRESETS,
        default="default",
        help=f"{_plain(summaries)}; without this option, default",
    )
    group.add_argument(
        "--num-samples", type=SEEDS, default=5, metavar="N", help="seeds at the reference (5)"
    )
    group.add_argument(
        "--seed-offset", type=whole(0, 10**9), default=0, metavar="S", help="first seed (0)"
    )
    group.add_argument(
        "--tau",
        type=positive,
        metavar="T",
        help="thresholds to sweep; without a value none",
        **several,
    )
    group.add_argument(
        "--lam", type=not_negative, metavar="L", help="size penalties; likewise", **several
    )
    group.add_argument(
        "--sweep-samples", type=SEEDS, default=1, metavar="N", help="seeds a sweep's value (1)"
    )
    group.add_argument(
        "--criterion",
        choices=CRITERIA,
        default=[],
        help="other rules and controls to run beside it, with as many seeds as the reference",
        **several,
    )
    group.add_argument(
        "--retrain",
        action="store_true",
        help="one more control: the reference's final networks from scratch, for as many epochs "
        "and for as many FLOPs",
    )


def _add_settings(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--proposal", choices=PROPOSALS, help="what the filters of new channels look for at first"
    )
    group.add_argument(
        "--fisher", choices=FISHERS, help="approximation of the Fisher matrix in the scores"
    )
    group.add_argument("--epochs", type=COUNT, metavar="N", help="epochs of each trial")
    group.add_argument("--max-parameters", type=whole(1), metavar="N", help="grow no larger")
    group.add_argument("--max-flops", type=whole(1), metavar="N", help="of one image; likewise")
    group.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="any other setting of secnn.TrialConfig, e.g. batch_size=256 channels=8,8,8",
    )


def _add_data(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--dataset",
        default="auto",
        metavar="NAME|PATH",
        help="auto (CIFAR-10 if to be had, else the bundled digits), "
        f"{_plain(', '.join(DATASETS))}, hf:OWNER/NAME[@REVISION], a Parquet file or folder "
        "(train.parquet or its shards, test likewise), or a folder of train/CLASS/* and "
        "test/CLASS/* images",
    )
    group.add_argument("--label-column", metavar="NAME", help="of Parquet (label)")
    group.add_argument("--image-column", metavar="NAME", help="of Parquet (img, image)")
    group.add_argument(
        "--resize",
        type=whole(8, 1024),
        metavar="PIXELS",
        help="the images' shorter side, then cut to a square at the centre",
    )
    group.add_argument(
        "--data-dir", default="data", metavar="DIR", help="torchvision's data (data)"
    )
    group.add_argument(
        "--validation",
        choices=("held-out", "test"),
        default="held-out",
        help="held-out: the data's own split, else 10%% of the training set; test: the test set, "
        "the paper's protocol",
    )
    group.add_argument(
        "--no-flip",
        action="store_true",
        help="do not mirror images at random, as is done unless the classes are letters or numbers",
    )


def _add_place(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--out", type=folder, metavar="DIR", help="results folder (runs/PRESET-DATASET)"
    )
    group.add_argument("--address", metavar="ADDR", help="Ray cluster to use, e.g. auto")
    group.add_argument(
        "--cpus-per-trial", type=COUNT, default=1, metavar="N", help="cores, and threads (1)"
    )
    group.add_argument(
        "--gpus-per-trial",
        type=not_negative,
        metavar="G",
        help="also a part, as 0.25 (1 if there are GPUs, else 0)",
    )
    group.add_argument(
        "--kernel",
        choices=KERNELS,
        default="auto",
        help="fused: this package's own on CPUs; reference: plain PyTorch; graph: recorded once "
        "and replayed, on GPUs; auto: graph on a GPU, else fused where it can be built",
    )
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="of training; auto: bfloat16 where the processor computes in it",
    )
    group.add_argument(
        "--max-failures",
        type=whole(0, 10**6),
        default=1,
        metavar="N",
        help="retries of a trial (1)",
    )


def _add_instead(group: argparse._MutuallyExclusiveGroup) -> None:
    group.add_argument("--dry-run", action="store_true", help="print the trials and stop")
    group.add_argument(
        "--status",
        action="store_true",
        help="print where every trial of --out (or of the newest study under runs) stands",
    )
    group.add_argument(
        "--fresh", action="store_true", help="move the old results aside, and start anew"
    )


def _plain(text: str) -> str:
    """`text` as argparse formats it to itself: a plugin may say per cent."""
    return text.replace("%", "%%")
