"""What a process asks of a GPU."""

import subprocess
import sys

ASKS = """
import torch
torch.backends.cudnn.benchmark = torch.backends.cudnn.allow_tf32 = True
torch.backends.cuda.matmul.allow_tf32 = True
from secnn.kernels.gpu import repeat_exactly
repeat_exactly()
assert torch.backends.cudnn.deterministic
assert not torch.backends.cudnn.benchmark
assert not torch.backends.cudnn.allow_tf32
assert not torch.backends.cuda.matmul.allow_tf32
"""


def test_float32_is_float32_and_repeats_itself():
    subprocess.run([sys.executable, "-c", ASKS], check=True)
