"""Whatever happened to the files of a data set, it is read, or refused in a line that names it."""

import random
import shutil
from collections import Counter
from pathlib import Path

import mutations
import pyarrow.parquet as pq
import pytest

from secnn.data import DataError, load_dataset


@pytest.mark.parametrize("form", ["folder", "class_folders"])
def test_damaged_files_are_read_or_refused_by_their_names(form, request, tmp_path):
    sound: Path = request.getfixturevalue(form)
    rng, outcomes = random.Random(0), Counter()
    for i in range(300):
        damaged = tmp_path / "damaged"
        shutil.copytree(sound, damaged)
        path = rng.choice(sorted(p for p in damaged.rglob("*") if p.is_file()))
        what = f"{i}: {path.relative_to(damaged)} {mutations.damage(rng, path)}"
        try:
            data = load_dataset(damaged)
        except DataError as error:
            assert str(damaged) in str(error), what
            assert "\n" not in str(error), what
            assert len(str(error)) < 700, what
        except Exception as error:
            raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
        else:
            for split in ("train", "validation", "test"):
                labels = getattr(data, f"{split}_labels")
                assert len(labels) == len(getattr(data, f"{split}_images")) > 0, what
                assert 0 <= labels.min() <= labels.max() < data.classes, what
            outcomes["read"] += 1
        shutil.rmtree(damaged)
    assert 15 < outcomes["read"] < 285


def test_two_columns_of_one_name_are_refused(folder):
    for shard in folder.glob("train*"):
        rows = pq.read_table(shard)
        pq.write_table(rows.append_column("label", rows["label"]), shard)
    with pytest.raises(DataError, match=r"train-0.parquet: .* got 'label' twice"):
        load_dataset(folder)
