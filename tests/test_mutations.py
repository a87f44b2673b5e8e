"""Whatever happened to the files of a study, every reader ends in a status and a line or two.

Each mutation changes one file of a sound study; then commands read it, in this process for speed.
They answer with status 0, 1 or 2, at most three lines of standard error, no traceback; with status
2 they name the file, or the folder; and where they advise to remove the file, that works.
"""

import contextlib
import dataclasses
import functools
import io
import random
import shutil
import sys
import types
from collections import Counter
from pathlib import Path

import mutations
import pytest
import torch
import without_ray
from studies import command

from secnn.analysis import (
    calibration,
    make_table,
    plot_growth,
    plot_pareto,
    plot_sweep,
    report,
)
from secnn.data.dataset import ImageData, load_dataset
from secnn.files import write_text
from secnn.store import export
from secnn.study import ladder, run, status
from secnn.study.store import TrialStore

OPTIONS = ("--preset", "quick", "--dataset", "digits", "--epochs", "3", "--num-samples", "1")
OPTIONS = (*OPTIONS, "--tau", "0.5", "0.6", "--lam", "--retrain")
COUNT, SEED = 600, 20


@pytest.fixture(scope="module")
def few() -> ImageData:
    """Few images, as no trial here need learn anything."""
    data = load_dataset("digits")
    cut = {name: tensor[:200] for name, tensor in vars(data).items() if torch.is_tensor(tensor)}
    return dataclasses.replace(data, **cut)


@pytest.fixture(scope="module")
def sound(few, tmp_path_factory) -> Path:
    """A study of which one trial has failed after some epochs, and two want their last step."""
    out = tmp_path_factory.mktemp("mutations") / "sound"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(without_ray, "load_dataset", lambda _: few)
        without_ray.run(OPTIONS, out)
    for done in out.glob("trials/retrain*/DONE"):
        done.unlink()
    failed = max(out.glob("trials/criterion*"))
    (failed / "DONE").unlink()
    (failed / "ERROR").write_text("OSError: something\n")
    return out


def image(out: Path) -> list[str]:
    return [str(out), "--output", str(out / "analysis" / "figure.png")]


def checkpoint(out: Path) -> str:
    """That which was written last."""
    return str(max(out.rglob("*.pt"), key=lambda path: path.stat().st_mtime_ns))


FAST = {
    "status": lambda out: status.main([str(out)]),
    "run --status": lambda out: run.main(["--status", "--out", str(out)]),
    "run --dry-run": lambda out: run.main([*OPTIONS, "--dry-run", "--out", str(out)]),
    "run": lambda out: run.main([*OPTIONS, "--out", str(out)]),
    "ladder": lambda out: ladder.main([str(out)]),
    "export": lambda out: export.main([checkpoint(out), str(out / "analysis" / "n.safetensors")]),
    "table": lambda out: make_table.main([str(out)]),
}
DRAWN = {
    "plot pareto": lambda out: plot_pareto.main(image(out)),
    "plot growth": lambda out: plot_growth.main(image(out)),
    "plot sweep": lambda out: plot_sweep.main(image(out)),
    "plot calibration": lambda out: calibration.main(image(out)),
    "report": lambda out: report.main([str(out)]),
}
ALL = dict.fromkeys(FAST, 10) | dict.fromkeys(DRAWN, 2) | {"report": 0.5}
"""How often each reads: drawing takes a while."""
OFTEN = {
    "": ALL,
    ".json": ALL,
    ".parquet": {name: ALL[name] for name in ("status", "table", *DRAWN)},
    ".pt": {name: ALL[name] for name in ("ladder", "export", "run")},
}
"""Suffix of a file → its readers."""


@pytest.fixture
def no_ray(few, monkeypatch):
    """`run` goes all its way but for the trials themselves."""
    monkeypatch.setattr("secnn.study.run.load_dataset", lambda *_, **__: few)
    stub = types.ModuleType("secnn.study.tuning")
    stub.prepare, stub.tune_trials = (lambda asked: None), finish_all
    monkeypatch.setitem(sys.modules, "secnn.study.tuning", stub)
    monkeypatch.setattr("secnn.study.interrupts.raise_interrupt", lambda: None)


@pytest.fixture
def quick(monkeypatch):
    """Nobody looks at the intervals."""
    few_draws = functools.partial(calibration.bootstrap_interval, resamples=20)
    monkeypatch.setattr(calibration, "bootstrap_interval", few_draws)


def finish_all(asked, study, data, out, keys, follow=0) -> None:
    for key in keys:
        write_text(TrialStore(out, key, {}).folder / "DONE", "")


def answer(reader, out: Path) -> tuple[int, str]:
    """A reader's exit status and what it says on standard error."""
    shown, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(error):
        try:
            code = reader(out)
        except SystemExit as exit:
            code = exit.code
    assert "Traceback" not in shown.getvalue()
    return code, error.getvalue()


def test_every_reader_answers_to_every_mutation(sound, tmp_path, no_ray, quick):
    rng, out, outcomes, faults = random.Random(SEED), tmp_path / "out", Counter(), []
    files = sorted(p.relative_to(sound) for p in sound.rglob("*") if p.is_file())
    shutil.copytree(sound, out)
    for i in range(COUNT):
        path = out / rng.choice(by_kind(rng, files))
        place = f"mutation {i}: {path.relative_to(out)} {mutations.damage(rng, path)}"
        (name,) = rng.choices(*zip(*OFTEN[path.suffix].items(), strict=True))
        try:
            code, error = check(name, out)
            outcomes[name, code] += 1
            if "remove it to" in error and path.is_file() and str(path) in error:
                path.unlink()
                assert str(path) not in check(name, out)[1]
                outcomes["advice", 0] += 1
        except Exception as fault:
            faults.append(f"{place}, {name}: {type(fault).__name__}: {fault}")
        restore(sound, out, path.relative_to(out))
    assert not faults, "\n".join([f"{len(faults)} faults", *faults[:10]])
    assert {name for name, _ in outcomes} == {*FAST, *DRAWN, "advice"}
    assert outcomes["advice", 0] > 10
    assert 0.2 < sum(n for (_, code), n in outcomes.items() if code == 2) / COUNT < 0.8


def by_kind(rng: random.Random, files: list[Path]) -> list[Path]:
    """Files of one kind: each that has a form as often as another, the others less often."""
    kind = rng.choices(["study", ".json", ".parquet", ".pt", ""], weights=[3, 2, 3, 3, 1])[0]
    return [path for path in files if kind in (path.suffix, path.stem)]


def check(name: str, out: Path) -> tuple[int, str]:
    """The answer of the reader called `name`, which is one that it may give."""
    code, error = answer((FAST | DRAWN)[name], out)
    assert code in (0, 1, 2)
    assert error.count("\n") <= 3, error
    assert "Traceback" not in error, error
    assert len(error) < 3000, error
    if code == 2:
        assert error.startswith("error: "), error
        assert str(out) in error, error
    return code, error


def restore(sound: Path, out: Path, damaged: Path) -> None:
    """Undo what was done to one file, and what readers wrote."""
    shutil.rmtree(out / "analysis", ignore_errors=True)
    if (out / damaged).is_dir():
        (out / damaged).rmdir()
    for path in (damaged, Path("study.json")):
        shutil.copy(sound / path, out / path)
    for done in out.glob("trials/*/DONE"):
        if not (sound / done.relative_to(out)).exists():
            done.unlink()


def test_the_sound_study_is_read_by_all(sound, tmp_path, no_ray):
    out = tmp_path / "out"
    shutil.copytree(sound, out)
    for name, reader in (FAST | DRAWN).items():
        code, error = answer(reader, out)
        assert code == 0, (name, error)


@pytest.mark.parametrize("seed", range(3))
def test_as_processes_too(seed, sound, tmp_path):
    rng, out = random.Random(seed), tmp_path / "out"
    shutil.copytree(sound, out)
    path = [out / "study.json", *sorted(out.glob("logs/epochs/*"))][seed]
    path.write_bytes(mutations.flipped(rng, path.read_bytes())[:-3])
    for script in ("study/status.py", "analysis/make_table.py")[seed % 2 :]:
        done = command(script, out)
        assert done.returncode == 2, done.stdout
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
        assert str(path) in done.stderr
