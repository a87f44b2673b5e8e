"""Keeping what is freed: memory is reused, by threads that come later too."""

import platform
import subprocess
import sys

import pytest

THREADS = """
import threading
import torch
from secnn.kernels.memory import keep_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20

def use(used, over):
    blocks = [torch.ones(1 << 18) for _ in range(200)]
    del blocks
    used.set()
    over.wait()

assert keep_freed_memory()
over, sizes = threading.Event(), []
for _ in range(5):  # Each still there while the next works, as Ray's are.
    used = threading.Event()
    threading.Thread(target=use, args=(used, over)).start()
    used.wait()
    sizes.append(resident())
over.set()
print(sizes[-1] - sizes[0])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_each_thread_reuses_what_others_freed():
    line = [sys.executable, "-c", THREADS]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 150, "MiB more, of 200 that each thread freed"
