"""Pairs of convolutions and residual units agree with float64 autograd, where they can be built."""

import copy
import itertools
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secnn.kernels import residual_unit, separable_convolution
from secnn.kernels.build import library

needs_compiler = pytest.mark.skipif(
    library("separable", 16, 16) is None, reason="no C++ compiler works here"
)
both_types = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])

SIZES = ((1, 1), (1, 5), (3, 2), (7, 8))
COUNTS = (1, 2, 17)  # The last one is more than there are groups.
SLOPE = 0.1


def images(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last)


def weights_of(inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    """Of a 1×1 and a depthwise convolution that keep values about as large as they are."""
    return torch.randn(outputs, inputs, 1, 1) / inputs**0.5, torch.randn(outputs, 1, 3, 3) / 3


def norms_of(width: int) -> list[nn.BatchNorm2d]:
    norms = [nn.BatchNorm2d(width), nn.BatchNorm2d(width)]
    for norm in norms:
        nn.init.normal_(norm.weight, 1, 0.3)
        nn.init.normal_(norm.bias, 0, 0.3)
    return norms


def outcome(compute, given: tuple[Tensor, ...], dy: Tensor, norms=()) -> tuple[Tensor, ...]:
    """`compute(*given, *norms)`, and the gradients of `given` and of the norms' parameters."""
    given = tuple(t.detach().requires_grad_() for t in given)
    y = compute(*given, *norms)
    parameters = [p for norm in norms for p in (norm.weight, norm.bias)]
    return y.detach(), *torch.autograd.grad(y, (*given, *parameters), dy)


def pair(x, pointwise, depthwise, kernel="fused"):
    return separable_convolution(x, pointwise, depthwise, kernel)


def unit(x, p1, d1, p2, d2, first, second, kernel="fused"):
    return residual_unit(x, (p1, d1, p2, d2), first, second, SLOPE, kernel)


def rounded(t: Tensor, dtype: torch.dtype) -> Tensor:
    """Its values as they are in `dtype`; its gradient passes through."""
    return t + (t.detach().to(dtype).double() - t.detach())


def true_pair(dtype: torch.dtype):
    """By PyTorch's convolutions in float64, rounded where the compiled code rounds."""

    def compute(x, pointwise, depthwise):
        between = rounded(F.conv2d(x, rounded(pointwise, dtype)), dtype)
        y = F.conv2d(between, rounded(depthwise, dtype), padding=1, groups=len(depthwise))
        return rounded(y, dtype)

    return compute


def true_unit(dtype: torch.dtype):
    part = true_pair(dtype)

    def compute(x, p1, d1, p2, d2, first, second):
        inner = rounded(F.leaky_relu(first(part(x, p1, d1)), SLOPE), dtype)
        return rounded(x + second(part(inner, p2, d2)), dtype)

    return compute


def exact(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(t.double() for t in tensors)


def assert_near(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], dtype: torch.dtype):
    """Up to a few roundings of the largest value."""
    for one, other in zip(found, expected, strict=True):
        largest = max(other.abs().max().item(), 1)
        tolerance = 8 * torch.finfo(dtype).eps * largest
        torch.testing.assert_close(one.double(), other.double(), rtol=0, atol=tolerance)


def assert_same(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]):
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@needs_compiler
@both_types
@pytest.mark.parametrize("inputs, outputs", [(1, 1), (3, 16), (16, 5), (24, 40), (33, 17)])
def test_a_pair_agrees_with_float64_autograd(inputs, outputs, dtype):
    for count, size in itertools.product(COUNTS, SIZES):
        x, dy = (images(count, c, *size, dtype=dtype) for c in (inputs, outputs))
        given = x, *weights_of(inputs, outputs)
        found = outcome(pair, given, dy)
        assert [t.dtype for t in found] == [dtype, dtype, torch.float32, torch.float32]
        assert_near(found, outcome(true_pair(dtype), exact(given), dy.double()), dtype)


@needs_compiler
@both_types
@pytest.mark.parametrize("width", [5, 16, 24, 33])
def test_a_unit_agrees_with_float64_autograd(width, dtype):
    for count, size in ((2, (3, 2)), (17, (7, 8))):
        norms = norms_of(width)
        x, dy = (images(count, width, *size, dtype=dtype) for _ in "ab")
        given = x, *weights_of(width, width), *weights_of(width, width)
        doubles = [copy.deepcopy(norm).double() for norm in norms]
        found = outcome(unit, given, dy, norms)
        assert_near(found, outcome(true_unit(dtype), exact(given), dy.double(), doubles), dtype)
        for norm, double in zip(norms, doubles, strict=True):
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                assert_near([getattr(norm, name)], [getattr(double, name)], dtype)


@needs_compiler
def test_a_unit_that_is_not_trained_uses_its_running_statistics():
    norms, x = norms_of(8), images(3, 8, 5, 4)
    for norm in norms:
        norm.running_mean.normal_()
        norm.eval()
    before = copy.deepcopy([norm.state_dict() for norm in norms])
    given = x, *weights_of(8, 8), *weights_of(8, 8)
    assert torch.allclose(unit(*given, *norms), unit(*given, *norms, "reference"), atol=1e-5)
    for norm, state in zip(norms, before, strict=True):
        assert_same(tuple(norm.state_dict().values()), tuple(state.values()))


@needs_compiler
def test_each_tap_reads_its_own_neighbour():
    """A weight of one tap shifts the image; nothing comes round its borders."""
    x = images(2, 16, 5, 6)
    padded, same = F.pad(x, (1, 1, 1, 1)), torch.eye(16)[:, :, None, None]
    for k, row, column in [(3 * i + j, i, j) for i in range(3) for j in range(3)]:
        weight = torch.eye(9)[k].view(1, 1, 3, 3).repeat(16, 1, 1, 1)
        assert torch.equal(pair(x, same, weight), padded[:, :, row : row + 5, column : column + 6])


@needs_compiler
@both_types
def test_layout_does_not_matter(dtype):
    x, dy = images(3, 24, 5, 6, dtype=dtype), images(3, 8, 5, 6, dtype=dtype)
    pointwise, depthwise = weights_of(24, 8)
    expected = outcome(pair, (x, pointwise, depthwise), dy)
    turned = depthwise.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    strided = torch.cat([x, x], 1)[:, 24:], torch.cat([pointwise] * 2)[::2].flip(0), depthwise
    assert_same(outcome(pair, (x.contiguous(), pointwise, turned), dy.contiguous()), expected)
    found = outcome(pair, strided, torch.cat([dy, dy], 3)[..., :6])
    plain = outcome(pair, tuple(t.contiguous() for t in strided), dy)
    assert_same(found, plain)
    y = pair(x.requires_grad_(), pointwise, depthwise)
    y.float().sum().backward()  # Its gradient is one number, expanded.


@needs_compiler
@both_types
@pytest.mark.parametrize("width", [12, 48])
def test_the_same_bits_on_any_number_of_threads(width, dtype):
    x, dy = (images(37, width, 9, 8, dtype=dtype) for _ in "ab")
    given, norms = (x, *weights_of(width, width), *weights_of(width, width)), norms_of(width)
    threads = torch.get_num_threads()
    expected = outcome(pair, given[:3], dy)
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert_same(outcome(pair, given[:3], dy), expected)
            outcome(unit, given, dy, norms)
    finally:
        torch.set_num_threads(threads)


@needs_compiler
def test_an_empty_batch():
    y, dx, *gradients = outcome(pair, (images(0, 3, 4, 5), *weights_of(3, 16)), images(0, 16, 4, 5))
    assert y.shape == (0, 16, 4, 5) and dx.shape == (0, 3, 4, 5)
    assert not any(g.any() for g in gradients)


@needs_compiler
def test_inside_autocast():
    x, dy = (images(2, 16, 4, 5, dtype=torch.bfloat16) for _ in "ab")
    given = x, *weights_of(16, 16)
    expected = outcome(pair, given, dy)
    with torch.autocast("cpu", torch.bfloat16):
        assert_same(outcome(pair, given, dy), expected)


@needs_compiler
def test_torch_accepts_the_operators():
    """torch.library's own checks of schema, autograd registration and shapes under tracing."""
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    x, dy, one, two = images(2, 5, 4, 3), images(2, 5, 4, 3), weights_of(5, 5), weights_of(5, 5)
    parameters = [*one, *two, torch.ones(5), torch.zeros(5), torch.ones(5), torch.zeros(5)]
    settings, shifts = (SLOPE, [1e-5, 1e-5]), [torch.zeros(5), torch.zeros(5)]
    unit = torch.ops.secnn.residual_unit
    _, inner, outer, statistics = unit(x, parameters, shifts, *settings)
    saved = x, inner, outer, statistics, parameters
    leaves = [t.detach().clone().requires_grad_() for t in (x, *parameters)]
    for operator, arguments in [
        (torch.ops.secnn.separable_convolution, tuple(leaves[:3])),
        (torch.ops.secnn.separable_convolution_backward, (dy, x, *one)),
        (unit, (leaves[0], leaves[1:], shifts, *settings)),
        (torch.ops.secnn.residual_unit_backward, (dy, *saved, *settings)),
    ]:
        found = torch.library.opcheck(operator.default, arguments, test_utils=checks)
        assert found == dict.fromkeys(checks, "SUCCESS")


@needs_compiler
def test_it_can_be_compiled():
    given, dy = (images(2, 5, 4, 3), *weights_of(5, 8)), images(2, 8, 4, 3)
    whole = torch.compile(pair, backend="aot_eager", fullgraph=True)
    assert torch.equal(whole(*given), pair(*given))
    compiled = torch.compile(outcome, backend="aot_eager")
    assert_same(compiled(pair, given, dy), outcome(pair, given, dy))


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
    x, (pointwise, depthwise) = images(2, 6, 4, 5, dtype=dtype), weights_of(6, 8)
    pointwise, depthwise = pointwise.to(dtype), depthwise.to(dtype)
    expected = F.conv2d(F.conv2d(x, pointwise), depthwise, padding=1, groups=8)
    assert torch.equal(pair(x, pointwise, depthwise, kernel), expected)


@pytest.mark.parametrize("kernel", ["fused", "reference"])
@pytest.mark.parametrize(
    "x, pointwise, depthwise",
    [
        ((2, 4, 5, 5), (8, 3, 1, 1), (8, 1, 3, 3)),
        ((2, 4, 5, 5), (8, 4, 1, 1), (6, 1, 3, 3)),
        ((2, 4, 5, 5), (8, 4, 1), (8, 1, 3, 3)),
        ((2, 5), (8, 4, 1, 1), (8, 1, 3, 3)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(x, pointwise, depthwise, kernel):
    with pytest.raises(RuntimeError):
        pair(*map(torch.zeros, (x, pointwise, depthwise)), kernel)


SCRIPT = """
import logging, torch
logging.basicConfig(level=logging.WARNING, format="NOTICE %(message)s")
from secnn.kernels import separable_convolution
given = torch.randn(2, 16, 4, 4), torch.randn(16, 16, 1, 1), torch.randn(16, 1, 3, 3)
given[1].requires_grad_()
for _ in range(3):
    y = separable_convolution(*given, "fused")
    y.sum().backward()
    assert torch.equal(y, separable_convolution(*given, "reference"))
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
