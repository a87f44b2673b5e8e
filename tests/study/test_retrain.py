"""The final networks of finished trials, trained from scratch."""

import json
import signal
import time

import pytest
import without_ray
from studies import command, logs, popen

from secnn import NetworkSpec, TrialConfig
from secnn.analysis import logs as analysis
from secnn.analysis import make_table
from secnn.network.network import SECNN, count_flops
from secnn.store import checkpoint
from secnn.study import retrain
from secnn.study.grid import plan
from secnn.study.run import main
from secnn.study.store import StoreError, TrialStore

OPTIONS = ("--preset", "quick", "--dataset", "digits", "--epochs", "5", "--num-samples", "1")
OPTIONS = (*OPTIONS, "--tau", "--lam", "--criterion", "never", "--retrain")
SOURCE = "criterion=balanced,tau=0.5,lam=0,seed=0"
KEYS = ("retrain=epochs,seed=0", "retrain=flops,seed=0")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same study without Ray."""
    out = tmp_path_factory.mktemp("retrain") / "whole"
    without_ray.run(OPTIONS, out)
    return out


@pytest.mark.parametrize("sweep_samples", [1, 4])
def test_each_seed_of_the_reference_is_retrained_and_nothing_else(sweep_samples):
    reference = TrialConfig(seed=7)
    trials = plan(reference, 3, [1.5, 2.0], [0.0], sweep_samples, ["never"])
    planned = retrain.plan(trials, reference)
    seeds = range(7, 7 + max(3, sweep_samples))
    assert set(planned) == {f"retrain={b},seed={s}" for b in ("epochs", "flops") for s in seeds}
    for key, config in retrain.unresolved(trials, planned).items():
        source = trials[planned[key]["source"]]
        assert source.criterion == "natural"
        assert (config.criterion, config.seed) == ("never", source.seed)


def test_the_retrained_network_is_the_grown_one_for_the_same_effort(whole):
    source = checkpoint.read(TrialStore(whole, SOURCE, {}).last)
    spec, records = NetworkSpec.from_dict(source["spec"]), source["training"]["records"]
    assert spec.layers != (1, 1, 1)
    flops = count_flops(SECNN(spec))
    spent = sum(record["flops"] for record in records)
    for key, epochs in zip(KEYS, (len(records), spent // flops), strict=True):
        content = checkpoint.read(TrialStore(whole, key, {}).last)
        assert content["start"] == content["spec"] == source["spec"]
        trained = content["training"]["records"]
        assert len(trained) == epochs >= 1
        assert {record["flops"] for record in trained} == {flops}
        assert content["config"]["seed"] == source["config"]["seed"]
    assert spent < (epochs + 1) * flops


def test_it_survives_an_interruption_and_is_seen_everywhere(whole, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([*OPTIONS, "--dry-run", "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == list(KEYS)
    with popen("study/run.py", *OPTIONS, "--out", out) as process:
        deadline = time.monotonic() + 200
        while not (out / "logs" / "epochs" / f"{KEYS[0]}.parquet").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        shown, _ = process.communicate(timeout=120)
    assert "2 trials to run, then 2 that train the reference's networks from scratch." in shown
    if process.returncode:  # It may have been faster than the signal.
        assert process.returncode == 130, shown
        assert "repeat the command to go on" in shown
    again = command("study/run.py", *OPTIONS, "--out", out)
    assert again.returncode == 0, again.stdout + again.stderr
    assert logs(out) == logs(whole)

    assert main(["--status", "--out", str(out)]) == 0
    status = capsys.readouterr().out
    assert all(any(line.startswith(f"{key} ") for line in status.splitlines()) for key in KEYS)
    assert make_table.main([str(out)]) == 0
    table = capsys.readouterr().out
    assert "| retrain (epochs) " in table
    assert "| retrain (FLOPs) " in table
    study = analysis.read_study(out)
    assert study.reference.criterion == "balanced"
    for trial in study.trials[-2:]:
        assert trial.planned == len(trial.epochs)
        assert (trial.setting.tau, trial.setting.lam) == (None, None)


def test_trials_that_diverge_are_listed_and_so_is_what_waits_for_them(tmp_path, capsys):
    out = tmp_path / "out"
    run = command("study/run.py", *OPTIONS, "--set", "learning_rate=1e30", "--out", out)
    assert run.returncode == 1, run.stdout + run.stderr
    failed = [line for line in run.stderr.splitlines() if line.startswith("FAILED ")]
    for key in (SOURCE, "criterion=never,seed=0"):
        assert sum(line.startswith(f"FAILED {key}: TrialDiverged: epoch") for line in failed) == 1
    for key in KEYS:
        assert f"FAILED {key}: {SOURCE} has to be done first" in failed
    assert "interrupted" not in run.stderr
    assert len(run.stderr.splitlines()) == 5  # A line each, and the one that tries them again.
    assert main(["--status", "--out", str(out)]) == 0
    assert capsys.readouterr().out.count(" failed ") == 2


def test_a_lost_source_is_named(whole, tmp_path):
    study = json.loads((whole / "study.json").read_text())
    with pytest.raises(StoreError, match="restore the file") as error:
        retrain.resolved(tmp_path, study, KEYS)
    assert "\n" not in str(error.value)
