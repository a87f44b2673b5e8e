"""What a machine denies is told in one line that names it, before Ray starts."""

import os
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from studies import ROOT

from secnn.study import machine
from secnn.study.run import main

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
needs_root = pytest.mark.skipif(
    os.getuid() != 0 or not shutil.which("setpriv"), reason="takes another user's id"
)

STUDY = ("--preset", "quick", "--dataset", "digits", "--epochs", "1", "--num-samples", "1")
OTHER = 54321
"""A user's id without an entry in the list of users."""
BECOME = ("setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups")
BECOME = (*BECOME, *(f"--{kind}-caps=+dac_read_search" for kind in ("inh", "ambient")))
"""That user may read all, as where the interpreter is in somebody's home, but write nothing."""


def as_another(code: str, **environment: str | None) -> subprocess.CompletedProcess:
    """`code` run by a user who is nobody, without the variables of `environment` that are None."""
    variables = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | environment
    return subprocess.run(
        [*BECOME, sys.executable, "-c", f"import os, sys\n{code}"],
        cwd=ROOT,
        env={name: value for name, value in variables.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=100,
    )


def one_line(run: subprocess.CompletedProcess) -> str:
    assert run.returncode == 2, run.stdout + run.stderr
    assert run.stderr.startswith("error: ")
    assert run.stderr.count("\n") == 1
    return run.stderr


def test_a_call_from_a_thread_is_refused_by_that_name(tmp_path, capsys):
    codes = []
    arguments = [*STUDY, "--tau", "--lam", "--out", str(tmp_path / "out")]
    calls = [lambda: codes.append(main([*arguments, "--dry-run"]))]
    calls.append(lambda: codes.append(main(arguments)))
    for call in calls:
        thread = threading.Thread(target=call, name="worker 7")
        thread.start()
        thread.join()
    assert codes == [0, 2]
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "expected to be called from the main thread" in error
    assert "got worker 7" in error
    assert list(tmp_path.iterdir()) == []


@needs_linux
@needs_root
def test_a_user_without_a_home_or_with_one_of_others_needs_none(tmp_path):
    code = """
from secnn.study import machine
machine.expect_process()
machine.expect_threads = machine.expect_folder = lambda *_: None
machine.expect_local(1)
import ray.tune  # It asks for the home folder when it is imported.
print(len(os.environ["RAY_AUTH_TOKEN"]), os.path.expanduser("~"))
"""
    for given, home in ((None, "/"), (str(tmp_path), str(tmp_path))):
        run = as_another(code, HOME=given)
        assert run.stdout.split() == ["64", home], run.stderr


@needs_linux
@needs_root
def test_a_study_that_may_only_be_read_has_its_status_told(tmp_path):
    import without_ray

    out = tmp_path / "out"
    without_ray.run((*STUDY, "--tau", "--lam"), out)
    for folder in (*Path(tmp_path).parents[:2], tmp_path, out):
        folder.chmod(0o755)
    before = {path: path.stat() for path in out.rglob("*")}
    code = f"import secnn.study.status as s; sys.exit(s.main([{str(out)!r}]))"
    run = as_another(code)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert "1 of 1 trials are done" in run.stdout
    assert {path: path.stat() for path in out.rglob("*")}.keys() == before.keys()
    (owner,) = out.glob("trials/*/OWNER")
    owner.with_name("DONE").unlink()
    run = as_another(f"import fcntl; file = open({str(owner)!r}); {code}")
    assert run.returncode == 0, run.stderr
    assert " waiting " in run.stdout


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_folder_too_long_for_sockets_is_named(name, tmp_path, monkeypatch):
    for other in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.delenv(other, raising=False)
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    monkeypatch.setenv(name, str(folder))
    with pytest.raises(OSError, match=f"^{name}: expected a folder whose path has at most"):
        machine.expect_local(1)
    longest = f"/tmp{machine.SESSION}".format(os.getpid())
    assert len(longest) < machine.LONGEST
    monkeypatch.setenv(name, "/tmp")
    machine.expect_folder(Path("/tmp"), name)


@needs_linux
def test_temporary_folders_are_given_to_ray_as_they_are_meant(monkeypatch):
    monkeypatch.setattr(machine, "expect_threads", lambda _: None)
    monkeypatch.setenv("RAY_TMPDIR", "")
    monkeypatch.chdir("/")
    monkeypatch.setenv("TMPDIR", "tmp")
    machine.expect_local(1)
    assert "RAY_TMPDIR" not in os.environ
    assert os.environ["TMPDIR"] == "/tmp"


@needs_linux
@needs_root
@pytest.mark.parametrize("made", ["", "ray"])
def test_the_folder_of_somebody_else_is_named(made, tmp_path):
    folder = tmp_path / "t"
    (folder / made).mkdir(parents=True)
    for path in (*Path(tmp_path).parents[:2], tmp_path, folder):
        path.chmod(0o755)
    (folder / made).chmod(0o755)
    code = f"""
from secnn.study import machine
machine.LONGEST = 1000
try:
    machine.expect_folder(machine.Path({str(folder)!r}), "TMPDIR")
except OSError as error:
    sys.exit(f"error: {{error}}")
"""
    run = as_another(code)
    assert run.stderr.startswith("error: TMPDIR: expected a folder that can be written to")
    assert f"got {folder / made} of user 0; set RAY_TMPDIR" in run.stderr


def limited(tmp_path, monkeypatch, files: dict[str, str], most=resource.RLIM_INFINITY):
    """The limits, given /proc/self/cgroup, the `files` of control groups, and `ulimit -u`."""
    for name, text in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "groups").write_text("0::/a/b\n")
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _: (most, most))
    monkeypatch.setattr(machine, "exempt", lambda: False)
    return list(machine.limits(tmp_path / "root", tmp_path / "groups"))


@needs_linux
def test_the_limits_of_a_group_and_of_those_around_it_count(tmp_path, monkeypatch):
    files = {"a/b/pids.max": "max\n", "a/b/pids.current": "3\n"}
    files |= {"a/pids.max": "300\n", "a/pids.current": "290\n"}
    assert [limit[1:] for limit in limited(tmp_path, monkeypatch, files)] == [(300, 290)]
    (own,) = limited(tmp_path, monkeypatch, {}, most=77)[:1]
    assert own[:2] == ("ulimit -u", 77)
    assert own[2] >= threading.active_count()


def test_too_few_processes_are_told_rather_than_waited_for(monkeypatch):
    monkeypatch.setattr(machine, "limits", lambda: [("ulimit -u", 1000, 900), ("a", 10**6, 1)])
    machine.expect_threads(100)
    with pytest.raises(OSError, match=r"^ulimit -u: expected room for 101 more .* got 100: 900 of"):
        machine.expect_threads(101)


@needs_linux
@needs_root
def test_a_small_process_limit_ends_in_words(tmp_path):
    tmp_path.chmod(0o777)
    for path in Path(tmp_path).parents[:2]:
        path.chmod(0o755)
    arguments = [*STUDY, "--tau", "--lam", "--out", str(tmp_path / "out")]
    code = f"""
import resource
import secnn.study.run
resource.setrlimit(resource.RLIMIT_NPROC, (60, 60))
sys.exit(secnn.study.run.main({arguments}))
"""
    error = one_line(as_another(code, HOME=str(tmp_path), TMPDIR="/tmp", RAY_TMPDIR="/tmp"))
    assert "ulimit -u: expected room for" in error or "/tmp/ray of user" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("paths", [None, "."])
def test_files_of_the_users_folder_are_no_modules_of_the_workers(paths, tmp_path):
    """A relative PYTHONPATH, here the project's root, still means what it did."""
    here = ROOT if paths else tmp_path
    for name in ("random", "ray", "secnn", "study", "analysis", "types"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('not this {name}')")
    run = subprocess.run(
        [
            sys.executable,
            str(ROOT / "study/run.py"),
            *STUDY,
            "--tau",
            "--lam",
            "--out",
            tmp_path / "o",
        ],
        cwd=here,
        env=os.environ | ({"PYTHONPATH": paths} if paths else {}),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert (run.returncode, run.stderr) == (0, ""), run.stdout


def test_ray_starts_in_the_folder_only_where_secnn_is_there(tmp_path, monkeypatch):
    from secnn.study.tuning import workplace

    monkeypatch.chdir(ROOT)
    assert workplace() == ROOT
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"own:{ROOT}:")
    assert workplace() == Path("/")
    assert os.environ["PYTHONPATH"] == f"{tmp_path / 'own'}:{ROOT}:{tmp_path}"
