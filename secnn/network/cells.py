"""The cells that there are."""

from __future__ import annotations

from secnn.network.cell import Cell
from secnn.network.conv.cell import CONV
from secnn.network.separable.cell import SEPARABLE
from secnn.registry import Registry

CELLS: Registry[Cell] = Registry("cell", conv=CONV, separable=SEPARABLE)
"""name → `Cell`; `NetworkSpec.cell` is a key."""
