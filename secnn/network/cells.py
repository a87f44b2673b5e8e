"""The cells that there are."""

from __future__ import annotations

from secnn.network.cell import Cell
from secnn.network.conv.cell import CONV
from secnn.registry import Registry

CELLS: Registry[Cell] = Registry("cell", conv=CONV)
"""name → `Cell`; `NetworkSpec.cell` is a key."""
