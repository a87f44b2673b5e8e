"""A network from a file tells the classes of raw images."""

import pytest
import torch

from secnn import Trial, TrialConfig, load, load_dataset, load_within, normalize, predict, save
from secnn.network.network import SECNN
from secnn.store.ladder import Folder


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    """A ladder of a finished trial, and its test accuracy."""
    folder = tmp_path_factory.mktemp("trial") / "ladder"
    config = TrialConfig(criterion="never", epochs=2, batch_size=64, channels=(4, 4, 4))
    trial = Trial(config, digits, "cpu", Folder(folder))
    while not trial.done:
        trial.step()
    return folder, trial.finish().test_accuracy


def test_predictions_have_the_accuracy_that_the_trial_measured(trained, digits):
    folder, accuracy = trained
    network = load_within(folder)
    probabilities = predict(network, digits.test_images)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(probabilities)))
    hits = (probabilities.argmax(1) == digits.test_labels).double().mean().item()
    assert 100 * hits == pytest.approx(accuracy)
    assert network.data["class_names"] == list(digits.class_names)


def test_a_trial_s_own_network_predicts(digits):
    trial = Trial(TrialConfig(criterion="never", epochs=1, channels=(4, 4, 4)), digits, "cpu")
    images = digits.test_images[:5]
    found = predict(trial.network, images)
    expected = trial.network.eval()(normalize(images, trial.network.data)).softmax(1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(normalize(images, digits), normalize(images, trial.network.data))


def test_what_was_trained_on_is_saved_and_still_knows_its_data(trained, digits, tmp_path):
    network = load_within(trained[0])
    with torch.no_grad():
        network.head.output.bias[3] += 100
    save(tmp_path / "mine.pt", network)
    assert (predict(load(tmp_path / "mine.pt"), digits.test_images[:9]).argmax(1) == 3).all()


@pytest.mark.parametrize("content", [{}, {"weight": torch.zeros(2)}, torch.zeros(2), None])
def test_what_could_not_be_loaded_is_not_saved(content, tmp_path):
    with pytest.raises(ValueError, match="content: expected a SECNN"):
        save(tmp_path / "mine.pt", content)
    assert not (tmp_path / "mine.pt").exists()


def test_predicting_leaves_no_trace(trained, digits):
    network = load_within(trained[0]).train()
    network.blocks[0].eval()  # As who freezes a block does.
    before = {k: v.clone() for k, v in network.state_dict().items() if torch.is_tensor(v)}
    predict(network, digits.test_images[:3])
    assert network.training
    assert not network.blocks[0].training
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items() if k in before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.half])
def test_a_network_of_another_type_predicts_in_it(trained, digits, dtype):
    network, images = load_within(trained[0]), digits.test_images[:9]
    expected = predict(network, images)
    found = predict(network.to(dtype), images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=max(1e-5, 10 * torch.finfo(dtype).eps))


def test_a_network_that_fails_keeps_its_mode(trained, digits):
    network = load_within(trained[0]).train()
    network.head.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predict(network, digits.test_images[:3])
    assert network.training


def test_what_cannot_be_predicted_is_refused(trained, digits):
    network = load_within(trained[0])
    assert predict(network, digits.test_images[:0]).shape == (0, 10)
    with pytest.raises(
        ValueError, match=r"^images: expected torch.uint8 \(N, 1, 32, 32\) in 0..255"
    ):
        predict(network, digits.test_images.float())
    with pytest.raises(ValueError, match=r"got torch.float32 .*; of floats in 0..1: "):
        predict(network, digits.test_images / 255)
    for images in (digits.test_images.numpy(), [1, 2], None):
        with pytest.raises(ValueError, match=r"^images: .*; torch.from_numpy makes tensors$"):
            predict(network, images)
    with pytest.raises(ValueError, match=r"^images: .*got torch.uint8 \(5, 1, 16, 16\)"):
        predict(network, digits.test_images[:5, :, :16, :16])
    with pytest.raises(ValueError, match=r"^network: expected one of a trial, or that"):
        predict(SECNN(input_channels=1), digits.test_images)
