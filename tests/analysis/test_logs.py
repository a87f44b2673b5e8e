"""Studies are read as they are: running, changing, damaged or none at all."""

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


def test_read_study_gives_what_was_written(finished: Path):
    study = read_study(finished)
    assert [t.key for t in study.trials] == [trial_key(c) for c in SWEEP]
    assert all(t.finished and t.state == "finished" for t in study.trials)
    assert [t.test_accuracy for t in study.trials] == [70.0 + i for i in range(len(SWEEP))]
    for i, trial in enumerate(study.trials):
        expected = draw_epochs(PLANNED, i)
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
    assert set(networks(study)["trial"]) == set(keys[:2])


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
    log = write_log(tmp_path, "epochs", key, draw_epochs(3, 0).drop(columns="parameters"))
    with pytest.raises(StudyError, match="no column parameters"):
        read_study(tmp_path)
    log.write_bytes(b"PAR1 but not really")
    with pytest.raises(StudyError, match=f"{key}.parquet cannot be read"):
        read_study(tmp_path)
    for text in ("{", "[]", '{"format": 2, "trials": {"a": {}}}', '{"format": 1, "trials": [1]}'):
        (tmp_path / "study.json").write_text(text)
        with pytest.raises(StudyError, match=r"study\.json"):
            read_study(tmp_path)
