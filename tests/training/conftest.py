"""Few images, and what the small trial makes of them."""

import dataclasses

import pytest
from small_trials import CONFIG, finished

from secnn.data.dataset import ImageData, load_dataset
from secnn.training.trial import Trial


@pytest.fixture(scope="session")
def digits(first) -> ImageData:
    data = first(load_dataset("digits"), 500)
    return dataclasses.replace(
        data,
        validation_images=data.validation_images[:8],
        validation_labels=data.validation_labels[:8],
    )


@pytest.fixture(scope="session")
def whole(digits) -> dict:
    return finished(Trial(CONFIG, digits))
