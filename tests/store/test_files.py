"""A file is replaced as a whole or not at all."""

import errno
import os
import threading

import pytest

from secnn.files import reason, replacing, write_text


def everything_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_the_file_takes_the_new_content(kind, tmp_path):
    path = tmp_path / "a.txt"
    for content in (b"old", b"new and longer", b""):
        with replacing(kind(path)) as temporary:
            temporary.write_bytes(content)
        assert path.read_bytes() == content
        assert everything_in(tmp_path) == ["a.txt"]


def test_missing_folders_are_made(tmp_path):
    path = tmp_path / "one" / "two" / "a.txt"
    write_text(path, "x")
    assert path.read_text() == "x"


def test_the_old_content_stays_until_the_end(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with replacing(path) as temporary:
        temporary.write_text("ne")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent  # On one file system, so that a rename is atomic.
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("exists", [True, False])
def test_a_failure_leaves_all_as_it_was(error, exists, tmp_path):
    path = tmp_path / "a.txt"
    if exists:
        path.write_text("old")
    with pytest.raises(error), replacing(path) as temporary:
        temporary.write_text("half of the")
        raise error
    assert everything_in(tmp_path) == (["a.txt"] if exists else [])
    if exists:
        assert path.read_text() == "old"


def test_a_body_that_writes_nothing_is_an_error(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a.txt"):
        pass
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_failing_rename_leaves_no_temporary_file(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError) as failed:
        write_text(tmp_path / "a", "x")
    assert everything_in(tmp_path) == ["a"]
    assert reason(failed.value) == f"{tmp_path / 'a'}: Is a directory"


def test_what_cannot_be_written_is_told_by_its_own_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError) as failed:
        write_text(tmp_path / "file" / "a.txt", "x")
    assert reason(failed.value) == f"{tmp_path / 'file' / 'a.txt'}: Not a directory"
    with pytest.raises(OSError) as failed, replacing(tmp_path / "b") as temporary:
        temporary.write_text("x")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert reason(failed.value) == f"{tmp_path / 'b'}: No space left on device"


def test_a_link_stays_one_and_a_pipe_is_refused(tmp_path):
    link, file = tmp_path / "link", tmp_path / "there" / "file"
    link.symlink_to(file)
    for text in ("new", "newer"):
        write_text(link, text)
        assert link.is_symlink() and file.read_text() == text
    assert everything_in(file.parent) == ["file"]
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"pipe: expected a file, or a name for one, got a device"):
        write_text(tmp_path / "pipe", "x")
    assert (tmp_path / "pipe").is_fifo()


def test_a_reason_is_one_line_that_changes_no_terminal():
    assert reason(ValueError("a\nb\x1b[31m\tc ü花\u3000")) == "a b\\x1b[31m\\tc ü花\u3000"


def test_what_is_no_refusal_of_the_system_is_told_as_it_is():
    assert reason(ValueError("channels: none")) == "channels: none"
    assert reason(OSError("no Ray at x")) == "no Ray at x"


def test_what_is_renamed_is_on_the_disk(tmp_path, monkeypatch):
    calls = []
    fsync, rename = os.fsync, os.replace

    def recorded_fsync(descriptor):
        calls.append(("fsync", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def recorded_rename(source, target):
        calls.append(("replace", os.stat(source).st_ino))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_rename)
    write_text(tmp_path / "a.txt", "x")
    node = (tmp_path / "a.txt").stat().st_ino
    assert ("fsync", node) in calls
    assert calls.index(("fsync", node)) < calls.index(("replace", node))


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / "a.txt"
    contents = {letter * 200_000 for letter in "abc"}
    write_text(path, "a" * 200_000)
    stop, seen = threading.Event(), set()

    def read():
        while not stop.is_set():
            seen.add(path.read_text())

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(30):
        for content in sorted(contents):
            write_text(path, content)
    stop.set()
    for reader in readers:
        reader.join()
    assert seen
    assert seen <= contents


def test_two_writers_at_once_leave_one_whole_file(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as one, replacing(path) as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"
    assert everything_in(tmp_path) == ["a.txt"]


def test_text_is_utf8(tmp_path):
    write_text(tmp_path / "a.txt", "τ = 2, η ± σ")
    assert (tmp_path / "a.txt").read_bytes().decode("utf-8") == "τ = 2, η ± σ"
