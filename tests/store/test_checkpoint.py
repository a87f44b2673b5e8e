"""Checkpoints rebuild what was saved, and nothing in a file is ever executed."""

import os
import pickle
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import without_ray

from secnn import SECNN, AddChannels, AddLayer, NetworkSpec, load_dataset, replay
from secnn.growth.expansion import from_dict
from secnn.store import checkpoint
from secnn.store.checkpoint import CheckpointError

STUDY = ("--preset", "quick", "--dataset", "digits", "--epochs", "4", "--num-samples", "1")
STUDY = (*STUDY, "--tau", "--lam")
GROWTH = (AddLayer(0), AddChannels(1, 3), AddLayer(1), AddChannels(2, 5), AddLayer(2))


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def grown(digits) -> SECNN:
    network = SECNN(input_channels=1)
    for expansion in GROWTH:
        expansion.apply(network)
        network.anneal_slopes(4)  # Every added layer is at another slope.
    for _ in range(3):
        network(torch.randn(8, 1, 32, 32))  # Running statistics that are not the initial ones.
    return network.eval()


@pytest.fixture
def saved(grown, digits, tmp_path):
    path = tmp_path / "network.pt"
    checkpoint.save(path, checkpoint.describe(grown, digits, GROWTH, {"epoch": 3}))
    return path


def test_a_checkpoint_rebuilds_the_grown_network(saved, grown):
    images = torch.randn(16, 1, 32, 32)
    network = checkpoint.load(saved)
    assert not network.training
    assert network.spec == grown.spec
    with torch.no_grad():
        assert torch.equal(network(images), grown(images))


def test_a_checkpoint_tells_what_is_needed_to_use_it(saved, digits):
    content = checkpoint.read(saved)
    assert content["data"]["class_names"] == list(digits.class_names)
    assert content["data"]["mean"] == list(digits.mean)
    assert [from_dict(e) for e in content["expansions"]] == list(GROWTH)
    assert content["metrics"] == {"epoch": 3}
    assert NetworkSpec.from_dict(content["start"]) == NetworkSpec(input_channels=1)


@pytest.mark.parametrize("seed", range(8))
def test_a_replay_has_the_shape_of_the_checkpoint(
    seed, make_network, make_data, draw_expansion, tmp_path
):
    rng = random.Random(seed)
    network, made = make_network(dtype=torch.float32, capacity=4), []
    start, path = network.spec, tmp_path / "last.pt"
    data = make_data(24, start.image_size, start.input_channels, start.classes)
    for _ in range(3):
        for _ in range(rng.randint(0, 4)):
            made.append(draw_expansion(rng, network))
            made[-1].apply(network)
        checkpoint.save(path, checkpoint.describe(network, data, made, {}))
        for place in (path, tmp_path):
            replayed = replay(place)
            assert replayed.spec == network.spec
            assert replayed.n_parameters == network.n_parameters
            assert replayed.training
        network = checkpoint.load(path)  # As a trial that goes on does: the start is kept.
    assert NetworkSpec.from_dict(checkpoint.read(path)["start"]) == start


def test_a_loaded_network_that_is_saved_still_knows_its_data(saved, tmp_path):
    network = checkpoint.load(saved)
    checkpoint.save(tmp_path / "again.pt", checkpoint.describe_network(network))
    assert (
        checkpoint.load(tmp_path / "again.pt").data
        == network.data
        == checkpoint.read(saved)["data"]
    )
    assert "data" not in checkpoint.describe_network(SECNN())


def test_expansions_that_lead_elsewhere_are_refused(saved):
    content = checkpoint.read(saved)
    for expansions in (content["expansions"][1:], [{"kind": "AddNothing"}], 3):
        checkpoint.save(saved, content | {"expansions": expansions})
        with pytest.raises(
            CheckpointError, match=r"does not hold the network|expansions: |was grown by "
        ) as error:
            replay(saved)
        assert one_line(error)
    with pytest.raises(FileNotFoundError, match=r"last\.pt"):
        replay(saved.parent)


class Payload:
    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return os.mkdir, (str(self.victim),)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_pickle_payload_is_refused_and_does_not_run(writer, tmp_path):
    path, victim = tmp_path / "evil.pt", tmp_path / "ran"
    content = {"format": 1, "network": {}, "spec": Payload(victim)}
    if writer == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    for reader in (checkpoint.read, checkpoint.load):
        with pytest.raises(CheckpointError):
            reader(path)
    assert not victim.exists()
    # The payload is a live one.
    torch.load(path, weights_only=False) if writer == "torch" else pickle.loads(path.read_bytes())
    assert victim.exists()


def one_line(error: pytest.ExceptionInfo) -> bool:
    return "\n" not in str(error.value) and len(str(error.value)) < 800


def test_truncated_files_give_one_line(saved, tmp_path):
    whole = saved.read_bytes()
    lengths = [0, 1, 100, *random.Random(0).sample(range(len(whole)), 20), len(whole) - 1]
    for length in lengths:
        path = tmp_path / "cut.pt"
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"checkpoint: .*cut\.pt") as error:
            checkpoint.load(path)
        assert one_line(error)


def test_foreign_files_give_one_line(tmp_path):
    path = tmp_path / "foreign.pt"
    foreign = [
        b"\x89PNG\r\n",
        os.urandom(5000),
        b'{"format": 1}',
        pickle.dumps([1, 2]),
    ]
    for content in foreign:
        path.write_bytes(content)
        with pytest.raises(CheckpointError) as error:
            checkpoint.load(path)
        assert one_line(error)
    for content in ([1], {"state_dict": {}}, {"format": 1, "network": {}, "spec": {"layers": 3}}):
        torch.save(content, path)
        with pytest.raises(CheckpointError) as error:
            checkpoint.load(path)
        assert one_line(error)


def test_a_network_that_is_not_the_described_one_is_refused(saved):
    content = checkpoint.read(saved)
    content["spec"]["channels"] = [16, 16, 16]
    checkpoint.save(saved, content)
    with pytest.raises(CheckpointError, match="does not hold the network"):
        checkpoint.load(saved)


def test_a_newer_format_is_refused(saved):
    checkpoint.save(saved, checkpoint.read(saved) | {"format": checkpoint.FORMAT + 1})
    with pytest.raises(CheckpointError, match="update secnn"):
        checkpoint.read(saved)


def test_an_audit_log_that_fits_no_network_is_refused(tmp_path):
    without_ray.run(STUDY, tmp_path)
    (log,) = (tmp_path / "logs" / "expansions").iterdir()
    rows = pq.read_table(pa.BufferReader(log.read_bytes()))
    assert replay(log).spec == replay(tmp_path / "trials" / log.stem).spec != replay(log).start
    unchosen = [row | {"chosen": False} for row in rows.to_pylist()]
    pq.write_table(pa.Table.from_pylist(unchosen, rows.schema), log)
    with pytest.raises(CheckpointError, match="does not hold the network") as error:
        replay(log)
    assert one_line(error)
    log.write_bytes(b"PAR1, but no more of it")
    with pytest.raises(CheckpointError) as error:
        replay(log)
    assert one_line(error)
    log.unlink()
    with pytest.raises(FileNotFoundError, match="parquet"):
        replay(log)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt"):
        checkpoint.load(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("default", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_network_is_loaded_in_its_own_type_whatever_the_default_is(
    dtype, default, make_network, tmp_path
):
    network = make_network(dtype=dtype)
    checkpoint.save(tmp_path / "n.pt", checkpoint.describe_network(network))
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        loaded = checkpoint.load(tmp_path / "n.pt")
    finally:
        torch.set_default_dtype(before)
    assert {t.dtype for t in loaded.parameters()} == {dtype}
    images = torch.randn(4, 3, 12, 20).to(dtype)
    assert torch.equal(loaded(images), network.eval()(images))
