"""Damaged files: a checkpoint of a real trial, changed in every way we can think of."""

import collections
import os
import pickle
import random
import zipfile
from collections.abc import Callable, Iterator

import pytest
import torch
import without_ray
from studies import command, logs

from secnn import NetworkSpec, Trial, TrialConfig, replay
from secnn.data.dataset import ImageData
from secnn.store import checkpoint
from secnn.store.checkpoint import CheckpointError

CONFIG = TrialConfig(
    criterion="schedule",
    epochs=3,
    cooldown=0,
    batch_size=32,
    channels=(4, 4, 4),
    kernel="reference",
)


@pytest.fixture(scope="module")
def data() -> ImageData:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (96, 1, 9, 11), generator=generator).to(torch.uint8)
    splits = [images, torch.arange(96) % 3] * 3
    return ImageData("noise", "synthetic", ("a", "b", "c"), False, "held-out", None, *splits)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory) -> bytes:
    """The file of a trial that has trained and grown."""
    trial = Trial(CONFIG, data)
    trial.step()
    trial.step()
    assert trial.expansions
    path = tmp_path_factory.mktemp("whole") / "last.pt"
    checkpoint.save(path, trial.state())
    return path.read_bytes()


@pytest.fixture
def write(tmp_path) -> Callable:
    """Bytes, or the content of a checkpoint, as a file."""

    def as_file(content: bytes | object):
        path = tmp_path / "last.pt"
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
        return path

    return as_file


@pytest.fixture
def content(whole, write) -> dict:
    """All but what only the trial itself reads."""
    content = checkpoint.read(write(whole))
    del content["training"]
    return content


def refusals(path) -> Iterator[str]:
    """What each way of reading the file says; at most some of them may succeed."""
    for read in (checkpoint.read, checkpoint.load, replay):
        try:
            read(path)
        except CheckpointError as error:
            assert "\n" not in str(error)
            assert str(path) in str(error)
            yield str(error)
        else:
            yield ""


def test_truncated_files_are_refused(whole, write):
    lengths = [*range(40), *random.Random(0).sample(range(len(whole)), 60), len(whole) - 1]
    for length in lengths:
        assert all(refusals(write(whole[:length]))), length


def flipped(whole: bytes, position: int, bit: int) -> bytes:
    changed = bytearray(whole)
    changed[position] ^= 1 << bit
    return bytes(changed)


def payload(whole: bytes, write) -> list[range]:
    """Where in the file the members' own bytes are; the rest is the archive's bookkeeping."""
    with zipfile.ZipFile(write(whole)) as archive:
        members = archive.infolist()
        ranges = []
        for member in members:
            header = whole[member.header_offset : member.header_offset + 30]
            begin = (
                member.header_offset
                + 30
                + sum(int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
            )
            ranges.append(range(begin, begin + member.file_size))
    return ranges


def test_every_flipped_bit_of_content_is_found(whole, write):
    rng = random.Random(0)
    places = payload(whole, write)
    for _ in range(200):
        (place,) = rng.choices(places, weights=[len(p) for p in places])
        changed = flipped(whole, rng.choice(place), rng.randrange(8))
        assert all(refusals(write(changed)))
    for place in places:  # Small members too.
        if place:
            assert all(refusals(write(flipped(whole, rng.choice(place), rng.randrange(8)))))


def test_flipped_bits_anywhere_are_found_or_harmless(whole, write):
    """What is not content is padding, times and sizes that no reader uses."""
    rng, content = random.Random(1), checkpoint.read(write(whole))
    outcomes = collections.Counter()
    for _ in range(300):
        changed = flipped(whole, rng.randrange(len(whole)), rng.randrange(8))
        path = write(changed)
        said = set(map(bool, refusals(path)))
        assert len(said) == 1
        outcomes["refused" if said == {True} else "harmless"] += 1
        if said == {False}:
            assert same(checkpoint.read(path), content)
    assert outcomes["refused"] > outcomes["harmless"]


def same(one: object, other: object) -> bool:
    """Whether the two are equal, tensors and all."""
    if type(one) is not type(other):
        return False
    if torch.is_tensor(one):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_stretches_of_zeros_and_swapped_blocks_are_refused(whole, write):
    """As a disk or a file system leaves them after a crash."""
    blocks = [whole[i : i + 4096] for i in range(0, len(whole), 4096)]
    rng = random.Random(0)
    for _ in range(30):
        zeroed, swapped = list(blocks), list(blocks)
        i, j = rng.sample(range(len(blocks)), 2)
        zeroed[i] = bytes(len(blocks[i]))
        swapped[i], swapped[j] = swapped[j], swapped[i]
        for changed in map(b"".join, (zeroed, swapped)):
            if changed != whole:
                assert all(refusals(write(changed)))
    assert all(refusals(write(bytes(len(whole)))))


def test_foreign_files_are_refused(write, data):
    foreign = [
        b"",
        b"\n",
        b"\x89PNG\r\n\x1a\n" + os.urandom(500),
        b'{"format": 1, "network": {}}',
        b"PK\x05\x06" + bytes(18),
        pickle.dumps({"format": 1, "network": {}}),
        os.urandom(5000),
        {},
        [],
        None,
        {"format": "1", "network": {}},
        {"format": 1},
        {"model": torch.zeros(3)},
        torch.nn.Linear(2, 2).state_dict(),
        torch.zeros(3),
    ]
    for content in foreign:
        assert all(refusals(write(content))), content


CHANGES = {
    "newer format": {"format": checkpoint.FORMAT + 1},
    "no spec": {"spec": None},
    "spec of a list": {"spec": [1, 2]},
    "spec with another field": {"spec": {"colour": 3}},
    "spec out of range": {"spec": {"classes": 0}},
    "spec too large": {"spec": {"channels": [1 << 40] * 3}},
    "spec of 60 GB": {"spec": {"channels": [40_000] * 3}},
    "spec beyond integers": {"spec": {"channels": [1 << 70] * 3}},
    "spec of texts": {"spec": {"channels": ["a", "b", "c"]}},
    "start of other data": {"start": {"classes": 7}},
    "no network": {"network": None},
    "network of a list": {"network": [torch.zeros(2)]},
    "network of numbers": {"network": {1: torch.zeros(2)}},
}


@pytest.mark.parametrize("name", CHANGES)
def test_descriptions_that_fit_no_network_are_refused(name, content, write):
    _, loaded, _ = refusals(write(content | CHANGES[name]))
    assert loaded
    assert ("update secnn" in loaded) == (name == "newer format")


def test_tensors_of_another_shape_or_type_are_refused(content, write):
    tensors = {k: v for k, v in content["network"].items() if torch.is_tensor(v)}
    assert len(tensors) > 30
    for name, tensor in tensors.items():
        other_type = torch.float64 if tensor.is_floating_point() else torch.int32
        for wrong in (tensor.to(other_type), tensor[None], tensor.new_zeros(0), "text"):
            changed = content["network"] | {name: wrong}
            assert f"({name}: expected " in refusal(write, content, changed)
        without = {k: v for k, v in content["network"].items() if k != name}
        assert f"({name} is missing)" in refusal(write, content, without)
    another = content["network"] | {"another": torch.zeros(2)}
    assert "(another is not of this network)" in refusal(write, content, another)


def refusal(write, content: dict, tensors: dict) -> str:
    with pytest.raises(CheckpointError) as error:
        checkpoint.load(write(content | {"network": tensors}))
    return str(error.value)


class Payload:
    """What unpickling it does: it makes a folder."""

    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return os.mkdir, (str(self.victim),)


@pytest.mark.parametrize("at", ["spec", "start", "network", "expansions", "data", "config"])
def test_code_in_any_place_is_refused_and_does_not_run(at, content, write, tmp_path):
    victim = tmp_path / "ran"
    for changed in (content | {at: Payload(victim)}, content | {at: [1, {"a": Payload(victim)}]}):
        path = write(changed)
        assert all(refusals(path))
        assert not victim.exists()
    torch.load(path, weights_only=False)  # It is a live one.
    assert victim.exists()


def test_the_undamaged_file_is_read(whole, write, data):
    path = write(whole)
    assert not any(refusals(path))
    content = checkpoint.read(path)
    assert replay(path).spec == checkpoint.load(path).spec == NetworkSpec.from_dict(content["spec"])
    trial = Trial(CONFIG, data)
    trial.restore(content)
    assert trial.step().epoch == 3


STUDY = ("--preset", "quick", "--dataset", "digits", "--epochs", "2", "--num-samples", "3")
STUDY = (*STUDY, "--tau", "--lam")


def test_a_study_lists_trials_whose_files_are_damaged_and_finishes_the_others(tmp_path):
    out = tmp_path / "out"
    without_ray.run(STUDY, tmp_path / "whole")
    without_ray.run(STUDY, out, epochs=1)
    first, second, third = sorted((out / "trials").glob("*/last.pt"))
    first.write_bytes(first.read_bytes()[:-1000])
    second.write_bytes((second.parent / "ladder" / "best.pt").read_bytes())

    run = command("study/run.py", *STUDY, "--out", out)
    assert run.returncode == 1, run.stdout + run.stderr
    assert "1 of 3 trials are done" in run.stdout
    assert "Traceback" not in run.stdout + run.stderr
    said = sorted(line for line in run.stderr.splitlines() if line.startswith("FAILED"))
    assert len(said) == 2
    for line, path in zip(said, (first, second), strict=True):
        assert line.startswith(f"FAILED {path.parent.name}: StoreError: {path} cannot be continued")
        assert "delete it to start the trial anew" in line
    assert (third.parent / "DONE").exists()

    for path in (first, second):
        path.unlink()
    without_ray.run(STUDY, out)
    assert logs(out) == logs(tmp_path / "whole")
    assert not list(out.glob("trials/*/ERROR"))
