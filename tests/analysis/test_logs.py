"""Studies are read as they are: running, changing, damaged or none at all."""

import json
import math
import os
import threading
from pathlib import Path

import pandas as pd
import pytest
from written_studies import (
    PLANNED,
    SWEEP,
    config,
    draw_epochs,
    trial_key,
    write_log,
    write_study,
    write_trial,
)

from secnn.analysis.logs import Setting, StudyError, newest_study, read_study
from secnn.analysis.summary import measures, networks
from secnn.files import FileError


def test_read_study_gives_what_was_written(finished: Path):
    study = read_study(finished)
    assert [t.key for t in study.trials] == [trial_key(c) for c in SWEEP]
    assert all(t.finished and t.state == "finished" for t in study.trials)
    assert [t.test_accuracy for t in study.trials] == [70.0 + i for i in range(len(SWEEP))]
    for i, trial in enumerate(study.trials):
        expected = draw_epochs(PLANNED, i).drop(columns="more")  # Not one of a record's.
        pd.testing.assert_frame_equal(trial.epochs, expected, check_dtype=False)
    assert study.reference == Setting("natural", 1.5, 0.0)
    families = {s.criterion if s.tau is None else str(s): study.family(s) for s in study.settings}
    assert families == {
        "natural, τ = 1.5, λ = 0": "reference",
        "natural, τ = 4, λ = 0": "tau",
        "natural, τ = 1.5, λ = 1e-06": "lam",
        "never": "other",
    }


def test_the_reference_is_the_named_setting_else_that_of_most_seeds(tmp_path: Path):
    configs = [config(tau=4.0, seed=0), config(tau=2.0, seed=0), config(tau=2.0, seed=1)]
    for named, expected in ((None, 2.0), (configs[0], 4.0), (config(tau=9.0), 2.0)):
        key = write_study(tmp_path, configs, reference=named)[0]
        write_trial(tmp_path, key, draw_epochs(2, 0))
        assert read_study(tmp_path).reference.tau == expected


def test_epochs_are_ordered_and_partition_like_paths_change_nothing(tmp_path: Path):
    out = tmp_path / "epoch=7" / "expansion=x"
    (key,) = write_study(out, [config()])
    epochs = draw_epochs(6, 0)
    write_trial(out, key, epochs.iloc[::-1])
    read = read_study(out).trials[0].epochs
    assert read["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert read["val_accuracy"].tolist() == epochs["val_accuracy"].tolist()


def test_a_running_study_is_read_as_far_as_it_is(tmp_path: Path):
    keys = write_study(tmp_path, [config(seed=s) for s in range(4)])
    write_trial(tmp_path, keys[0], draw_epochs(PLANNED, 0), 71.0)
    write_trial(tmp_path, keys[1], draw_epochs(7, 1))
    write_trial(tmp_path, keys[2], draw_epochs(0, 2))
    hidden = tmp_path / "logs" / "epochs" / f".{keys[3]}.parquet.1a2b.tmp"
    hidden.write_bytes(b"half a file")
    study = read_study(tmp_path)
    states = [t.state for t in study.trials]
    assert states == ["finished", f"epoch 7/{PLANNED}", "not started", "not started"]
    assert set(measures(study.trials[3], [70]).values()) == {None}
    assert set(networks(study.trials)["trial"]) == set(keys[:2])


def test_planned_epochs_do_not_read_as_progress(tmp_path: Path):
    for planned, expected in (((3, 3), "; 3 epochs;"), ((9, 2, 5), "; 2 to 9 epochs;")):
        configs = [config(seed=s) | {"epochs": n} for s, n in enumerate(planned)]
        key = write_study(tmp_path, configs)[0]
        write_trial(tmp_path, key, draw_epochs(2, 0))
        assert expected in read_study(tmp_path).description


def test_reading_while_files_come_change_and_go(tmp_path: Path):
    keys = write_study(tmp_path, [config(seed=s) for s in range(3)])
    write_trial(tmp_path, keys[0], draw_epochs(PLANNED, 0), 71.0)
    stop = threading.Event()

    def work() -> None:
        count = 0
        while not stop.is_set():
            count = count % PLANNED + 1
            write_log(tmp_path, "epochs", keys[1], draw_epochs(count, 1))
            write_log(tmp_path, "epochs", keys[2], draw_epochs(count, 2)).unlink()

    writer = threading.Thread(target=work)
    writer.start()
    try:
        for _ in range(60):
            for trial in read_study(tmp_path).trials:
                assert trial.epochs["epoch"].tolist() == list(range(1, len(trial.epochs) + 1))
                assert 0 <= len(trial.epochs) <= PLANNED
    finally:
        stop.set()
        writer.join()


def test_the_newest_study_is_the_one_written_last(tmp_path: Path):
    runs = tmp_path / "runs"
    for i, name in enumerate(("a", "b", "c", ".hidden")):
        (key,) = write_study(runs / name, [config()])
        log = write_log(runs / name, "epochs", key, draw_epochs(2, 0))
        for path in (runs / name / "study.json", log):
            os.utime(path, (1000 + i, 1000 + i))
    (runs / "no study").mkdir()
    assert newest_study(runs).name == "c"
    os.utime(runs / "a" / "logs" / "epochs" / f"{key}.parquet", (2000, 2000))
    assert newest_study(runs).name == "a"
    os.utime(runs / "b" / "study.json", (3000, 3000))
    assert newest_study(runs).name == "b"


def test_what_is_not_a_study_is_named(tmp_path: Path):
    with pytest.raises(StudyError, match="is not a folder"):
        read_study(tmp_path / "missing")
    with pytest.raises(StudyError, match=r"holds no study\.json"):
        read_study(tmp_path)
    with pytest.raises(StudyError, match="no study under"):
        newest_study(tmp_path)
    (key,) = write_study(tmp_path, [config()])
    with pytest.raises(StudyError, match="no epoch is logged yet"):
        read_study(tmp_path)
    (tmp_path / "trials" / key).mkdir(parents=True)
    (tmp_path / "trials" / key / "ERROR").write_text("OSError: one\ntwo")
    with pytest.raises(StudyError, match=r"1 of 1 trials failed before .*: OSError: one two"):
        read_study(tmp_path)


EPOCHS = draw_epochs(3, 0)
BAD_EPOCHS = {
    "no column parameters": EPOCHS.drop(columns="parameters"),
    "column epoch: expected int64, got large_string": EPOCHS.assign(epoch="1"),
    "column epoch: expected int64, got double": EPOCHS.assign(epoch=1.5),
    "column epoch: expected int64, got bool": EPOCHS.assign(epoch=True),
    "column epoch: expected 1 to 1e\\+15, got -1": EPOCHS.assign(epoch=-1),
    "column val_accuracy: expected double, got list": EPOCHS.assign(val_accuracy=[[1.0]] * 3),
    "column val_accuracy: a value is missing": EPOCHS.assign(val_accuracy=[None, 1, 2]),
    "column val_accuracy: expected finite": EPOCHS.assign(val_accuracy=[float("inf"), 1, 2]),
    "column val_accuracy: expected 0 to 100, got 1.0 to 101.0": EPOCHS.assign(
        val_accuracy=[1, 101, 2]
    ),
    "column expansion: expected string, got int64": EPOCHS.assign(expansion=3),
    "column train_loss: expected double, got timestamp": EPOCHS.assign(train_loss=pd.Timestamp(0)),
}


def test_a_finished_trial_that_lost_its_epochs_counts_as_not_started(tmp_path: Path):
    """It is not one that reached nothing."""
    first, second = write_study(tmp_path, [config(seed=s) for s in (0, 1)])
    for key in (first, second):
        write_trial(tmp_path, key, EPOCHS, test_accuracy=50.0)
    assert [t.finished for t in read_study(tmp_path).trials] == [True, True]
    (tmp_path / "logs" / "epochs" / f"{second}.parquet").unlink()
    assert [t.finished for t in read_study(tmp_path).trials] == [True, False]


def test_a_finished_study_without_logs_tells_how_to_have_them_again(tmp_path: Path):
    (key,) = write_study(tmp_path, [config()])
    (tmp_path / "trials" / key).mkdir(parents=True, exist_ok=True)
    (tmp_path / "trials" / key / "DONE").write_text("")
    with pytest.raises(StudyError, match=r"its logs are gone; repeat the study's command, which"):
        read_study(tmp_path)


@pytest.mark.parametrize("said", BAD_EPOCHS)
def test_a_log_that_is_not_of_its_schema_is_named_and_may_be_removed(said, tmp_path: Path):
    first, second = write_study(tmp_path, [config(seed=s) for s in (0, 1)])
    write_trial(tmp_path, first, EPOCHS)
    log = write_log(tmp_path, "epochs", second, BAD_EPOCHS[said])
    with pytest.raises(FileError, match=f"{log} cannot be read: .*{said}") as error:
        read_study(tmp_path)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(
        "; remove it to leave it out; the study's command writes it anew"
    )
    log.unlink()
    assert [t.state for t in read_study(tmp_path).trials] == [f"epoch 3/{PLANNED}", "not started"]


def test_a_damaged_log_is_named_and_may_be_removed(tmp_path: Path):
    (key,) = write_study(tmp_path, [config()])
    for kind in ("epochs", "trials"):
        write_trial(tmp_path, key, EPOCHS, 71.0)
        log = tmp_path / "logs" / kind / f"{key}.parquet"
        log.write_bytes(b"PAR1 but not really")
        with pytest.raises(FileError, match=f"{key}.parquet cannot be read"):
            read_study(tmp_path)
    log.unlink()
    (trial,) = read_study(tmp_path).trials
    assert (trial.finished, trial.test_accuracy) == (False, None)


STUDY = {
    "format": 1,
    "preset": "quick",
    "dataset": {"name": "x"},
    "trials": {"a": {"criterion": "natural", "tau": 1, "lam": 0, "seed": 0, "epochs": 3}},
}
SETTINGS = STUDY["trials"]["a"]
RETRAINED = {"source": "a", "budget": "epochs", "setting": "again"}
BAD_STUDIES = [
    ("{", "EOF while parsing"),
    ("[]", "Input should be an object"),
    ("null", "Input should be an object"),
    ("[" * 100_000, "recursion limit"),
    (STUDY | {"format": 2}, "format: input should be 1"),
    (STUDY | {"preset": None}, "preset: input should be a valid string"),
    (STUDY | {"dataset": {}}, "dataset.name: field required"),
    (STUDY | {"dataset": {"name": "x", "classes": "ten"}}, "dataset.classes: input should be"),
    (STUDY | {"dataset": {"name": "x", "validation": "none"}}, "dataset.validation: input should"),
    (STUDY | {"trials": {}}, "trials: dictionary should have at least 1 item"),
    (STUDY | {"trials": [1]}, "trials: input should be an object"),
    (STUDY | {"trials": {"../a": SETTINGS}}, "trials.../a"),
    (STUDY | {"trials": {"a": {}}}, "trials.a.criterion: field required"),
    (STUDY | {"trials": {"a": SETTINGS | {"epochs": 0}}}, "trials.a.epochs: input should be"),
    (STUDY | {"trials": {"a": SETTINGS | {"tau": math.nan}}}, "trials.a.tau: input should be"),
    (STUDY | {"retrain": {"a": RETRAINED}}, "retrain: expected trials of the study, got a"),
    (STUDY | {"retrain": {"b": RETRAINED}}, "retrain: expected trials of the study, got b"),
]


@pytest.mark.parametrize(("content", "said"), BAD_STUDIES, ids=range(len(BAD_STUDIES)))
def test_a_study_that_is_none_is_named(content, said, tmp_path: Path):
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(FileError) as error:
        read_study(tmp_path)
    told = str(error.value)
    assert told.startswith(f"{tmp_path / 'study.json'} cannot be used (")
    assert said in told
    assert "\n" not in told
    assert len(told) < 400
    (tmp_path / "study.json").write_text(json.dumps(STUDY))
    with pytest.raises(StudyError, match="no epoch is logged yet"):
        read_study(tmp_path)


def test_a_trial_that_was_started_otherwise_is_known_by_what_it_was_started_with(tmp_path: Path):
    (key,) = write_study(tmp_path, [config()])
    write_trial(tmp_path, key, EPOCHS)
    started = tmp_path / "trials" / key / "config.json"
    started.parent.mkdir(parents=True)
    started.write_text(json.dumps(config() | {"epochs": 99}))
    assert read_study(tmp_path).trials[0].planned == 99
    for text in ("", "null", '{"epochs": "many"}', json.dumps(config() | {"epochs": 0})):
        started.write_text(text)
        with pytest.raises(FileError, match=r"config\.json cannot be used .*remove it to go by"):
            read_study(tmp_path)
    started.unlink()
    assert read_study(tmp_path).trials[0].planned == PLANNED
