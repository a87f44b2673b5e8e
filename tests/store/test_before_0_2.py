"""What version 0.1.0 wrote is read, and a study that it began goes on.

`before_0_2/` holds two studies by the code before it moved into rooms; their study.json tells the
commands. One finished after three epochs and an `AddChannels`. The other was killed after two of
four epochs and an `AddLayer`. Names of hosts and folders are replaced. expected.json holds what the
old code computed with these networks, and what it logged of the second study when nobody killed it.
"""

import json
import shlex
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from studies import command

from secnn import ladder, load, load_within, replay
from secnn.analysis.logs import read_study

STORED = Path(__file__).with_name("before_0_2")
KEY = "criterion=balanced,tau=0.5,lam=0,seed=0"
EXPECTED = json.loads((STORED / "expected.json").read_text(encoding="utf-8"))
GROWN = {"finished": ((4, 3, 2, 3), (1, 1, 1, 1)), "interrupted": ((2, 3, 2, 3), (2, 1, 1, 1))}
LAST = {study: STORED / study / "trials" / KEY / "last.pt" for study in GROWN}


@pytest.mark.parametrize("file", EXPECTED["networks"])
def test_a_network_computes_what_it_did(file):
    expected, network = EXPECTED["networks"][file], load(STORED / file)
    assert network.n_parameters == expected["parameters"]
    assert network.spec.channels == tuple(expected["channels"])
    assert network.spec.layers == tuple(expected["layers"])
    images = torch.sin(torch.arange(3 * 32 * 32.0)).view(3, 1, 32, 32)
    with torch.no_grad():
        logits = network(images)
    torch.testing.assert_close(logits, torch.tensor(expected["logits"]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("study", GROWN)
@pytest.mark.parametrize("place", ["trials/{}/last.pt", "trials/{}", "logs/expansions/{}.parquet"])
def test_a_replay_has_the_same_shape(study, place):
    network = replay(STORED / study / place.format(KEY))
    assert (network.spec.channels, network.spec.layers) == GROWN[study]
    assert network.spec == load(LAST[study]).spec
    assert network.start.channels == (2, 3, 2, 3) and network.start.layers == (1, 1, 1, 1)


def test_the_ladder_has_every_network():
    rows = ladder(STORED / "finished")
    assert {row["parameters"] for row in rows} == {1380, 1478}
    assert {Path(row["file"]).name for row in rows} <= {"best.pt", "size-1380.pt", "size-1478.pt"}
    assert load_within(STORED / "finished", max_parameters=1400).n_parameters == 1380
    assert load_within(STORED / "finished").n_parameters == 1478
    with pytest.raises(LookupError, match="1,380"):
        load_within(STORED / "finished", max_parameters=1000)


def test_analysis_reads_both_studies():
    finished, interrupted = (read_study(STORED / study) for study in GROWN)
    (whole,), (part,) = finished.trials, interrupted.trials
    assert whole.key == part.key == KEY
    assert (whole.state, part.state) == ("finished", "epoch 2/4")
    assert whole.epochs["parameters"].tolist() == [1380, 1478, 1478]
    assert whole.epochs["expansion"].notna().tolist() == [True, False, False]
    assert 0 < whole.test_accuracy < 100 and part.test_accuracy is None
    assert [finished.reference] == [interrupted.reference] == [*finished.settings]


def rows(out: Path, kind: str) -> list[dict]:
    with open(out / "logs" / kind / f"{KEY}.parquet", "rb") as file:
        return pq.read_table(file).to_pylist()


def test_an_interrupted_study_goes_on(tmp_path):
    out = tmp_path / "interrupted"
    shutil.copytree(STORED / "interrupted", out)
    before = rows(out, "epochs")
    assert [row["epoch"] for row in before] == [1, 2]
    script, *options = shlex.split(json.loads((out / "study.json").read_text())["command"])
    run = command(script, *options[: options.index("--out")], "--out", out)
    assert run.returncode == 0, run.stdout + run.stderr
    after, alone = rows(out, "epochs"), EXPECTED["uninterrupted"]
    for row, old in zip(after, before, strict=False):
        assert row.items() >= old.items()
    for row, old in zip(after, alone, strict=True):
        for name in ("epoch", "parameters", "expansion"):
            assert row[name] == old[name]
        # Another processor adds up in another order.
        assert row["train_loss"] == pytest.approx(old["train_loss"], rel=0.02)
    assert read_study(out).trials[0].finished
    assert ladder(out)[-1]["parameters"] == rows(out, "trials")[0]["final_parameters"] == 1420
