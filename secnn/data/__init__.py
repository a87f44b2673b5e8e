"""Images: from named sources, files, the Hugging Face hub and Python objects to uint8 tensors.

`dataset` finds out what is asked for. `sources`, `parquet`, `folders`, `hub` and `objects` read it
into splits, with the help of `layout` (which file is of which split), `columns`, `labels`,
`decoding` and `assembly`. `images` chooses the validation split (the paper validates on the test
set: section 4; here that is `validation="test"`), `batches` draws and normalises them.
"""

from secnn.data.dataset import DATASETS, DataError, ImageData, load_dataset

__all__ = ["DATASETS", "DataError", "ImageData", "load_dataset"]
