"""Images: named sources, Parquet files and class folders, decoded once to resident uint8 tensors.

`sources` and `image_files` read a data set into splits, `dataset` chooses the validation split (the
paper validates on the test set: section 4; here that is `validation="test"`), `batches` draws and
normalises them.
"""

from secnn.data.dataset import DATASETS, DataError, ImageData, load_dataset

__all__ = ["DATASETS", "DataError", "ImageData", "load_dataset"]
