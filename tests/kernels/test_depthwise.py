"""The depthwise convolution agrees with float64 autograd, wherever it can be built."""

import itertools
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from secnn.kernels import depthwise_convolution
from secnn.kernels.build import library

needs_compiler = pytest.mark.skipif(
    library("depthwise", 16) is None, reason="no C++ compiler works here"
)

CHANNELS = (1, 2, 3, 5, 8, 13, 16, 24, 33, 40)
SIZES = ((1, 1), (1, 5), (2, 2), (3, 1), (6, 9), (7, 8))
COUNTS = (1, 2, 17)  # The last one is summed in several groups.


def draw(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    """x and the output's gradient, channels-last, and a weight of float32."""
    x, dy = (
        torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last) for _ in "ab"
    )
    return x, torch.randn(shape[1], 1, 3, 3), dy


def outcome(x: Tensor, weight: Tensor, dy: Tensor, kernel: str) -> tuple[Tensor, ...]:
    """Output, gradient for x and gradient for the weight."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    y = depthwise_convolution(x, weight, kernel)
    return y.detach(), *torch.autograd.grad(y, (x, weight), dy)


def truth(x: Tensor, weight: Tensor, dy: Tensor) -> tuple[Tensor, ...]:
    """The same from PyTorch's convolution in float64, of a weight rounded to x's type."""
    x, weight = x.double().requires_grad_(), weight.to(x.dtype).double().requires_grad_()
    y = F.conv2d(x, weight, padding=1, groups=x.shape[1])
    return y.detach(), *torch.autograd.grad(y, (x, weight), dy.double())


@needs_compiler
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_agrees_with_float64_autograd(channels, dtype):
    """Up to the rounding of what is summed in float32, and of y and dx to x's type."""
    rounding = (torch.finfo(dtype).eps / 2, 1e-5)
    tolerances = rounding, rounding, (1e-5, 1e-4)
    for count, size in itertools.product(COUNTS, SIZES):
        made = draw((count, channels, *size), dtype)
        found, expected = outcome(*made, "fused"), truth(*made)
        assert [t.dtype for t in found] == [dtype, dtype, torch.float32]
        for one, other, (rtol, atol) in zip(found, expected, tolerances, strict=True):
            torch.testing.assert_close(one.double(), other, rtol=rtol, atol=atol)


@needs_compiler
def test_each_tap_reads_its_own_neighbour():
    """A weight of one tap shifts the image; nothing comes round its borders."""
    x = draw((2, 16, 5, 6))[0]
    padded = F.pad(x, (1, 1, 1, 1))
    for k, row, column in [(3 * i + j, i, j) for i in range(3) for j in range(3)]:
        weight = torch.eye(9)[k].view(1, 1, 3, 3).repeat(16, 1, 1, 1)
        shifted = padded[:, :, row : row + 5, column : column + 6]
        assert torch.equal(depthwise_convolution(x, weight, "fused"), shifted)


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layout_does_not_matter(dtype):
    x, weight, dy = draw((3, 24, 5, 6), dtype)
    expected = outcome(x, weight, dy, "fused")
    turned = weight.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    strided = torch.cat([x, x], 1)[:, 24:], weight, torch.cat([dy, dy], 3)[..., :6]
    for other in [(x.contiguous(), turned, dy.contiguous()), strided]:
        found = outcome(*other, "fused")
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    sliced = x[::2, ::2].requires_grad_()
    y = depthwise_convolution(sliced, weight[::2], "fused")
    assert torch.equal(y, expected[0][::2, ::2])
    y.float().sum().backward()  # Its gradient is one number, expanded.


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [12, 48])
def test_the_same_bits_on_any_number_of_threads(channels, dtype):
    made, threads = draw((37, channels, 9, 8), dtype), torch.get_num_threads()
    expected = outcome(*made, "fused")
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found = outcome(*made, "fused")
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    finally:
        torch.set_num_threads(threads)


@needs_compiler
def test_only_what_is_needed_is_kept_and_computed():
    x, weight, dy = draw((2, 8, 5, 6))
    _, dx, d_weight = outcome(x, weight, dy, "fused")
    backward = torch.ops.secnn.depthwise_convolution_backward
    for needs_x, needs_weight in [(True, False), (False, True)]:
        given = x.detach().requires_grad_(needs_x), weight.detach().requires_grad_(needs_weight)
        y = depthwise_convolution(*given, "fused")
        kept = y.grad_fn.saved_tensors
        assert [t is not None for t in kept] == [needs_weight, needs_x]
        assert [g.numel() > 0 for g in backward(dy, *kept)] == [needs_x, needs_weight]
        y.backward(dy)
        assert torch.equal(given[0].grad, dx) if needs_x else given[0].grad is None
        assert torch.equal(given[1].grad, d_weight) if needs_weight else given[1].grad is None
    assert not depthwise_convolution(x, weight, "fused").requires_grad


@needs_compiler
def test_an_empty_batch():
    y, dx, d_weight = outcome(*draw((0, 16, 4, 5)), "fused")
    assert y.shape == dx.shape == (0, 16, 4, 5)
    assert torch.equal(d_weight, torch.zeros(16, 1, 3, 3))


@needs_compiler
def test_inside_autocast():
    x, weight, dy = draw((2, 16, 4, 5), torch.bfloat16)
    expected = outcome(x, weight, dy, "fused")
    with torch.autocast("cpu", torch.bfloat16):
        found = outcome(x, weight, dy, "fused")
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@needs_compiler
@pytest.mark.parametrize("needs", [(True, True), (True, False), (False, True)])
def test_torch_accepts_the_operator(needs):
    """torch.library's own checks of schema, autograd registration and shapes under tracing."""
    x, weight, dy = draw((2, 5, 4, 3))
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    forward = (x.requires_grad_(needs[0]), weight.requires_grad_(needs[1]))
    backward = dy, *(t if n else None for t, n in zip((x, weight), needs[::-1], strict=True))
    for operator, arguments in [
        (torch.ops.secnn.depthwise_convolution, forward),
        (torch.ops.secnn.depthwise_convolution_backward, backward),
    ]:
        found = torch.library.opcheck(operator.default, arguments, test_utils=checks)
        assert found == dict.fromkeys(checks, "SUCCESS")


@needs_compiler
def test_it_can_be_compiled():
    x, weight, dy = draw((2, 5, 4, 3))
    compiled = torch.compile(outcome, backend="aot_eager")
    whole = torch.compile(depthwise_convolution, backend="aot_eager", fullgraph=True)
    assert torch.equal(whole(x, weight, "fused"), depthwise_convolution(x, weight, "fused"))
    for one, other in zip(
        compiled(x, weight, dy, "fused"), outcome(x, weight, dy, "fused"), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "dtype, kernel",
    [
        (torch.float32, "reference"),
        (torch.bfloat16, "reference"),
        (torch.float64, "fused"),
        (torch.float16, "fused"),
    ],
)
def test_the_reference_is_pytorch(dtype, kernel):
    x, weight, _ = draw((2, 6, 4, 5), dtype)
    expected = F.conv2d(x, weight.to(dtype), padding=1, groups=6)
    assert torch.equal(depthwise_convolution(x, weight, kernel), expected)


@pytest.mark.parametrize("kernel", ["fused", "reference"])
@pytest.mark.parametrize("shape", [(3, 1, 3, 3), (4, 4, 3, 3), (4, 1, 5, 5), (4, 9)])
def test_a_weight_of_the_wrong_shape(shape, kernel):
    with pytest.raises(ValueError, match=r"weight: expected C×1×3×3 .* got .* for x of"):
        depthwise_convolution(torch.zeros(2, 4, 5, 5), torch.zeros(shape), kernel)
    with pytest.raises(ValueError, match=r"weight: expected C×1×3×3 .* got .* for x of"):
        depthwise_convolution(torch.zeros(4, 5, 5), torch.zeros(4, 1, 3, 3), kernel)


SCRIPT = """
import logging, torch
logging.basicConfig(level=logging.WARNING, format="NOTICE %(message)s")
from secnn.kernels import depthwise_convolution
x, weight = torch.randn(2, 16, 4, 4), torch.randn(16, 1, 3, 3, requires_grad=True)
for _ in range(3):
    y = depthwise_convolution(x, weight, "fused")
    y.sum().backward()
    assert torch.equal(y, depthwise_convolution(x, weight, "reference"))
"""


@pytest.mark.parametrize("compiler", ["false", "/no/such/compiler"])
def test_without_a_compiler_there_is_one_notice_and_the_reference(compiler, tmp_path):
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "CXX": compiler}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("NOTICE compiled operators cannot be used here") == 1
    assert not list(tmp_path.rglob("*.so"))
