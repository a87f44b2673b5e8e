"""Data sets of the Hugging Face hub: downloaded by its own package, read as any folder."""

import sys
import types

import pytest
from pictures import refusal, write_splits

from secnn.data import load_dataset

SHARDS = ("train-00000-of-00001.parquet", "test-00000-of-00001.parquet")


@pytest.fixture
def hub(tmp_path, monkeypatch) -> list[dict]:
    """A hub whose only data set is the folder `snapshot`; what was asked of it."""
    asked = []

    def snapshot_download(repo_id: str, **options) -> str:
        asked.append({"repo_id": repo_id, **options})
        return str(tmp_path / "snapshot")

    (tmp_path / "snapshot").mkdir()
    package = types.SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", package)
    return asked


@pytest.mark.parametrize("place", ["", "data/", "plain_text/"])
def test_a_data_set_is_read_as_its_folder_is(hub, tmp_path, place):
    snapshot = write_splits(tmp_path / "snapshot", *(place + shard for shard in SHARDS))
    data = load_dataset("hf:uoft-cs/cifar10")
    assert data.fingerprint == load_dataset(snapshot).fingerprint
    assert data.name == "cifar10" and data.source == "Hugging Face hub: hf:uoft-cs/cifar10"
    assert hub == [
        {
            "repo_id": "uoft-cs/cifar10",
            "repo_type": "dataset",
            "revision": None,
            "allow_patterns": "*.parquet",
        }
    ]


def test_files_that_are_links_into_a_cache_are_read(hub, tmp_path):
    blobs = write_splits(tmp_path / "blobs", *SHARDS)
    for shard in SHARDS:
        (tmp_path / "snapshot" / shard).symlink_to(blobs / shard)
    assert len(load_dataset("hf:a/b").test_images) == 6


@pytest.mark.parametrize("revision", ["main", "refs/convert/parquet", "0123456789abcdef", "v1.0"])
@pytest.mark.parametrize("folder", [None, "cifar100"])
def test_a_revision_and_a_folder_can_be_chosen(hub, tmp_path, revision, folder):
    write_splits(tmp_path / "snapshot" / "cifar100", "train/0000.parquet", "test/0000.parquet")
    if folder:
        write_splits(tmp_path / "snapshot" / "other", *SHARDS)
        assert "name one of the folders cifar100, other in it" in refusal("hf:a/b.c")
    address = f"hf:a/b.c{f'/{folder}' if folder else ''}@{revision}"
    data = load_dataset(address)
    assert data.name == "b.c" and data.source.endswith(address)
    assert hub[-1]["repo_id"] == "a/b.c" and hub[-1]["revision"] == revision
    assert hub[-1]["allow_patterns"] == ("cifar100/*.parquet" if folder else "*.parquet")


def test_columns_and_sizes_reach_the_reader(hub, tmp_path):
    write_splits(tmp_path / "snapshot", *SHARDS)
    assert load_dataset("hf:a/b", resize=8).image_shape == (3, 8, 8)
    assert "expected a column digit of" in refusal("hf:a/b", label_column="digit")


@pytest.mark.parametrize(
    "address", ["hf:a", "hf:", "hf:a/..", "hf:a/b/../c", "hf:a/b/c/d", "hf:/b"]
)
def test_what_is_no_address_is_refused(hub, address):
    assert f"dataset {address!r}: expected hf:OWNER/NAME" in refusal(address)
    assert not hub


def test_a_data_set_in_another_format_is_one_clear_line(hub, tmp_path):
    (tmp_path / "snapshot" / "images.zip").write_bytes(b"")
    for address in ("hf:a/b", "hf:a/b/missing"):
        assert "has no Parquet files: the hub's own conversion may be at hf:a/b@refs" in refusal(
            address
        )


def test_a_missing_package_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "needs the package huggingface_hub (import of hugg" in refusal("hf:a/b")
    assert refusal("hf:a/b").endswith("pip install huggingface_hub")


def test_a_missing_connection_is_one_clear_line(hub, monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("404 Client Error.\n\nRepository not found")

    monkeypatch.setattr(sys.modules["huggingface_hub"], "snapshot_download", fail)
    assert refusal("hf:a/b") == (
        "dataset 'hf:a/b' cannot be had from the Hugging Face hub (404 Client Error): check the "
        "name and the connection"
    )
