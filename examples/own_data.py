"""A data set of your own: bright bars, to be told apart by their slant.

secnn run --import examples.own_data --dataset bars --preset quick
"""

from __future__ import annotations

from pathlib import Path

import torch

from secnn import DATASETS, Splits


def bars(data_dir: Path) -> Splits:
    """Three classes of noisy 16×16 images; `data_dir` (`--data-dir`) is where files would be."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    directions = torch.stack([rows, columns, (rows + columns) // 2])

    def split(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.arange(count) % 3
        places = torch.randint(3, 13, (count, 1, 1), generator=generator)
        lit = (directions[labels] - places).abs() <= 1
        noise = torch.randint(0, 120, (count, 16, 16), generator=generator)
        return (noise + 120 * lit).to(torch.uint8)[:, None], labels

    names = ("horizontal", "vertical", "slanted")
    return Splits("bars", "drawn bars", names, flip=False, train=split(900), test=split(300))


DATASETS["bars"] = bars
