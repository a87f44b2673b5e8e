"""What is printed may have no reader, or none any more: that is no error, and nothing else ends."""

import shlex
import subprocess
import sys

import pytest
import without_ray
from studies import ROOT

from secnn.commands import SCRIPTS

SHORT = ("--preset", "quick", "--dataset", "digits", "--num-samples", "1", "--tau", "--lam")
GONE = (">&- 2>&-", "| true")
READERS = [name for name in SCRIPTS if name not in ("run", "plot sweep", "plot calibration")]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A study of two epochs."""
    out = tmp_path_factory.mktemp("streams") / "out"
    without_ray.run((*SHORT, "--epochs", "2"), out)
    return out


def shell(line: str, ending: str) -> subprocess.CompletedProcess:
    """`line ending` in a shell that has the status of the first command."""
    whole = f"{line} {ending}; exit ${{PIPESTATUS[0]}}"
    return subprocess.run(
        ["bash", "-c", whole], cwd=ROOT, capture_output=True, text=True, timeout=280
    )


def python(script: str, *arguments: object) -> str:
    return shlex.join([sys.executable, str(ROOT / script), *map(str, arguments)])


@pytest.mark.parametrize("name", READERS)
def test_readers_of_a_study_need_no_reader_of_their_own(name, out):
    line = python(SCRIPTS[name], out)
    for ending in GONE:
        done = shell(line, ending)
        assert (done.returncode, done.stderr) == (0, ""), ending


@pytest.mark.parametrize("name", ["status", "ladder", "table"])
def test_a_full_disk_is_told_in_a_line(name, out):
    done = shell(python(SCRIPTS[name], out), "> /dev/full")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("option", ["--dry-run", "--status"])
def test_a_study_that_only_tells_needs_no_reader(option, out):
    asked = (*SHORT, "--epochs", "2") if option == "--dry-run" else ()
    for ending in GONE:
        done = shell(python("study/run.py", *asked, option, "--out", out), ending)
        assert (done.returncode, done.stderr) == (0, ""), ending


@pytest.mark.parametrize("ending", ["| head -5", "< /dev/null >&- 2>&-", "<&- > /dev/full"])
def test_a_study_goes_on_unseen(ending, tmp_path):
    """The fifth line is that of the first epoch."""
    out = tmp_path / "out"
    done = shell(python("study/run.py", *SHORT, "--epochs", "3", "--out", out), ending)
    assert (done.returncode, done.stderr) == (0, "")
    assert len([*out.glob("trials/*/DONE")]) == 1


def test_what_is_opened_is_never_taken_for_a_closed_stream():
    code = (
        "from secnn.study.streams import outlive_readers; outlive_readers(); "
        "import os, sys; print(open(os.devnull).fileno() > 2, os.fstat(1).st_rdev == "
        "os.stat(os.devnull).st_rdev, file=sys.stderr)"
    )
    done = shell(shlex.join([sys.executable, "-c", code]), ">&-")
    assert (done.returncode, done.stderr) == (0, "True True\n")


def test_streams_of_somebody_else_stay(capsys):
    from secnn.study.streams import outlive_readers

    before = sys.stdin, sys.stdout, sys.stderr
    outlive_readers()
    assert (sys.stdin, sys.stdout, sys.stderr) == before


def test_the_line_that_exports_can_be_run(out, tmp_path):
    for line in (python("study/ladder.py", out), python("study/ladder.py", out / "trials")):
        last = shell(line, "").stdout.splitlines()[-1]
        words = shlex.split(last.removeprefix("Next: python"))[:-1]
        file = tmp_path / "network.safetensors"
        done = shell(shlex.join([sys.executable, *words, str(file)]), "")
        assert done.returncode == 0, done.stderr
        assert file.exists()
