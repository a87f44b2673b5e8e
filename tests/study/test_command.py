"""The command line: what it asks for, and one clear line for bad input."""

import io
import json
import tomllib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from studies import ROOT, command

from secnn.study.command import parser
from secnn.study.describe import describe
from secnn.study.interrupts import resumed
from secnn.study.run import main
from secnn.study.store import open_study

CONV = ["--preset", "conv", "--dataset", "digits"]

BAD = {
    "an unknown preset": (["--preset", "huge"], "--preset"),
    "a negative threshold": (["--tau", "-1"], "--tau"),
    "a threshold that is no number": (["--tau", "nan"], "--tau"),
    "an infinite lambda": (["--lam", "inf"], "--lam"),
    "no samples": (["--num-samples", "0"], "--num-samples"),
    "half a sample": (["--num-samples", "1.5"], "--num-samples"),
    "an unknown criterion": (["--criterion", "magic"], "--criterion"),
    "an unknown setting": (["--set", "colour=red"], "--set"),
    "a setting of the wrong kind": (["--set", "batch_size=many"], "--set"),
    "a setting that is no number": (["--set", "channels=(1,'a')"], "--set"),
    "a damping of nothing": (["--set", "damping=0"], "damping"),
    "an infinite setting": (["--set", "tau=1e999"], "--set"),
    "half a channel": (["--set", "channels=16,16.5,16"], "channels"),
    "an unknown cell": (["--set", "cell=honeycomb"], "cell"),
    "an unknown expansion": (["--set", "expansions=AddLayer,AddLuck"], "expansions"),
    "no expansions": (["--set", "expansions="], "expansions"),
    "a setting twice": (["--set", "capacity=4", "--set", "capacity=5"], "capacity once"),
    "an option twice": (["--epochs", "4", "--epochs", "5"], "--epochs: expected once"),
    "epochs for ever": (["--epochs", "1e310"], "--epochs"),
    "a number of 400 digits": (["--max-parameters", "9" * 400], "--max-parameters"),
    "a setting of 400 digits": (["--set", f"patience={'9' * 400}"], "--set"),
    "a threshold of 400 digits": (["--tau", "9" * 400], "--tau"),
    "a billion seeds": (["--num-samples", "1000000000"], "--num-samples: expected at most 10,000"),
    "a billion channels": (
        ["--preset", "paper", "--dataset", "digits", "--set", "channels=1000000000,16,16"],
        "channels",
    ),
    "2**70 channels": (["--set", f"channels={2**70},16,16"], "channels"),
    "a quadrillion channels": (
        ["--dataset", "digits", "--set", f"channels={10**15},16,16"],
        "channels: expected at most 50 numbers of at most 10,000,000",
    ),
    "channels beyond counting": (
        ["--dataset", "digits", "--set", "channels=10000000,10000000,10000000"],
        "channels: expected a network of at most 1,000,000,000 parameters",
    ),
    "a billion layers": (
        ["--dataset", "digits", "--set", "layers=1000000000", "capacity=1000000000"],
        "layers: expected at most",
    ),
    "steps of a quadrillion channels": (
        ["--preset", "paper", "--dataset", "digits", "--set", f"channel_steps={10**15}"],
        "channel_steps: expected at most",
    ),
    "two thousand blocks": (
        ["--dataset", "digits", "--set", f"channels={','.join(['1'] * 2000)}"],
        "channels: expected at most 50 numbers",
    ),
    "a budget in which no expansion fits": (
        [*CONV, "--max-parameters", "8800"],
        "start with 8,736 parameters, and the smallest expansion adds 1,884",
    ),
    "a proposal for a cell that takes none": (
        ["--dataset", "digits", "--preset", "default", "--proposal", "gradient"],
        "proposal: expected noise, as the cell separable takes no proposed filters, got gradient",
    ),
    "FLOPs in which no expansion fits": (
        [*CONV, "--max-flops", "1786600"],
        "--max-flops 1786600: no expansion fits",
    ),
    "no room in any block": (
        [*CONV, "--set", "capacity=1", "expansions=AddLayer"],
        "expansions: none of AddLayer fits",
    ),
    "no plugin's name": (["--import", "own.py"], "--import"),
    "a missing plugin": (["--import", "no_such_module"], "No module named 'no_such_module'"),
    "a setting with an option": (["--set", "criterion=never"], "use --criterion"),
    "a setting with two words": (["--set", "max_flops=9000000"], "use --max-flops"),
    "a seed that is set": (["--set", "seed=3"], "use --seed-offset"),
    "parameters below the start": ([*CONV, "--max-parameters", "10"], "8736"),
    "FLOPs below the start": (["--dataset", "digits", "--max-flops", "10"], "--max-flops"),
    "too many blocks": (["--dataset", "digits", "--set", "channels=4,4,4,4,4,4"], "image_size"),
    "batches of one": (["--dataset", "digits", "--set", "batch_size=1"], "batch_size"),
    "a setting out of its range": (["--set", "learning_rate=-1"], "learning_rate"),
    "an unknown dataset": (["--dataset", "mnist-but-wrong"], "mnist-but-wrong"),
    "a missing folder": (["--dataset", "./no/such/folder"], "no/such/folder"),
    "status of no study": (["--status", "--out", "no-such-study"], "no-such-study"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gives_one_line_and_status_2(case, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, named = BAD[case]
    try:
        code = main(arguments)
    except SystemExit as exit:
        code = exit.code
    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert named in error
    assert list(tmp_path.iterdir()) == []


def parquet(path, images, labels):
    rows = {"img": [{"bytes": data, "path": None} for data in images], "label": labels}
    names = {"info": {"features": {"label": {"names": ["a", "b"]}}}}
    table = pa.table(rows).replace_schema_metadata({"huggingface": json.dumps(names)})
    pq.write_table(table, path)


def jpeg(shade):
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (shade, 0, 0)).save(file, "JPEG")
    return file.getvalue()


JPEGS = [jpeg(shade) for shade in range(20)]


@pytest.mark.parametrize(
    ("images", "labels", "row"),
    [
        (JPEGS, [*([0, 1] * 9), 0, 2], "row 19"),
        ([*JPEGS[:12], b"no jpeg", *JPEGS[13:]], [0, 1] * 10, "row 12"),
    ],
    ids=["label out of range", "corrupt image"],
)
def test_bad_images_are_named_by_row(images, labels, row, tmp_path, capsys):
    parquet(tmp_path / "train.parquet", images, labels)
    parquet(tmp_path / "test.parquet", JPEGS, [0, 1] * 10)
    assert main(["--dataset", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert row in error
    assert "train.parquet" in error
    assert not (tmp_path / "out").exists()


def test_an_address_where_nothing_answers_gives_one_line(tmp_path):
    arguments = ("--preset", "quick", "--dataset", "digits", "--address", "127.0.0.1:9")
    run = command("study/run.py", *arguments, "--out", tmp_path / "out")
    assert run.returncode == 2
    assert run.stderr.startswith("error: --address: no Ray at 127.0.0.1:9")
    assert run.stderr.count("\n") == 1


def test_mirroring_is_told_and_a_study_without_it_is_another(
    tmp_path, capsys, make_data, monkeypatch
):
    data = make_data(size=(32, 32), flip=True)
    monkeypatch.setattr("secnn.study.run.load_dataset", lambda *_, **__: data)
    asked = ["--dry-run", "--out", str(tmp_path / "out")]
    assert main(asked) == 0
    assert "mirrors images" in capsys.readouterr().out
    open_study(tmp_path / "out", describe(parser().parse_args(asked), data))
    assert main(asked) == 0
    capsys.readouterr()
    assert main([*asked, "--no-flip"]) == 2
    assert "(dataset flip: true there, false asked for)" in capsys.readouterr().err


def test_help_is_grouped_and_dry_run_lists_the_trials(tmp_path, capsys):
    shown = command("study/run.py", "--help")
    assert shown.returncode == 0
    assert all(f"{group}:" in shown.stdout for group in ("what to run", "data", "where and how"))
    assert main(["--dataset", "digits", "--dry-run", "--out", str(tmp_path / "out")]) == 0
    dry = capsys.readouterr().out
    assert dry.count("criterion=balanced-pyramid,tau=") == 12
    assert "\nNetworks grow from 3,802 to at most 60,000 parameters.\n" in dry
    assert not (tmp_path / "out").exists()


def test_going_on_does_not_start_anew():
    for option in ("--fresh", "--fre"):
        line = f"python 'my study/run.py' {option} --out 'my --fresh out'"
        assert resumed(line) == "python 'my study/run.py' --out 'my --fresh out'"


def test_the_test_extra_has_what_the_tests_import():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert any(r.startswith("pytest") for r in extras["optional-dependencies"]["test"])
