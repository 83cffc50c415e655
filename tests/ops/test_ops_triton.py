"""The Triton kernels, in Triton's interpreter, against the gather oracle in float64.

The interpreter takes a tenth of a second for each program and pass, so maps are small: one that a
tile does not cover, one with tiles wholly inside, and for the rest a single tile.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dilnas.ops import msda
from dilnas.ops.triton_state import probe

pytestmark = pytest.mark.usefixtures("interpreter")

FP32, FP16, BF16, FP64 = torch.float32, torch.float16, torch.bfloat16, torch.float64


def drawn(shape, seed=0):
    """Normal numbers in float64, always the same."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=FP64, generator=generator)


def value_and_gradient(backend, qkv, slope, *arguments):
    """(B, H, W, C) and (B, H, W, 3C) in float64, whatever the types of qkv and slope."""
    leaf = qkv.detach().requires_grad_()
    out = msda(leaf, *arguments, backend=backend)
    (gradient,) = torch.autograd.grad(out, leaf, slope)
    assert out.dtype == gradient.dtype == qkv.dtype
    return out.detach().double(), gradient.double()


def floors(truth, qkv, slope, heads):
    """What one rounding of an intermediate result can do to value and gradient.

    Where the exact result cancels, even to 0, errors are relative to what cancels: values that a
    softmax averages; in dq and dk the sums g·out, which both backward passes subtract from g·v,
    times keys and queries.
    """
    q, k, v = qkv.abs().chunk(3, -1)
    depth = q.shape[3] // heads
    sums = (slope * truth[0]).abs().unflatten(3, (heads, depth)).sum(-1)
    keys = torch.maximum(q.max(), k.max()) * depth**-0.5
    return float(v.max()), float(sums.max() * keys)


def assert_as_good_as_the_oracle(qkv, slope, *arguments):
    """Errors against float64 are at most 4 times those of the oracle in the type of qkv.

    To that come the result's own rounding, for the oracle's may by chance be none, and that of
    intermediate results: one where the type only holds the result and sums are float32, at most
    eight where sums are of that type too.
    """
    exact_qkv, exact_slope = qkv.double(), slope.double()
    truth = value_and_gradient("oracle", exact_qkv, exact_slope, *arguments)
    own = value_and_gradient("oracle", qkv, slope, *arguments)
    got = value_and_gradient("triton", qkv, slope, *arguments)
    eps = torch.finfo(qkv.dtype).eps
    roundings = 8 if qkv.dtype in (FP32, FP64) else 1
    floor = floors(truth, exact_qkv, exact_slope, arguments[0])
    for i, what in enumerate(("value", "gradient")):
        allowed = 4 * float((own[i] - truth[i]).abs().max())
        allowed += eps * (float(truth[i].abs().max()) + roundings * floor[i])
        error = float((got[i] - truth[i]).abs().max())
        assert error <= allowed, f"{what}: {error:.3g} above {allowed:.3g}"


@pytest.mark.parametrize(
    ("shape", "heads", "taps", "dtype"),
    [
        ((2, 3, 4), (3, 24), (3, (1, 2, 3)), FP32),  # Tiny's heads
        ((1, 7, 19), (1, 16), (3, (2,)), FP16),  # several tiles, cut at both borders
        ((3, 3, 5), (2, 64), (3, (1, 30)), BF16),  # a dilation beyond the map; images share a tile
        ((1, 6, 5), (2, 32), (5, (1, 4)), BF16),
        ((1, 5, 7), (1, 20), (7, (1,)), FP16),  # a head that is no power of two
        ((1, 3, 4), (1, 24), (7, (9,)), FP32),
        ((1, 4, 3), (1, 40), (3, (1,)), FP16),
        ((1, 3, 4), (1, 36), (3, (1,)), FP32),
        ((1, 2, 3), (1, 128), (3, (1,)), BF16),
        ((1, 1, 6), (2, 4), (5, (1, 2)), FP64),
        ((5, 4, 3), (2, 12), (3, (3,)), FP64),  # one dilation for all heads
        ((1, 4, 3), (8, 4), (3, (1, 2, 3, 4, 5, 6, 7, 40)), FP32),  # a dilation for each head
    ],
)
def test_value_and_gradient_are_as_near_the_truth_as_the_oracles(shape, heads, taps, dtype):
    """Windows 3, 5 and 7, heads of 4 to 128 channels, H != W, all types, borders everywhere."""
    channels = heads[0] * heads[1]
    qkv, slope = drawn((*shape, 3 * channels)), drawn((*shape, channels), 1)
    assert_as_good_as_the_oracle(qkv.to(dtype), slope.to(dtype), heads[0], *taps)


@st.composite
def problems(draw):
    """(qkv, slope, heads, window, dilations) of one tile, in any type."""
    groups, share = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 6)))
    depth, heads = draw(st.sampled_from((4, 8, 12))), groups * share
    dilations = tuple(draw(st.integers(1, 10)) for _ in range(groups))
    dtype, seed = draw(st.sampled_from((FP32, FP16, BF16))), draw(st.integers(0, 1 << 20))
    qkv, slope = drawn((*shape, 3 * heads * depth), seed), drawn((*shape, heads * depth), seed + 1)
    window = draw(st.sampled_from((1, 3)))
    return (2 * qkv).to(dtype), slope.to(dtype), heads, window, dilations


@settings(max_examples=3)
@given(problems())
def test_drawn_problems_hold_too(problem):
    """Shapes, dilations and types that nobody chose."""
    assert_as_good_as_the_oracle(*problem)


def test_the_gradient_is_the_derivative():
    """gradcheck in float64, along random directions."""
    qkv = drawn((1, 2, 3, 12)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: msda(x, 1, 3, (2,), backend="triton"), qkv, fast_mode=True
    )


def test_repeated_calls_are_equal_to_the_bit():
    """No atomics: nothing depends on the order in which programs run."""
    qkv, slope = drawn((2, 3, 5, 24)).float(), drawn((2, 3, 5, 8), 1).float()
    first = value_and_gradient("triton", qkv, slope, 2, 3, (1, 2))
    again = value_and_gradient("triton", qkv, slope, 2, 3, (1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


WIDE = drawn((2, 3, 4, 96))
VIEWS = {
    "a projection's channels-last map": WIDE[..., :24].permute(0, 3, 1, 2).contiguous(
        memory_format=torch.channels_last
    ).permute(0, 2, 3, 1),
    "planes": WIDE[..., :24].permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1),
    "a slice of a wider map": WIDE[..., 40:64],
    "a slice at an odd channel": WIDE[..., 41:65],
    "every other channel": WIDE[..., :48:2],
    "a part of a larger map": drawn((2, 5, 9, 24))[:, 1:4, 2:6],
    "every other image": drawn((4, 3, 4, 24))[::2],
    "one image for all": drawn((1, 3, 4, 24)).expand(2, 3, 4, 24),
    "one pixel for all": drawn((24,)).expand(2, 3, 4, 24),
    "rows and columns exchanged": drawn((2, 4, 3, 24)).transpose(1, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_any_strides_of_qkv_give_the_same_result(name):
    """To the bit what the contiguous map gives; the view is not written to."""
    qkv, slope = VIEWS[name].float(), drawn((2, 3, 4, 8), 1).float()
    before = qkv.clone()
    got = value_and_gradient("triton", qkv, slope, 2, 3, (1, 2))
    wanted = value_and_gradient("triton", qkv.contiguous(), slope, 2, 3, (1, 2))
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
    assert torch.equal(qkv, before)


@pytest.mark.parametrize("name", ["expanded", "permuted", "sliced"])
def test_any_strides_of_the_gradient_give_the_same_result(name):
    """A sum's gradient is expanded, a permuted result's is permuted."""
    qkv = drawn((2, 3, 4, 24)).float()
    slope = {
        "expanded": torch.ones(()).expand(2, 3, 4, 8),
        "permuted": drawn((8, 4, 3, 2)).float().permute(3, 2, 1, 0),
        "sliced": drawn((2, 3, 4, 16)).float()[..., 1::2],
    }[name]
    got = value_and_gradient("triton", qkv, slope, 2, 3, (1, 2))
    wanted = value_and_gradient("triton", qkv, slope.contiguous(), 2, 3, (1, 2))
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


def test_a_batch_of_none_gives_none():
    """Value and gradient of an empty batch are empty."""
    out, gradient = value_and_gradient(
        "triton", torch.zeros(0, 3, 4, 24), torch.zeros(0, 3, 4, 8), 2, 3, (1, 2)
    )
    assert (out.shape, gradient.shape) == ((0, 3, 4, 8), (0, 3, 4, 24))


def test_keys_outside_of_the_map_stay_in_the_denominator():
    """With q = 0 and v = 1 a corner of a 3x3 window is 4/9, an edge 6/9, the inside 1."""
    qkv = torch.zeros(1, 5, 6, 36, dtype=FP64)
    qkv[..., 24:] = 1
    out = msda(qkv, 3, 3, (1, 2, 9), backend="triton")[0]
    found = [out[0, 0, 0], out[0, 2, 0], out[2, 2, 0], out[2, 2, 4], out[2, 2, 8]]
    assert [float(x) for x in found] == pytest.approx([4 / 9, 6 / 9, 1, 1, 1 / 9], abs=1e-15)


def test_logits_of_thousands_stay_finite():
    """The softmax is online, shifted by the largest logit so far: nothing overflows in float16."""
    qkv = (100 * drawn((1, 2, 3, 24))).half().requires_grad_()
    out = msda(qkv, 1, 3, (1,), backend="triton")
    out.sum().backward()
    assert out.isfinite().all()
    assert qkv.grad is not None and qkv.grad.isfinite().all()


def test_the_probe_finds_working_kernels_and_wrong_ones(monkeypatch):
    """What decides on a GPU whether Triton is used: the kernels' own numbers on a small problem."""
    from dilnas.ops import triton_launch

    assert probe("cpu") == ""
    right = triton_launch.forward

    def wrong(*arguments, **options):
        out, kept = right(*arguments, **options)
        return out + 0.25, kept

    monkeypatch.setattr(triton_launch, "forward", wrong)
    assert probe("cpu") == "its results are wrong by 0.25"
