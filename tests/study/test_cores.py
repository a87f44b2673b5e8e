"""How many trials a machine has room for."""

import os
import subprocess
import sys

import pytest

from secnn.study.cores import cores, quotas


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_a_process_bound_to_one_core_has_one():
    line = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])"
    line += "; from secnn.study.cores import cores; print(cores())"
    run = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True)
    assert run.stdout == "1\n", run.stderr
    assert 1 <= cores() <= len(os.sched_getaffinity(0))


def found(tmp_path, groups, files):
    """The quotas, given the text of /proc/self/cgroup and the `files` in /sys/fs/cgroup."""
    for name, text in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "groups").write_text(groups)
    return sorted(quotas(tmp_path / "root", tmp_path / "groups"))


def test_the_quotas_of_a_group_and_of_those_around_it_count(tmp_path):
    files = {"a/b/cpu.max": "50000 20000\n", "a/cpu.max": "150000 100000\n"}
    assert found(tmp_path, "0::/a/b\n", files | {"cpu.max": "max 100000\n"}) == [1.5, 2.5]


def test_a_container_sees_its_group_as_the_root(tmp_path):
    assert found(tmp_path, "0::/somewhere/else\n", {"cpu.max": "200000 100000\n"}) == [2]


@pytest.mark.parametrize(("quota", "expected"), [("300000\n", [3]), ("-1\n", [])])
def test_the_older_version_is_read_too(quota, expected, tmp_path):
    files = {"cpu/a/cpu.cfs_quota_us": quota, "cpu/a/cpu.cfs_period_us": "100000\n"}
    assert found(tmp_path, "1:cpu:/a\n2:memory:/a\n", files) == expected


def test_without_groups_there_is_no_quota(tmp_path):
    assert found(tmp_path, "", {}) == []
