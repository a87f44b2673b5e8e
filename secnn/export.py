"""`secnn export CHECKPOINT FILE`, also `python -m secnn.export`: see `secnn.store.export`."""

from __future__ import annotations

import sys

from secnn.store.export import from_safetensors, main, to_onnx, to_safetensors

__all__ = ["from_safetensors", "main", "to_onnx", "to_safetensors"]

if __name__ == "__main__":
    sys.exit(main())
