"""The front door, and how commands are called."""

import json
import os
import shlex
import subprocess
import sys

import pytest
from studies import ROOT, secnn

from secnn import commands
from secnn.__main__ import main
from secnn.commands import COMMANDS, SCRIPTS, Parser, called, line, program


@pytest.mark.parametrize(
    ("started", "table", "run"),
    [
        ("study/run.py", "python analysis/make_table.py", "python study/run.py"),
        ("./study/run.py", "python analysis/make_table.py", "python ./study/run.py"),
        ("run.py", "python ../analysis/make_table.py", "python run.py"),
        ("../analysis/report.py", "python ../analysis/make_table.py", "python ../study/run.py"),
        ("/a b/study/run.py", "python '/a b/analysis/make_table.py'", "python '/a b/study/run.py'"),
        ("/nowhere/bin/secnn", "/nowhere/bin/secnn table", "/nowhere/bin/secnn run"),
        ("/usr/bin/pytest", "secnn table", "secnn run"),
    ],
)
def test_commands_are_called_as_the_program_was(started, table, run, monkeypatch):
    monkeypatch.chdir(ROOT / "study")
    monkeypatch.setattr(sys, "argv", [started, "--out", "my results"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    assert program("table") == table
    assert program("run") == run
    assert called().endswith(" --out 'my results'")
    if "pytest" not in started and "secnn" not in started:
        assert called() == line(*next((k, *sys.argv[1:]) for k, v in SCRIPTS.items() if own(k)))


def own(name):
    return program(name) == f"python {shlex.quote(sys.argv[0])}"


@pytest.mark.parametrize("argument", ["a b", "it's", "$HOME", "*", 'a"b', "", "a\nb", "~", "é;"])
def test_lines_can_be_pasted(argument):
    shell = subprocess.run(
        ["sh", "-c", f"printf %s {line('table', argument).removeprefix(program('table'))}"],
        capture_output=True,
    )
    assert shell.stdout.decode() == argument


def test_every_command_has_a_script():
    assert COMMANDS.keys() == SCRIPTS.keys() | {"export"}
    assert all((ROOT / script).is_file() for script in SCRIPTS.values())


LOADED = """
import json, sys
from secnn.__main__ import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.mark.parametrize(
    ("arguments", "without"),
    [
        (("--help",), {"torch", "ray", "numpy", "pandas", "matplotlib"}),
        (("--version",), {"torch", "ray", "numpy", "pandas", "matplotlib"}),
        (("table", "nowhere"), {"torch", "ray"}),
        (("report", "nowhere"), {"torch", "ray"}),
        (("export", "nowhere", "x.onnx"), {"ray", "pandas", "matplotlib"}),
    ],
)
def test_a_command_imports_what_it_needs_and_no_more(arguments, without):
    run = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments], capture_output=True, text=True, cwd=ROOT
    )
    assert run.returncode == 0, run.stderr
    loaded = set(json.loads(run.stdout.splitlines()[-1]))
    assert "secnn" in loaded
    assert not without & loaded


def test_help_lists_every_command():
    shown = secnn("--help")
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in COMMANDS)
    assert shown.stdout.startswith("usage: python -m secnn ")
    assert secnn("--version").stdout == "secnn 0.2.0\n"


BAD = [([], "COMMAND"), (["nonsense"], "'nonsense'"), (["plot"], "COMMAND"), (["plot", "x"], "'x'")]
BAD += [(["--", "table"], "-- table"), (["plot", "--", "pareto"], "-- pareto")]
BAD += [(["table", "--targets", "60", "--targets", "70"], "--targets: expected once")]
BAD += [(["ladder", "--max-parameters", "0"], "--max-parameters"), (["plot", "pareto", "-x"], "-x")]


@pytest.mark.parametrize(("arguments", "named"), BAD)
def test_bad_input_gives_one_line_and_status_2(arguments, named, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert named in shown.err
    assert "--help" in shown.err
    assert not shown.out


@pytest.mark.parametrize("arguments", [("run", "--dry-run"), ("table",), ("--version",)])
def test_a_folder_that_is_gone_is_no_place_to_start(arguments, tmp_path):
    gone = f"mkdir gone && cd gone && rmdir ../gone && exec '{sys.executable}' -m secnn"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        ["bash", "-c", f"{gone} {shlex.join(arguments)}"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    said = run.stderr.splitlines()
    assert run.returncode == 2
    assert said == ["error: current folder: No such file or directory; cd to another one"]


def test_what_is_parsed_knows_its_line():
    parser = Parser("table")
    parser.add_argument("out")
    parser.add_argument("--name")
    for _ in range(2):  # What was given once is not remembered.
        asked = parser.parse_args(["my out", "--name", "x"])
        assert asked.command == f"{program('table')} 'my out' --name x"
    assert commands.line("table", "my out", "--name", "x") == asked.command


GONE = """
import secnn.__main__, secnn.study.status

def main(arguments):
    raise BrokenPipeError

secnn.study.status.main = main
raise SystemExit(secnn.__main__.main(["status"]))
"""


def test_a_reader_that_goes_is_no_error():
    done = subprocess.run([sys.executable, "-c", GONE], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
