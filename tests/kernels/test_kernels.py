"""The fused operator agrees with float64 autograd, wherever it can be built."""

import copy
import itertools
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from secnn import SECNN
from secnn.kernels import fused, normalize_pool_activate, resolve_kernel
from secnn.kernels.build import library
from secnn.kernels.gradients import convolution_gradients

needs_compiler = pytest.mark.skipif(
    library("fused", 16) is None, reason="no C++ compiler works here"
)

SHAPES = [
    (count, channels, height, width)
    for count, channels, (height, width) in itertools.product(
        (1, 4), (1, 3, 16, 18, 33), ((2, 2), (5, 7), (8, 3))
    )
]


def problem(shape: tuple, training: bool, masked: bool, dtype=torch.float32):
    generator = torch.Generator().manual_seed(sum(shape))
    count, channels = shape[:2]
    x = (torch.randn(shape, generator=generator) * 2 + 1).to(dtype)
    norm = nn.BatchNorm2d(channels).train(training)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            tensor.normal_(generator=generator)
        norm.running_var.uniform_(0.5, 2, generator=generator)
    mask = torch.rand(count, channels, generator=generator).lt(0.7) / 0.7
    return x, norm, mask if masked else None


def outcome(x, norm, mask, slope, pool, kernel) -> dict[str, torch.Tensor]:
    """Output, gradients and running statistics, on copies of what is given."""
    x, norm = x.detach().clone(memory_format=torch.preserve_format), copy.deepcopy(norm)
    x.requires_grad_()
    y = normalize_pool_activate(x, mask, norm, slope, pool, kernel)
    generator = torch.Generator().manual_seed(1)
    y.backward(torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y.dtype))
    return {
        "y": y.detach(),
        "dx": x.grad,
        "d_weight": norm.weight.grad,
        "d_bias": norm.bias.grad,
        "running_mean": norm.running_mean,
        "running_var": norm.running_var,
        "batches": norm.num_batches_tracked,
    }


def truth(x, norm, mask, slope, pool) -> dict[str, torch.Tensor]:
    mask = None if mask is None else mask.double()
    return outcome(x.double(), copy.deepcopy(norm).double(), mask, slope, pool, "reference")


def error(found: dict, expected: dict) -> float:
    """The largest difference, relative to the largest value of its tensor."""
    return max(
        ((found[k].double() - expected[k].double()).abs().max() / (expected[k].abs().max() + 1e-3))
        for k in expected
    ).item()


@needs_compiler
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("pool", [True, False])
def test_float32_agrees_with_float64_autograd(training, masked, pool):
    for shape in SHAPES:
        made = problem(shape, training, masked)
        found = outcome(*made, 0.1, pool, "fused")
        assert error(found, truth(*made, 0.1, pool)) < 1e-4, shape


@needs_compiler
@pytest.mark.parametrize("slope", [1e-3, 0.5, 1.0])
def test_any_slope(slope):
    made = problem((3, 5, 6, 6), True, True)
    assert error(outcome(*made, slope, True, "fused"), truth(*made, slope, True)) < 1e-4


@needs_compiler
@pytest.mark.parametrize("pool", [True, False])
def test_bfloat16_is_as_close_as_its_rounding_allows(pool):
    """The statistics stay in float32 or better; x, y and dx carry 8 significant bits."""
    for shape in [(4, 16, 8, 8), (5, 3, 5, 7)]:
        x, norm, mask = problem(shape, True, True, torch.bfloat16)
        found = outcome(x, norm, mask, 0.1, pool, "fused")
        expected = truth(x, norm, mask, 0.1, pool)
        assert found["y"].dtype == found["dx"].dtype == torch.bfloat16
        for name in ("running_mean", "running_var"):
            assert torch.allclose(found[name].double(), expected[name], rtol=1e-5, atol=1e-6)
        assert error(found, expected) < 2e-2


@needs_compiler
def test_layout_does_not_matter():
    x, norm, mask = problem((4, 6, 8, 8), True, True)
    whole = outcome(x, norm, mask, 0.1, True, "fused")
    sliced = torch.cat([x, x], 1)[:, :6]
    for other in (x.contiguous(memory_format=torch.channels_last), sliced):
        found = outcome(other, norm, mask, 0.1, True, "fused")
        assert all(torch.equal(found[k], whole[k]) for k in whole)
    every_other = x[::2], norm, mask[::2]
    assert error(outcome(*every_other, 0.1, True, "fused"), truth(*every_other, 0.1, True)) < 1e-4


@needs_compiler
def test_a_gradient_of_a_pooled_tie_goes_to_one_pixel():
    x, norm = torch.ones(2, 3, 4, 4), nn.BatchNorm2d(3).eval()
    found = outcome(x, norm, None, 0.1, True, "fused")
    expected = outcome(x, norm, None, 0.1, True, "reference")
    assert torch.equal(found["dx"], expected["dx"])


@needs_compiler
def test_the_same_input_gives_the_same_bits():
    made = problem((8, 16, 16, 16), True, True)
    one, other = (outcome(*made, 0.1, True, "fused") for _ in range(2))
    assert all(torch.equal(one[k], other[k]) for k in one)


@needs_compiler
def test_torch_accepts_the_operator():
    """torch.library's own checks of schema, autograd registration and shapes under tracing."""
    x, norm, mask = problem((2, 3, 4, 4), True, True)
    x.requires_grad_()
    tensors = (norm.weight, norm.bias, norm.running_mean, norm.running_var.rsqrt())
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    found = torch.library.opcheck(
        torch.ops.secnn.normalize_pool_activate.default,
        (x, mask, *tensors, 0.1, True, True),
        test_utils=checks,
    )
    assert found == dict.fromkeys(checks, "SUCCESS")


@needs_compiler
@pytest.mark.parametrize("training", [True, False])
def test_a_network_computes_the_same_with_either_kernel(training):
    networks = [SECNN(channels=(5, 7, 6), layers=(1, 2, 1), dropout=0.0, head_dropout=0.0)]
    networks.append(copy.deepcopy(networks[0]))
    networks[1].kernel = "fused"
    images = torch.randn(6, 3, 32, 32)
    logits = [network.train(training)(images) for network in networks]
    assert torch.allclose(*logits, atol=1e-4, rtol=1e-4)
    for each in logits:
        each.logsumexp(1).sum().backward()
    one, other = (torch.cat([p.grad.flatten() for p in n.parameters()]) for n in networks)
    assert (one - other).norm() < 1e-3 * one.norm()


@needs_compiler
@pytest.mark.parametrize("side", [1, 3, 5])
@pytest.mark.parametrize("inputs, outputs", [(1, 1), (3, 16), (7, 18), (16, 4), (22, 33)])
def test_per_sample_gradients_of_a_convolution(side, inputs, outputs):
    for height, width in [(1, 1), (5, 7), (8, 3)]:
        x = torch.randn(3, inputs, height, width)
        gradient = torch.randn(3, outputs, height, width)
        expected = torch.stack(
            [
                torch.nn.grad.conv2d_weight(
                    one[None], (outputs, inputs, side, side), of[None], padding=side // 2
                )
                for one, of in zip(x.double(), gradient.double(), strict=True)
            ]
        )
        for layout in (torch.contiguous_format, torch.channels_last):
            given = x.contiguous(memory_format=layout), gradient.contiguous(memory_format=layout)
            for kernel in ("fused", "reference"):
                found = convolution_gradients(*given, side, kernel)
                torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
        half = convolution_gradients(x[::2], gradient[::2], side, "fused")
        torch.testing.assert_close(half.double(), expected[::2], rtol=1e-4, atol=1e-4)


def test_types_that_are_not_compiled_take_the_reference():
    x, norm, mask = problem((2, 3, 4, 4), True, True)
    made = x.double(), norm.double(), mask.double()
    assert not fused.supports(made[0])
    found = outcome(*made, 0.1, True, "fused")
    expected = outcome(*made, 0.1, True, "reference")
    assert all(torch.equal(found[k], expected[k]) for k in expected)


def test_resolving():
    assert resolve_kernel("reference") == "reference"
    assert resolve_kernel("auto") == resolve_kernel("fused")
    with pytest.raises(ValueError, match="kernel: expected one of auto, reference, fused"):
        resolve_kernel("fast")


SCRIPT = """
import logging, torch
logging.basicConfig(level=logging.WARNING, format="NOTICE %(message)s")
from secnn import SECNN
from secnn.kernels import resolve_kernel
network = SECNN()
for _ in range(3):
    network.kernel = resolve_kernel("auto")
network(torch.zeros(2, 3, 32, 32))
print(network.kernel)
"""


def start(cache, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"XDG_CACHE_HOME": str(cache)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="takes another user's id")
def test_a_user_without_a_home_gets_the_notice_and_the_reference():
    """As in containers that run under any user id."""
    if not all(
        p.stat().st_mode & 0o001
        for p in (Path(sys.prefix).resolve(), *Path(sys.prefix).resolve().parents)
    ):
        pytest.skip("other users cannot reach this Python")
    line = f"import os, secnn.kernels; os.setuid(54321); del os.environ['HOME']\n{SCRIPT}"
    environment = {k: v for k, v in os.environ.items() if k != "XDG_CACHE_HOME"} | {"HOME": "/"}
    done = subprocess.run(
        [sys.executable, "-c", line], env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.stdout.split() == ["reference"], done.stderr
    assert done.stderr.count("NOTICE compiled operators cannot be used here") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("compiler", ["false", "/no/such/compiler"])
def test_without_a_compiler_there_is_one_notice_and_the_reference(compiler, tmp_path):
    shown, notices = start(tmp_path, CXX=compiler).communicate(timeout=100)
    assert shown.split() == ["reference"]
    assert notices.count("NOTICE compiled operators cannot be used here") == 1
    assert "Traceback" not in notices
    assert not list(tmp_path.rglob("*.so"))


@needs_compiler
def test_processes_that_start_together_compile_once(tmp_path):
    calls, compiler = tmp_path / "calls", tmp_path / "c++"
    real = os.environ.get("CXX") or "c++"
    compiler.write_text(f'#!/bin/sh\necho call >> "{calls}"\nexec {real} "$@"\n')
    compiler.chmod(0o755)
    running = [start(tmp_path / "cache", CXX=str(compiler)) for _ in range(3)]
    assert [p.communicate(timeout=100)[0].split() for p in running] == [["fused"]] * 3
    assert len(calls.read_text().split()) == len(list(tmp_path.rglob("*.so"))) == 1


def test_the_notice_is_a_warning_of_the_package(caplog, monkeypatch):
    from secnn.kernels import build

    build.library.cache_clear()
    monkeypatch.setattr(build, "_noticed", False)
    monkeypatch.setenv("CXX", "/no/such/compiler")
    try:
        with caplog.at_level(logging.WARNING, logger="secnn"):
            assert resolve_kernel("fused") == "reference"
            monkeypatch.setenv("CXX", "false")  # Its line differs for each number of channels.
            assert library("fused", 7) is library("fused", 8) is None
    finally:
        build.library.cache_clear()
    assert len(caplog.records) == 1
