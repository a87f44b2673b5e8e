"""What a study asks of Ray for its trials."""

import json
import subprocess
import sys

import pytest
from studies import ROOT

from secnn.study import tuning
from secnn.study.run import options

# In a process of its own, because Ray leaves open files to be warned of, which are errors here.
STUDY = """
import json
import os
import signal
import sys
from pathlib import Path

import ray
from ray import tune

from secnn.data import load_dataset
from secnn.study import tuning
from secnn.study.run import describe, options


def note_resources(parameters, arrays, study, out, threads, folders):
    asked = tune.get_context().get_trial_resources().required_resources
    Path(out, parameters["key"]).write_text(json.dumps(asked | {"threads": threads}))


def die(parameters, arrays, study, out, threads, folders):
    os.kill(os.getpid(), signal.SIGKILL)


what, folder, cluster, *arguments = sys.argv[1:]
ray.init(address="local", include_dashboard=False, logging_level="ERROR", **json.loads(cluster))
tuning.worker.run = globals()[what]
asked = options().parse_args([*arguments, "--preset", "quick"])
data = load_dataset("digits")
study = describe(asked, data)
tuning.tune_trials(asked, study, data, Path(folder), list(study["trials"])[:2])
"""


def study_on(
    cluster: dict, folder, *arguments: str, what: str = "note_resources"
) -> subprocess.CompletedProcess:
    """Two trials on a Ray with the resources `cluster`, real or not, that only note in `folder`
    what they were given."""
    line = [sys.executable, "-c", STUDY, what, str(folder), json.dumps(cluster), *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("cluster", "arguments", "expected"),
    [
        ({"num_cpus": 2, "num_gpus": 2}, (), {"CPU": 1, "GPU": 1}),
        ({"num_cpus": 2, "num_gpus": 1}, ("--gpus-per-trial", "0.25"), {"CPU": 1, "GPU": 0.25}),
        ({"num_cpus": 2, "num_gpus": 0}, (), {"CPU": 1}),
    ],
    ids=["one GPU by default", "a part of one", "none where there are none"],
)
def test_a_trial_gets_what_was_asked_for(cluster, arguments, expected, tmp_path):
    run = study_on(cluster, tmp_path, *arguments)
    noted = [json.loads(path.read_text()) for path in tmp_path.glob("criterion=*")]
    assert noted == [expected | {"threads": expected["CPU"]}] * 2, run.stdout + run.stderr


def test_a_cluster_without_workers_is_not_taken_for_one_without_gpus(tmp_path):
    run = study_on({"num_cpus": 0, "num_gpus": 0}, tmp_path)
    assert "ValueError: --gpus-per-trial: " in run.stderr
    assert not list(tmp_path.glob("criterion=*"))


@pytest.mark.parametrize("option", ["--cpus-per-trial", "--gpus-per-trial"])
def test_more_than_this_machine_has_is_refused_rather_than_waited_for(option, tmp_path):
    run = study_on({"num_cpus": 2, "num_gpus": 1}, tmp_path, option, "3")
    assert f"ValueError: {option}: expected at most " in run.stderr
    assert not list(tmp_path.glob("criterion=*"))


def test_a_worker_that_dies_for_good_has_its_reason_noted(tmp_path):
    run = study_on({"num_cpus": 2, "num_gpus": 0}, tmp_path, "--max-failures", "0", what="die")
    notes = [path.read_text() for path in tmp_path.glob("trials/*/ERROR")]
    assert len(notes) == 2, run.stdout + run.stderr
    for note in notes:
        assert "worker" in note
        assert note.endswith("repeat the command to go on\n")
        assert len(note.splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "variable", "expected"),
    [
        ([], None, None),
        ([], "", None),
        ([], "local", None),
        ([], "there:1", ("there:1", "RAY_ADDRESS")),
        (["--address", "here:2"], "there:1", ("here:2", "--address")),
        (["--address", ""], "there:1", ("there:1", "RAY_ADDRESS")),
    ],
)
def test_the_cluster_is_the_one_that_is_named(given, variable, expected, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if variable is not None:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    assert tuning.cluster(options().parse_args(given)) == expected


def test_what_names_an_unusable_cluster_is_told_with_all_that_ray_says(monkeypatch):
    def join(*_):
        raise ValueError("Invalid address.\n  1. Unset it, or\n  2. set it to another one.")

    monkeypatch.setattr(tuning, "join", join)
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    with pytest.raises(ConnectionError) as error:
        tuning.connect(options().parse_args([]))
    assert str(error.value) == (
        "RAY_ADDRESS: no Ray at http://127.0.0.1:8265 (Invalid address. 1. Unset it, or 2. set it "
        "to another one.); check it, or try again"
    )
