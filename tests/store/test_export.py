"""Exported networks compute what the network computes, and say what is needed to use them."""

import json
import subprocess
import sys

import pytest
import torch
from studies import ROOT

import secnn
from secnn import SECNN, AddChannels, AddLayer, predict
from secnn.store import checkpoint, export
from secnn.store.checkpoint import CheckpointError

GROWTH = (AddLayer(0), AddChannels(1, 3), AddChannels(2, 5), AddLayer(1), AddLayer(0))
SHAPES = [
    {"image_size": (19, 25), "input_channels": 1, "classes": 4},
    {"image_size": (12, 20), "input_channels": 3, "classes": 4, "channels": (5, 6, 7)},
]


@pytest.fixture(params=SHAPES, ids=["grey", "colour"])
def grown(request, make_network) -> SECNN:
    """Grown to other widths and depths, its added layers at several slopes."""
    network = make_network(GROWTH, torch.float32, **request.param)
    assert len({layer.slope for block in network.blocks for layer in block.layers}) >= 3
    return network.eval()


@pytest.fixture
def saved(grown, make_data, tmp_path):
    spec = grown.spec
    data = make_data(24, spec.image_size, spec.input_channels, spec.classes)
    path = tmp_path / "network.pt"
    checkpoint.save(path, checkpoint.describe(grown, data, GROWTH, {"epoch": 3}))
    return path


def run_onnx(path, images, output="logits"):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run([output], {"images": images.numpy()})
    return torch.from_numpy(found), session.get_modelmeta().custom_metadata_map


@torch.no_grad()
def test_onnx_agrees_with_torch_for_any_batch(grown, saved, draw_images, tmp_path):
    file = tmp_path / "network.onnx"
    export.to_onnx(saved, file)
    for count in (1, 2, 17):
        images, _ = draw_images(grown, count)
        logits, _ = run_onnx(file, images)
        assert logits.shape == (count, grown.spec.classes)
        torch.testing.assert_close(logits, grown(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("source", [str, secnn.load], ids=["a file", "a loaded network"])
def test_onnx_from_pixels_gives_what_predict_does(source, grown, saved, make_data, tmp_path):
    spec, file = grown.spec, tmp_path / "network.onnx"
    export.to_onnx(source(saved), file, pixels=True)
    data = make_data(17, spec.image_size, spec.input_channels, spec.classes)
    for images in (data.train_images[:1], data.train_images):
        probabilities, _ = run_onnx(file, images, "probabilities")
        expected = predict(secnn.load(saved), images)
        torch.testing.assert_close(probabilities, expected, atol=1e-5, rtol=1e-4)


def test_pixels_need_a_checkpoint_and_onnx(grown, saved, tmp_path, capsys):
    with pytest.raises(ValueError, match="pixels: expected a checkpoint"):
        export.to_onnx(grown, tmp_path / "network.onnx", pixels=True)
    file = str(tmp_path / "network.safetensors")
    assert export.main([str(saved), file, "--pixels"]) == 2
    assert "--pixels: expected a file *.onnx" in capsys.readouterr().err
    assert not list(tmp_path.glob("network.[os]*"))
    assert export.main([str(saved), str(tmp_path / "network.onnx"), "--pixels"]) == 0


def test_the_metadata_tell_what_is_needed_to_use_the_model(grown, saved, draw_images, tmp_path):
    file = tmp_path / "network.onnx"
    export.to_onnx(saved, file)
    _, metadata = run_onnx(file, draw_images(grown, 1)[0])
    content = checkpoint.read(saved)
    assert json.loads(metadata["spec"]) == grown.spec.to_dict()
    assert json.loads(metadata["versions"]) == checkpoint.versions()
    for name in ("class_names", "mean", "std"):
        assert json.loads(metadata[name]) == content["data"][name]


def test_the_model_is_valid_and_tells_nothing_of_this_machine(saved, tmp_path):
    onnx = pytest.importorskip("onnx")
    file = tmp_path / "network.onnx"
    export.to_onnx(saved, file)
    onnx.checker.check_model(onnx.load(file), full_check=True)
    assert str(ROOT).encode() not in file.read_bytes()
    assert b".py" not in file.read_bytes()


@torch.no_grad()
def test_a_network_is_exported_without_being_changed(grown, draw_images, tmp_path):
    grown.train()
    grown.kernel = "fused"
    before = {k: v.clone() for k, v in grown.state_dict().items() if torch.is_tensor(v)}
    export.to_onnx(grown, tmp_path / "network.onnx")
    export.to_safetensors(grown, tmp_path / "network.safetensors")
    assert grown.training
    assert grown.kernel == "fused"
    assert all(torch.equal(grown.state_dict()[name], value) for name, value in before.items())
    images, _ = draw_images(grown, 3)
    grown.kernel = "reference"
    logits, metadata = run_onnx(tmp_path / "network.onnx", images)
    torch.testing.assert_close(logits, grown.eval()(images), atol=1e-5, rtol=1e-5)
    assert "class_names" not in metadata
    loaded = export.from_safetensors(tmp_path / "network.safetensors")
    assert torch.equal(loaded(images), grown(images))


@torch.no_grad()
def test_the_round_trip_through_safetensors_is_exact(grown, saved, draw_images, tmp_path):
    file = tmp_path / "network.safetensors"
    export.to_safetensors(saved, file)
    network = export.from_safetensors(file)
    assert not network.training
    assert network.spec == grown.spec
    loaded, original = network.state_dict(), grown.state_dict()
    assert loaded.keys() == original.keys()
    for name, value in original.items():
        same = torch.equal(loaded[name], value) if torch.is_tensor(value) else None
        assert loaded[name] == value if same is None else same, name
    images, _ = draw_images(grown, 5)
    assert torch.equal(network(images), grown(images))


def test_safetensors_hold_what_the_checkpoint_holds(saved, tmp_path):
    file = tmp_path / "network.safetensors"
    export.to_safetensors(saved, file)
    content, original = export.read_safetensors(file), checkpoint.read(saved)
    assert content.pop("network").keys() == original.pop("network").keys()
    assert content == original


def test_a_loaded_network_still_knows_its_data_in_safetensors(saved, tmp_path):
    file = tmp_path / "network.safetensors"
    export.to_safetensors(secnn.load(saved), file)
    assert export.from_safetensors(file).data == checkpoint.read(saved)["data"]


def test_damaged_and_foreign_safetensors_give_one_line(saved, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    file = tmp_path / "network.safetensors"
    export.to_safetensors(saved, file)
    whole = file.read_bytes()
    for length in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        refused(file, "damaged")
    file.write_bytes(safetensors.save({"weight": torch.zeros(2)}))
    refused(file, "damaged or not one")
    newer = {"format": checkpoint.FORMAT + 1, "network": {}}
    file.write_bytes(safetensors.save({}, {export.KEY: json.dumps(newer)}))
    refused(file, "update secnn")
    other = {"format": 1, "spec": {"layers": [1, 1, 1]}, "network": {}, "versions": {}}
    file.write_bytes(safetensors.save({}, {export.KEY: json.dumps(other)}))
    refused(file, "does not hold the network")
    for wrong in (other | {"spec": None}, other | {"spec": {"layers": "many"}}, {"format": 1}, [1]):
        file.write_bytes(safetensors.save({}, {export.KEY: json.dumps(wrong)}))
        refused(file, "cannot be used|not one that|not written by")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        export.from_safetensors(tmp_path / "nowhere.safetensors")


def refused(file, why):
    with pytest.raises(CheckpointError, match=why) as error:
        export.from_safetensors(file)
    assert "\n" not in str(error.value)
    assert file.name in str(error.value)


def test_another_type_is_kept_and_refused_where_nobody_could_run_it(make_network, tmp_path):
    pytest.importorskip("safetensors.torch")
    network = make_network()
    assert next(network.parameters()).dtype == torch.float64
    with pytest.raises(ValueError, match=r"expected a network in float32, got torch.float64"):
        export.to_onnx(network, tmp_path / "network")
    assert not list(tmp_path.iterdir())
    export.to_safetensors(network, tmp_path / "network")
    read = export.from_safetensors(tmp_path / "network").state_dict()
    for name, tensor in network.state_dict().items():
        same = torch.equal(read[name], tensor) if torch.is_tensor(tensor) else read[name] == tensor
        assert same, name


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "safetensors"])
def test_a_missing_package_is_named_with_its_command(package, grown, tmp_path, monkeypatch):
    for name in [package, f"{package}.torch"]:
        monkeypatch.setitem(sys.modules, name, None)  # Importing it fails.
    write = export.to_safetensors if package == "safetensors" else export.to_onnx
    with pytest.raises(ImportError, match=f"pip install .*{package}") as error:
        write(grown, tmp_path / "network")
    assert "\n" not in str(error.value)


def test_what_cannot_be_written_leaves_the_old_file(saved, tmp_path, monkeypatch):
    file = tmp_path / "network.safetensors"
    file.write_bytes(b"old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("no")))
    with pytest.raises(OSError, match="no"):
        export.to_safetensors(saved, file)
    assert file.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["network.pt", file.name]


def command(*arguments) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "secnn.export", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, timeout=120)


@pytest.mark.parametrize("grown", SHAPES[:1], indirect=True, ids=["grey"])
def test_the_command(saved, grown, tmp_path):
    for name in ("out.onnx", "out.safetensors"):
        run = command(saved, tmp_path / name)
        assert run.returncode == 0, run.stderr
        assert f"{grown.n_parameters:,} parameters" in run.stdout
        assert (tmp_path / name).stat().st_size > 4 * grown.n_parameters


def test_bad_input_to_the_command_is_answered_by_one_line(tmp_path, capsys):
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(b"no checkpoint")
    for arguments, answer in [
        (("nowhere.pt", "out.onnx"), "nowhere.pt"),
        ((damaged, "out.onnx"), "not a checkpoint"),
        ((damaged, "out.h5"), "out.h5"),
    ]:
        assert export.main([str(argument) for argument in arguments]) == 2
        shown = capsys.readouterr()
        assert shown.err.startswith("error: ")
        assert shown.err.count("\n") == 1
        assert answer in shown.err
        assert not shown.out
