"""On a full disk a study says so, harms nothing, and goes on when there is room."""

import contextlib
import json
import resource
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import without_ray
from studies import ROOT, logs

from secnn import Trial, TrialConfig
from secnn.store import checkpoint
from secnn.study.fence import Fence
from secnn.study.store import TrialStore, has_room, is_full

STUDY = ("--preset", "quick", "--dataset", "digits", "--epochs", "3", "--num-samples", "2")
STUDY = (*STUDY, "--tau", "--lam")
SMALL, LARGE = "700k", "64m"  # An epoch or two of both trials; all of it.
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    without_ray.run(STUDY, out)
    return out


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> dict:
    """A study on a disk of `SMALL`; then, with room, the same command again. The disk is a file
    system in memory, which anybody may mount in a name space of their own."""
    if not shutil.which("unshare") or subprocess.run([*NAMESPACE, "true"]).returncode:
        pytest.skip("needs user name spaces, to mount a small disk without being root")
    folder = tmp_path_factory.mktemp("filled")
    (folder / "disk").mkdir()
    study = shlex.join([sys.executable, str(ROOT / "study/run.py"), *STUDY, "--out", "disk/out"])
    script = f"""
        mount -t tmpfs -o size={SMALL} none disk
        {study} >full.out 2>full.err; echo $? >full.status
        cp -r disk/out full
        mount -o remount,size={LARGE} disk
        {study} >again.out 2>again.err; echo $? >again.status
        cp -r disk/out again
    """
    subprocess.run([*NAMESPACE, "sh", "-c", script], cwd=folder, check=True, timeout=280)
    return {p.name: p.read_text() for p in folder.glob("*.*")} | {"folder": folder}


def test_a_study_on_a_full_disk_says_so_without_a_traceback(filled):
    assert filled["full.status"] == "1\n"
    failed, errors = (
        [line for line in filled["full.err"].splitlines() if line.startswith(start)]
        for start in ("FAILED ", "error: ")
    )
    assert len(set(failed)) == len(failed)
    assert failed or errors
    assert len(errors) <= 1
    assert all("No space left on device" in line for line in failed)
    assert all("free some and repeat the command" in line for line in failed + errors)
    assert "Traceback" not in filled["full.out"] + filled["full.err"]
    assert "of 2 trials are done" in filled["full.out"]


def test_a_full_disk_harms_no_file(filled, undisturbed):
    out, read = filled["folder"] / "full", 0
    for path in sorted(p for p in out.rglob("*") if p.is_file() and "ray" not in p.parts):
        assert path.suffix != ".tmp"
        if path.suffix == ".pt":
            checkpoint.load(path)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".parquet":
            rows = without_times(pq.read_table(path))
            whole = without_times(pq.read_table(undisturbed / path.relative_to(out)))
            assert rows == whole[: len(rows)]
        read += path.suffix in (".pt", ".json", ".parquet")
    assert read >= 6  # At least an epoch of one trial was stored.


def without_times(table) -> list[dict]:
    """Rows without times, and without what is known some epochs later only."""
    rows = table.to_pylist()
    later = ("seconds", "realised_reduction")
    return [{k: v for k, v in row.items() if not k.endswith(later)} for row in rows]


def test_with_room_the_same_command_ends_as_if_undisturbed(filled, undisturbed):
    assert filled["again.status"] == "0\n", filled["again.err"]
    assert "2 of 2 trials are done" in filled["again.out"]
    assert logs(filled["folder"] / "again") == logs(undisturbed)
    assert not list((filled["folder"] / "again").glob("trials/*/ERROR"))


@contextlib.contextmanager
def files_up_to(size: int):
    """Inside, no file of this process may grow beyond `size` bytes: another way of being full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


CONFIG = TrialConfig(
    criterion="schedule",
    cooldown=0,
    epochs=3,
    batch_size=32,
    channels=(4, 4, 4),
    kernel="reference",
)


@pytest.mark.parametrize("part", [0, 0.02, 0.2, 0.4, 0.6, 0.99])
def test_wherever_a_write_fails_the_trial_goes_on_bit_for_bit(part, make_data, tmp_path):
    """Whichever file is the first that is too large: a note, a log, the ladder, the checkpoint."""
    data = make_data(96)
    whole, cut = (TrialStore(tmp_path / name, "key", {}) for name in ("whole", "cut"))
    for store, epochs in ((whole, 3), (cut, 1)):
        with store.fence:
            trial = Trial(CONFIG, data, ladder=store.ladder)
            store.resume(trial)
            without_ray.train(trial, store, epochs)
    before = {p: p.read_bytes() for p in cut.out.rglob("*") if p.is_file()}

    with files_up_to(int(part * whole.last.stat().st_size)), pytest.raises(OSError) as error:
        without_ray.train(trial, cut, 3)
    assert is_full(error.value)
    for path, content in before.items():
        assert path.read_bytes() == content or path.suffix in (".pt", ".parquet")
    assert not list(cut.out.rglob("*.tmp"))
    for path in cut.out.rglob("*.pt"):
        checkpoint.load(path)

    with cut.fence:
        trial = Trial(CONFIG, data, ladder=cut.ladder)
        cut.resume(trial)
        without_ray.train(trial, cut, 3)
    assert logs(cut.out) == logs(whole.out)
    assert [*cut.ladder] == [*whole.ladder]
    for name in whole.ladder:
        one, other = (store.ladder[name]["network"] for store in (whole, cut))
        assert all(torch.equal(one[k], other[k]) for k in one if torch.is_tensor(one[k]))


def test_a_reason_is_noted_or_forgotten_but_never_another_failure(tmp_path, monkeypatch):
    monkeypatch.setattr("secnn.study.store.NOTE_PAUSE", 0)
    store = TrialStore(tmp_path, "key", {})
    with files_up_to(0):
        store.fail(OSError(28, "No space left on device"))
        assert not store.error.exists()
        assert not has_room(tmp_path)
    store.fail(OSError(28, "No space left on device"))
    assert "No space left" in store.error.read_text()
    assert "free some" in store.error.read_text()
    assert has_room(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["trials"]


def test_a_fence_that_cannot_be_written_is_free_for_the_next(tmp_path):
    fence = Fence(tmp_path / "OWNER")
    with files_up_to(0), pytest.raises(OSError) as error:
        fence.acquire()
    assert is_full(error.value)
    with Fence(tmp_path / "OWNER") as other:
        other.check()
