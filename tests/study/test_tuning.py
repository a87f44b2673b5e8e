"""What a study asks of Ray for its trials."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from studies import ROOT

from secnn.study import tuning
from secnn.study.run import options

# In a process of its own, because Ray leaves open files to be warned of, which are errors here; in
# one for all, because it takes seconds to import and to start.
STUDIES = """
import json
import os
import signal
import sys
from itertools import groupby
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


data = load_dataset("digits")
for cluster, cases in groupby(json.loads(sys.argv[2]).items(), lambda case: case[1][0]):
    ray.init(address="local", include_dashboard=False, logging_level="ERROR", **cluster)
    for name, (_, arguments, what) in cases:
        out = Path(sys.argv[1], name)
        out.mkdir()
        tuning.worker.run = globals()[what]
        asked = options().parse_args([*arguments, "--preset", "quick"])
        study = describe(asked, data)
        try:
            tuning.tune_trials(asked, study, data, out, list(study["trials"])[:2])
        except ValueError as error:
            (out / "refused").write_text(str(error))
    ray.shutdown()
"""
ONE_GPU, NO_GPU, HEAD = ({"num_cpus": c, "num_gpus": g} for c, g in ((2, 1), (2, 0), (0, 0)))
CASES = {
    "one GPU by default": (ONE_GPU, [], "note_resources"),
    "a part of one": (ONE_GPU, ["--gpus-per-trial", "0.25"], "note_resources"),
    "--cpus-per-trial": (ONE_GPU, ["--cpus-per-trial", "3"], "note_resources"),
    "--gpus-per-trial": (ONE_GPU, ["--gpus-per-trial", "3"], "note_resources"),
    "none where there are none": (NO_GPU, [], "note_resources"),
    "a worker dies": (NO_GPU, ["--max-failures", "0"], "die"),
    "a head without workers": (HEAD, [], "note_resources"),
}
"""What a cluster has, real or not; what is asked for; and what the trials do."""


@pytest.fixture(scope="module")
def studies(tmp_path_factory) -> Path:
    """A folder for each of `CASES`, in which two trials note what they were given."""
    out = tmp_path_factory.mktemp("studies")
    line = [sys.executable, "-c", STUDIES, str(out), json.dumps(CASES)]
    run = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert run.returncode == 0, run.stdout + run.stderr
    return out


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("one GPU by default", {"CPU": 1, "GPU": 1}),
        ("a part of one", {"CPU": 1, "GPU": 0.25}),
        ("none where there are none", {"CPU": 1}),
    ],
)
def test_a_trial_gets_what_was_asked_for(name, expected, studies):
    noted = [json.loads(path.read_text()) for path in (studies / name).glob("criterion=*")]
    assert noted == [expected | {"threads": expected["CPU"]}] * 2


def test_a_cluster_without_workers_is_not_taken_for_one_without_gpus(studies):
    refused = (studies / "a head without workers" / "refused").read_text()
    assert refused.startswith("--gpus-per-trial: ")
    assert not list((studies / "a head without workers").glob("criterion=*"))


@pytest.mark.parametrize("option", ["--cpus-per-trial", "--gpus-per-trial"])
def test_more_than_this_machine_has_is_refused_rather_than_waited_for(option, studies):
    assert (studies / option / "refused").read_text().startswith(f"{option}: expected at most ")
    assert not list((studies / option).glob("criterion=*"))


def test_a_worker_that_dies_for_good_has_its_reason_noted(studies):
    notes = [path.read_text() for path in studies.glob("a worker dies/trials/*/ERROR")]
    assert len(notes) == 2
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
