"""The cluster files, without a cluster: Ray's own validation, and `ray up` against programs that
only note how they were called."""

import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from studies import ROOT, command

FILES = ("aws", "onprem")
# In a process of its own, because Ray leaves open files to be warned of, which are errors here.
PREPARE = """
import json
import sys

import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

config = prepare_config(yaml.safe_load(open(sys.argv[1])))
validate_config(config)
print(json.dumps(config))
"""
NOTE = """#!{python}
import json, os, sys
with open({log!r}, "a") as log:
    print(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]), file=log)
"""


def file(name: str) -> Path:
    return ROOT / "study" / "cluster" / f"{name}.yaml"


@pytest.fixture(scope="module")
def configs() -> dict[str, dict]:
    """The files as Ray completes them, which it does only if they are valid."""
    return {name: prepared(file(name)) for name in FILES}


def prepared(path: Path) -> dict:
    run = subprocess.run(
        [sys.executable, "-c", PREPARE, str(path)], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", FILES)
def test_nodes_get_all_that_an_installation_reads_the_examples_and_nothing_else(name, configs):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    # What the links in it lead to is copied too: rsync -a leaves links as they are.
    linked = {path.resolve().name for path in (ROOT / "secnn").iterdir() if path.is_symlink()}
    assert linked == {"study", "analysis"}
    folders = {"secnn"} | linked
    files = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    mounts = {
        remote: local for remote, local in configs[name]["file_mounts"].items() if "secnn" in remote
    }
    assert mounts == {f"~/secnn/{source}": source for source in folders | files | {"examples"}}
    assert all((ROOT / source).exists() for source in mounts.values())


@pytest.mark.parametrize("name", FILES)
def test_nobody_outside_gets_in(name, configs):
    config = configs[name]
    start = config["head_start_ray_commands"][-1]
    assert "--dashboard-host=127.0.0.1" in start
    assert "0.0.0.0" not in file(name).read_text(encoding="utf-8")
    assert any("RAY_AUTH_MODE=token" in line for line in config["setup_commands"])
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    # No rule of ours beside the group's own, which docs/cluster.md makes.
    assert "IpPermissions" not in config["provider"].get("security_group", {})


@pytest.mark.parametrize("name", FILES)
def test_no_secret_is_in_the_files(name):
    secret = r"AKIA|aws_secret|aws_access|PRIVATE KEY|password|\b[0-9a-f]{32,}\b"
    assert not re.search(secret, file(name).read_text(encoding="utf-8"), re.IGNORECASE)


def test_aws_has_a_spot_worker_with_one_gpu_for_each_trial_of_a_default_study(configs, tmp_path):
    config = configs["aws"]
    head, worker = (config["available_node_types"][kind] for kind in ("head", "worker"))
    dry = command("study/run.py", "--dry-run", "--dataset", "digits", "--out", tmp_path / "out")
    trials = sum(line.startswith("criterion=") for line in dry.stdout.splitlines())
    assert config["max_workers"] == worker["max_workers"] == trials
    assert worker["min_workers"] == 0
    assert worker["resources"]["GPU"] == 1
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert head["resources"] == {"CPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]


def test_what_is_to_be_edited_is_plain_to_see():
    assert "ami-EDIT-ME" in file("aws").read_text(encoding="utf-8")
    assert "fs-EDIT-ME" in file("aws").read_text(encoding="utf-8")
    onprem = file("onprem").read_text(encoding="utf-8")
    assert onprem.count("EDIT ME") == 1
    assert len(re.findall(r"\.example\.org", onprem)) == 3


@pytest.fixture
def home(tmp_path) -> Path:
    """A home folder with a key and a token, and a bin with `ssh` and `rsync` that note."""
    for path in (".ssh/secnn", ".ray/auth_token"):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text("not a real one\n")
    (tmp_path / "bin").mkdir()
    for name in ("ssh", "rsync"):
        program = tmp_path / "bin" / name
        program.write_text(NOTE.format(python=sys.executable, log=str(tmp_path / "calls")))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return tmp_path


def ray(home: Path, *arguments: object) -> list[list[str]]:
    """Run Ray's command line; how it called ssh and rsync."""
    local = {"HOME": str(home), "TMPDIR": str(home), "RAY_TMPDIR": str(home)}
    path = {"PATH": os.pathsep.join([str(home / "bin"), os.environ["PATH"]])}
    run = subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | local | path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    calls = [json.loads(line) for line in (home / "calls").read_text().splitlines()]
    (home / "calls").unlink()
    return calls


def edited(home: Path) -> Path:
    """onprem.yaml with names that resolve everywhere."""
    text = file("onprem").read_text(encoding="utf-8")
    for name, address in (("head", 1), ("gpu1", 2), ("gpu2", 3)):
        text = text.replace(f"{name}.example.org", f"127.0.0.{address}")
    (home / "edited.yaml").write_text(text, encoding="utf-8")
    return home / "edited.yaml"


def test_ray_up_sets_the_head_up_in_order(home):
    calls = ray(home, "up", "-y", "--no-config-cache", edited(home))
    config = prepared(edited(home))
    assert all("me@127.0.0.1" in " ".join(call) for call in calls)  # It does the rest itself.

    copied = [call[-1].removeprefix("me@127.0.0.1:") for call in calls if call[0] == "rsync"]
    assert {path.rstrip("/") for path in copied} == {
        *config["file_mounts"],
        "~/ray_bootstrap_config.yaml",
        "~/ray_bootstrap_key.pem",
    }
    steps = [
        *config["initialization_commands"],
        *config["head_setup_commands"],  # Ray has put setup_commands before them.
        *config["head_start_ray_commands"],
    ]
    assert list(ordered(calls, steps)) == steps


def ordered(calls, steps):
    """Those of `steps` that were run after the last file was copied, as they were run."""
    last_copy = max(i for i, call in enumerate(calls) if call[0] == "rsync")
    for call in calls[last_copy + 1 :]:
        shell = call[-1].replace("'\"'\"'", "'")
        yield from (step for step in steps if step in shell)


def test_a_study_is_started_and_its_results_are_fetched_through_ssh(home):
    cluster = edited(home)
    ray(home, "up", "-y", "--no-config-cache", cluster)
    study = "cd secnn && python study/run.py --address auto --out /mnt/secnn/first"
    (call,) = ray(home, "exec", cluster, study)
    assert call[0] == "ssh"
    assert study in call[-1]

    (call,) = ray(home, "rsync-down", cluster, "/mnt/secnn/first/", home / "first")
    assert call[0] == "rsync"
    assert call[-2:] == ["me@127.0.0.1:/mnt/secnn/first/", str(home / "first")]
