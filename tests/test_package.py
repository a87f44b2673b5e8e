"""What `pip install` brings: one package that does everything, wherever it is called from."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from studies import ROOT

SOURCES = ("pyproject.toml", "README.md", "LICENSE", "secnn", "study", "analysis")
PLACES = {"secnn": "secnn", "study": "secnn/study", "analysis": "secnn/analysis"}
"""Folder of the checkout → where it is once installed."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    """A copy of what is packed: building leaves files."""
    folder = tmp_path_factory.mktemp("package") / "sources"
    folder.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def archive(sources) -> Path:
    """The source distribution."""
    build = "import setuptools.build_meta as backend; print(backend.build_sdist('dist'))"
    return sources / "dist" / run(sys.executable, "-c", build, cwd=sources).splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(archive) -> Path:
    """The wheel, built from the source distribution."""
    pip("wheel", "--no-deps", "--no-build-isolation", "-w", archive.parent, archive)
    (built,) = archive.parent.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel, tmp_path_factory) -> Path:
    """The bin of a new environment with the wheel."""
    return installed(tmp_path_factory.mktemp("installed") / "environment", "--no-index", wheel)


def installed(folder: Path, *what: object) -> Path:
    """The bin of a new environment in `folder`, where pip installed `what`; the dependencies are
    those of this one."""
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/python3*/site-packages")
    # Paths in such a file are searched, but the .pth files there, as of an editable secnn, are not.
    others = [path for path in sys.path if path.endswith("-packages")]
    (packages / "dependencies.pth").write_text("\n".join(others) + "\n")
    pip("--python", folder / "bin" / "python", "install", "--no-deps", *what)
    return folder / "bin"


def pip(*arguments: object) -> None:
    run(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def run(*line: object, cwd: Path | None = None) -> str:
    """What it prints, if all went well."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, line)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_everything_is_packed_under_one_name(sources, archive, wheel):
    packed = {
        f"{place}/{path.relative_to(sources / folder).as_posix()}"
        for folder, place in PLACES.items()
        for path in (sources / folder).rglob("*")
        if path.is_file()
    }
    assert {Path(name).suffix for name in packed} >= {".py", ".cpp", ".npz", ".csv", ".yaml"}
    assert "secnn/py.typed" in packed
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if ".dist-info/" not in name} == packed
    assert len({name.partition("/")[0] for name in names}) == 2
    with tarfile.open(archive) as stored:
        assert any(name.endswith("/study/run.py") for name in stored.getnames())


def test_a_checkout_called_secnn_does_not_hide_the_package_from_scripts_beside_it(
    sources, tmp_path
):
    """Python takes a folder of that name for a package, unless another comes by a path too."""
    (tmp_path / "secnn").symlink_to(sources)
    programs = installed(tmp_path / "environment", "--no-build-isolation", "--editable", sources)
    code = "from secnn import PRESETS, Trial; import secnn.study.run as run; print(run.__file__)"
    found = run(programs / "python", "-c", code, cwd=tmp_path).strip()
    assert Path(found) == sources / "secnn" / "study" / "run.py"


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    """A folder whose owner has a study/ and an analysis/ too."""
    for name in ("study", "analysis"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('not ours')\n")
    return tmp_path


def test_every_command_works_from_another_folder(programs, elsewhere):
    where = "import secnn, secnn.study.run as run; print(secnn.__file__, run.__file__)"
    for file in run(programs / "python", "-c", where, cwd=elsewhere).split():
        assert Path(file).is_relative_to(programs.parent)

    def secnn(*arguments: object) -> str:
        return run(programs / "secnn", *arguments, cwd=elsewhere)

    study = ("--preset", "quick", "--dataset", "digits", "--epochs", "2", "--num-samples", "1")
    shown = secnn("run", *study, "--tau", "--lam", "--out", "my out")
    assert "1 of 1 trials are done" in shown
    assert f"Next: {programs / 'secnn'} table '{elsewhere / 'my out'}'" in shown
    assert "1 of 1 trials are done" in secnn("status", "my out")
    rungs = secnn("ladder", "my out")
    (checkpoint,) = elsewhere.glob("my out/trials/*/ladder/best.pt")
    assert str(checkpoint.relative_to(elsewhere)) in rungs
    assert "parameters" in secnn("export", checkpoint, "best.safetensors")
    for command in (("table",), ("plot", "pareto"), ("report",)):
        secnn(*command, "my out")
    written = {path.name for path in (elsewhere / "my out" / "analysis").iterdir()}
    assert {"table.md", "pareto.png", "report.html"} <= written
    assert (elsewhere / "best.safetensors").stat().st_size > 4 * 8736
