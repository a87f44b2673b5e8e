"""What a process asks of a GPU."""

from __future__ import annotations

import torch


def repeat_exactly() -> None:
    """Have CUDA compute float32 in float32, not in TF32, and convolve by algorithms that give the
    same bits each time.

    It holds for the whole process; so a program decides, not this library.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
