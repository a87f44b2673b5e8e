"""Ray Tune: resources, shared data, trials."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import textwrap
import time
from collections.abc import Iterable, Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

# Tune's own CSV, JSON and TensorBoard files would repeat what the Parquet logs hold.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import ray
from ray import tune
from ray.tune import CLIReporter, FailureConfig, RunConfig, TuneConfig

import secnn
from secnn import plugins
from secnn.data.dataset import ImageData
from secnn.study import forecast, interrupts, machine, worker
from secnn.study.cores import cores
from secnn.study.describe import trials
from secnn.study.progress import Deaths, Pace, reporter
from secnn.study.tracking import trackers

# The first misses the files that are turned off above, the second tells how to make the cluster
# less safe, the last finds a busy machine slow.
for name in (
    "ray.tune.analysis.experiment_analysis",
    "ray._private.authentication.authentication_token_setup",
    "ray.tune.utils.util",
):
    logging.getLogger(name).setLevel(logging.ERROR)
# Nothing reads what Ray keeps in the results folder for itself. If it cannot be written, the files
# of the trials tell so too, in a line each instead of tracebacks; likewise of a trial that failed.
# The last two also recommend Tuner.restore.
for name in (
    "ray.tune.execution.experiment_state",
    "ray.train._internal.syncer",
    "ray.tune.execution.tune_controller",
    "ray.tune.tune",
):
    logging.getLogger(name).setLevel(logging.CRITICAL)


STARTS = 3
"""How often to try to start Ray: on a busy machine it misses its own limit of 30 seconds."""


def cluster(asked: argparse.Namespace) -> tuple[str, str] | None:
    """The address of the cluster that is asked for, and what names it; None for this machine."""
    named = "--address" if asked.address else "RAY_ADDRESS"
    address = asked.address or os.environ.get("RAY_ADDRESS")
    # Set but empty, the variable is as good as unset, as for Ray itself.
    return (address, named) if address and address != "local" else None


def connect(asked: argparse.Namespace) -> None:
    """Join the Ray cluster that is asked for, or start one on this machine.

    Raises:
        OSError: nothing answers there, or Ray does not start.
    """
    if ray.is_initialized():
        return
    there = cluster(asked)
    if not there:
        machine.expect_local(cores())
    address, named = there or ("local", "Ray does not start")
    for tries_left in reversed(range(1 if there else STARTS)):
        try:
            join(address, asked.imports)
            break
        except Exception as error:  # Ray raises several kinds, some of many lines.
            if not tries_left:
                where = f"{named}: no Ray at {address}" if there else named
                what = textwrap.shorten(str(error), 600, placeholder=" …")
                raise ConnectionError(f"{where} ({what}); check it, or try again") from None


def join(address: str, imports: Sequence[str]) -> None:
    """Start Ray on the cores that this process may use, or join the one at `address`, after a look
    whether anything answers there; its machines get the modules `imports`."""
    expect_listener(address)
    options: dict[str, Any] = {
        "include_dashboard": False,
        "log_to_driver": False,
        "logging_level": "WARNING",
    }
    if address == "local":
        options["num_cpus"] = cores()
    elif imports:
        options["runtime_env"] = {"py_modules": shipped(imports)}
    try:
        with chdir(workplace()):
            ray.init(address=address, **options)
    except SystemExit:  # By the handler of SIGTERM that Ray installs first of all.
        interrupts.leave()
    interrupts.leave_at_once()


def workplace() -> Path:
    """Where Ray shall start. Its workers import from there first of all: in the user's folder, a
    `random.py` or a `study/` of theirs would end them."""
    here, paths = Path.cwd(), os.environ.get("PYTHONPATH")
    if paths:  # Relative ones mean this folder.
        os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, paths.split(os.pathsep)))
    return here if Path(secnn.__file__).parents[1] == here else Path(here.anchor)


def shipped(imports: Sequence[str]) -> list[str]:
    """What Ray copies to machines that may not have it: of each module the file, or the folder of
    its package."""
    return [str(p) for p in plugins.sources(imports) if p.is_dir() or p.suffix == ".py"]


def expect_listener(address: str) -> None:
    """Raise OSError unless something listens at `address`, if it is HOST:PORT: of what does not
    answer Ray would end this process, after a minute."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


def prepare(asked: argparse.Namespace) -> dict[str, float]:
    """Start or join Ray, unless that is done; what each trial gets of which resource.

    Raises:
        ConnectionError: Ray does not start, or is not there.
        ValueError: there is not as much as was asked for, or nobody can tell yet.
    """
    connect(asked)
    resources = {"cpu": asked.cpus_per_trial, "gpu": gpus_per_trial(asked)}
    if not cluster(asked):
        expect_room(resources)  # A cluster may still get what it needs.
    return resources


def gpus_per_trial(asked: argparse.Namespace) -> float:
    """What was asked for, or one GPU a trial where the cluster has any.

    Raises:
        ValueError: nothing was asked for, and the cluster has only a head that trains nothing, so
            that nobody can tell what its workers will have.
    """
    if asked.gpus_per_trial is not None:
        return asked.gpus_per_trial
    there = ray.cluster_resources()
    if "CPU" not in there and "GPU" not in there:
        raise ValueError(
            "--gpus-per-trial: expected a number while the cluster has no workers yet, got none; "
            "for one GPU a trial say --gpus-per-trial 1"
        )
    return 1.0 if "GPU" in there else 0.0


def expect_room(resources: dict[str, float]) -> None:
    """Raise ValueError if this machine can never run a trial: Tune would wait for ever."""
    for name, needed in resources.items():
        there = ray.cluster_resources().get(name.upper(), 0)
        if needed > there:
            raise ValueError(
                f"--{name}s-per-trial: expected at most {there:g}, which this machine has, "
                f"got {needed:g}"
            )


def slots(resources: dict[str, float]) -> int:
    """How many trials the cluster, as it is now, has room for at a time."""
    there = ray.cluster_resources()
    # 1 // 0.1 is 9.
    return min(int(there.get(name.upper(), 0) / n + 1e-9) for name, n in resources.items() if n)


def tune_trials(
    asked: argparse.Namespace,
    study: dict,
    data: ImageData,
    out: Path,
    keys: Iterable[str],
    follow: int = 0,
) -> None:
    """Run the trials `keys`, as many at once as there are resources; `follow` others will train
    the reference's networks anew. What came of each is in its folder."""
    resources = prepare(asked)
    keys = list(keys)
    then = f", then {follow} that train the reference's networks from scratch" if follow else ""
    print(f"{trials(len(keys))} to run{then}.", flush=True)
    shared = tune.with_parameters(
        worker.run,
        arrays=data.arrays(),
        study=study,
        out=str(out),
        threads=asked.cpus_per_trial,
        folders=[str(path.parent) for path in plugins.sources(study["imports"])],
    )
    here = not resources["gpu"] and not cluster(asked)
    costs = forecast.costs_of(study, keys, data, asked.cpus_per_trial if here else None)
    done = {key: forecast.trained(out, key) for key in keys}
    pace = Pace(costs, lambda: slots(resources), done)
    if here:
        print(f"{pace.forecast()}.", flush=True)
    with reporter(pace, follow, asked.verbose) as shown:
        tune.Tuner(
            tune.with_resources(shared, resources),
            param_space={"key": tune.grid_search(keys)},
            tune_config=TuneConfig(
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.trial_id.rpartition("_")[2],
                trial_dirname_creator=lambda trial: trial.config["key"],
            ),
            run_config=RunConfig(
                name=time.strftime("%Y%m%d-%H%M%S"),
                storage_path=str(out / "ray"),
                failure_config=FailureConfig(max_failures=asked.max_failures),
                callbacks=[shown, Deaths(out), *trackers(asked, out)],
                progress_reporter=tables(),
                verbose=int(asked.verbose),
            ),
        ).fit()
    interrupts.raise_interrupt()  # Tune has left a handler that does nothing any more.


def tables() -> CLIReporter:
    """Ray's own status tables."""
    return CLIReporter(
        metric_columns=["epoch", "parameters", "val_accuracy"],
        parameter_columns=["key"],
        max_report_frequency=60,
        max_progress_rows=50,
        max_column_length=60,
    )
