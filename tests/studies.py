"""Running the command lines as users do, and reading what they leave."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.interruption import logs

__all__ = ["ROOT", "command", "logs", "popen", "secnn", "two_nodes"]

ROOT = Path(__file__).resolve().parents[1]

# In a process of its own, because Ray's test cluster leaves open files to be warned of, which are
# errors here.
CLUSTER = """
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
raylet = cluster.add_node(num_cpus=1).all_processes["raylet"][0].process
print(cluster.address, raylet.pid, flush=True)
raylet.wait()  # For the test to kill it; its workers would take a zombie for alive.
input()
cluster.shutdown()
"""


def command(script: str, *arguments: object, **options) -> subprocess.CompletedProcess:
    """`python script arguments` from the project's root, output captured as text."""
    return _run([str(ROOT / script), *map(str, arguments)], **options)


def secnn(*arguments: object, **options) -> subprocess.CompletedProcess:
    """The same for `python -m secnn arguments`."""
    return _run(["-m", "secnn", *map(str, arguments)], **options)


def _run(line: list[str], **options) -> subprocess.CompletedProcess:
    options = {"cwd": ROOT, "timeout": 280} | options
    return subprocess.run([sys.executable, *line], capture_output=True, text=True, **options)


def popen(script: str, *arguments: object, **environment: str) -> subprocess.Popen:
    """`python script arguments`, or `python -m secnn run arguments` for the script "secnn", running
    in a session of its own, output discarded to a pipe."""
    start = ["-m", "secnn", "run"] if script == "secnn" else [str(ROOT / script)]
    return subprocess.Popen(
        [sys.executable, *start, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@contextlib.contextmanager
def two_nodes() -> Iterator[tuple[str, int]]:
    """A cluster of two nodes with a core each: its address, and the second one's process, which may
    be killed."""
    line = [sys.executable, "-c", CLUSTER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(line, cwd=ROOT, text=True, **pipes) as process:
        address, raylet = process.stdout.readline().split()
        try:
            yield address, int(raylet)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(raylet), signal.SIGKILL)
            process.communicate("\n")
