"""What a worker stores and reports, and when."""

import math

import pytest

from secnn import Trial, TrialConfig, load_dataset
from secnn.study import worker
from secnn.study.store import StoreError, TrialStore

CONFIG = TrialConfig(epochs=3, criterion="never", channels=(4, 4, 4), batch_size=128)


@pytest.mark.parametrize("pause, stored", [(0.0, [1, 2, 3]), (math.inf, [1, 3])])
def test_quick_epochs_are_stored_now_and_then_and_the_last_one_always(
    pause, stored, first, tmp_path, monkeypatch
):
    reported = []
    monkeypatch.setattr(worker.tune, "report", lambda row: reported.append(row["epoch"]))
    monkeypatch.setitem(worker.PAUSE, "cpu", pause)
    data = first(load_dataset("digits"), 300)
    store = TrialStore(tmp_path, "key", {})
    trial = Trial(CONFIG, data, "cpu", store.ladder)
    store.fence.acquire()
    worker.run_stored(trial, store)
    store.fence.release()
    assert reported == stored
    assert store.done
    # The last file holds all epochs, also those that were not stored by themselves.
    again = Trial(CONFIG, data, "cpu")
    store.resume(again)
    assert [r.epoch for r in again.records] == [1, 2, 3]


def test_a_lost_log_of_a_finished_trial_is_written_anew(first, tmp_path, monkeypatch):
    monkeypatch.setattr(worker.tune, "report", lambda row: pytest.fail("nothing is left to train"))
    data, store = first(load_dataset("digits"), 300), TrialStore(tmp_path, "key", {})
    with monkeypatch.context() as training:
        training.setattr(worker.tune, "report", lambda row: None)
        worker.run_fenced(CONFIG, data.arrays(), store)
    kept = {path: path.read_bytes() for path in tmp_path.glob("logs/*/key.parquet")}
    assert store.done and len(kept) == 3
    for path, content in kept.items():
        path.unlink()
        assert not store.done
        worker.run_fenced(CONFIG, data.arrays(), store)
        assert store.done and path.read_bytes() == content


def test_a_lost_network_of_an_unfinished_trial_is_told_before_it_goes_on(
    first, tmp_path, monkeypatch
):
    data, store = first(load_dataset("digits"), 300), TrialStore(tmp_path, "key", {})
    trial = Trial(CONFIG, data, "cpu", store.ladder)
    store.fence.acquire()
    trial.step()
    store.save(trial)
    store.fence.release()
    store.ladder.file("best").unlink()
    monkeypatch.setattr(worker.tune, "report", lambda row: pytest.fail("it went on"))
    with pytest.raises(StoreError, match=rf"best\.pt is gone; delete {store.folder} to start the"):
        worker.run_fenced(CONFIG, data.arrays(), store)
