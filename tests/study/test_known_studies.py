"""A study that is there already: gone on with, given more trials, or refused."""

import json

import pytest

from secnn import load_dataset
from secnn.files import write_text
from secnn.store.record import LOGS
from secnn.study import tuning
from secnn.study.command import parser
from secnn.study.describe import describe
from secnn.study.run import main
from secnn.study.store import StoreError, open_study, read_study


def test_the_same_folder_for_another_study_is_refused(tmp_path, capsys):
    arguments = parser().parse_args(["--preset", "quick", "--dataset", "digits"])
    data = load_dataset("digits")
    open_study(tmp_path / "out", describe(arguments, data))
    before = (tmp_path / "out" / "study.json").read_bytes()
    out = ["--out", str(tmp_path / "out"), "--dataset", "digits"]
    for other in (["--preset", "quick", "--epochs", "3"], ["--preset", "paper"]):
        assert main([*other, *out]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "another study" in error
    open_study(tmp_path / "out", describe(arguments, data))  # The same one is welcome.
    assert (tmp_path / "out" / "study.json").read_bytes() == before
    assert read_study(tmp_path / "out")["preset"] == "quick"

    older = json.loads(before)
    for fields in older["trials"].values():
        del fields["penalty"]  # As if the setting had come since, with this default.
    (tmp_path / "out" / "study.json").write_text(json.dumps(older))
    open_study(tmp_path / "out", describe(arguments, data))


def stored(out, *options):
    """`out` with the study.json of `options`; these, to repeat."""
    options = ["--preset", "quick", "--dataset", "digits", "--out", str(out), *options]
    asked = parser().parse_args(options)
    open_study(out, describe(asked, load_dataset("digits")))
    return options


@pytest.mark.parametrize("command", [None, "x\ny" * 5000])
@pytest.mark.parametrize("setting", ["tau", "x" * 5000])
def test_a_damaged_study_is_told_in_one_short_line(command, setting, tmp_path, capsys):
    options = stored(tmp_path / "out", "--dry-run")
    path = tmp_path / "out" / "study.json"
    content = json.loads(path.read_text())
    content["command"] = command or content["command"]
    next(iter(content["trials"].values()))[setting] = "x"
    path.write_text(json.dumps(content))
    assert main(options) == 2
    told = capsys.readouterr().err
    assert str(path.parent) in told
    assert told.count("\n") == 1
    assert len(told) < 1000


def test_a_study_can_get_more_trials(tmp_path):
    out = tmp_path / "out"
    options = stored(out)
    before = read_study(out)["trials"]
    stored(out, "--num-samples", "6", "--criterion", "never", "--retrain")
    after = read_study(out)
    assert list(after["trials"])[:5] == list(before)[:5]
    assert len(after["trials"]) == len(before) + 1 + 6 + 12
    assert before.items() <= after["trials"].items()
    assert len(after["retrain"]) == 12
    with pytest.raises(StoreError, match=r"a trial less: criterion=.*,seed=5\)"):
        open_study(out, describe(parser().parse_args(options), load_dataset("digits")))
    assert read_study(out) == after
    assert [path.name for path in out.iterdir()] == ["study.json"]


def test_a_dry_run_tells_what_is_done_and_what_would_be_refused(tmp_path, capsys):
    out = tmp_path / "out"
    options = stored(out, "--num-samples", "2", "--tau", "--lam")
    first, second = read_study(out)["trials"]
    for name in (f"trials/{first}/DONE", *(f"logs/{kind}/{first}.parquet" for kind in LOGS)):
        write_text(out / name, "")
    before = (out / "study.json").read_bytes()
    options = [*options[: options.index("--num-samples")], "--tau", "--lam"]
    assert main([*options, "--dry-run", "--num-samples", "3"]) == 0
    shown = capsys.readouterr().out.splitlines()
    lines = [line.split() for line in shown if line.startswith("criterion=")]
    assert lines == [[first, "done"], [second], [second.replace("seed=1", "seed=2")]]
    shift = ("--num-samples", "2", "--seed-offset", "1")
    assert main([*options, "--dry-run", *shift]) == 2
    less = capsys.readouterr().err
    assert less.count("\n") == 1
    assert f"a trial less: {first}, a trial more: {second[:-1]}2" in less
    assert read_study(out)["command"] in less
    assert "--fresh" in less
    assert (out / "study.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_is_refused_changes_nothing_on_the_disk(tmp_path, capsys, monkeypatch):
    """Not even where Ray has to be asked first; what it answers is tested in test_tuning."""
    monkeypatch.setattr(tuning, "connect", lambda asked: None)
    monkeypatch.setattr(tuning.ray, "cluster_resources", lambda: {"CPU": 2.0})
    old, new = tmp_path / "old", tmp_path / "new"
    options = stored(old)[:-2]
    before = (old / "study.json").read_bytes()
    for more in (["--out", str(old), "--fresh"], ["--out", str(new)]):
        assert main([*options, "--cpus-per-trial", "4096", *more]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: --cpus-per-trial: expected at most 2")
        assert error.count("\n") == 1
    assert (old / "study.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("more", [[], ["--fresh"]], ids=["as it is", "fresh"])
@pytest.mark.parametrize("out", ["a.txt", "a.txt/out", "."])
def test_a_folder_of_something_else_is_refused(out, more, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("precious")
    assert main(["--dataset", "digits", "--out", str(tmp_path / out), *more]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --out: ")
    assert "is a file" in error or "holds files but no study" in error
    assert [p.name for p in tmp_path.parent.glob(f"*{tmp_path.name}*")] == [tmp_path.name]
    assert [p.read_text() for p in tmp_path.iterdir()] == ["precious"]
