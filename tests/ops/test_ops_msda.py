"""The MSDA door: every backend computes the same attention, borders and gradients included."""

from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dilnas.errors import InputError
from dilnas.ops import msda
from dilnas.ops.planes import from_planes, to_planes
from dilnas.ops.slices import msda_slices
from dilnas.ops.windows import msda_windows


@st.composite
def problems(draw):
    """A float64 qkv with H != W allowed, heads, window and dilations, some beyond the map."""
    groups, share = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    heads = groups * share
    depth = draw(st.integers(1, 4))
    batch, height = draw(st.integers(1, 2)), draw(st.integers(1, 7))
    width = draw(st.one_of(st.integers(1, 9), st.integers(15, 18)))  # narrow maps and wide ones
    dilations = tuple(draw(st.integers(1, 10)) for _ in range(groups))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 20)))
    shape = (batch, height, width, 3 * heads * depth)
    qkv = 2 * torch.randn(shape, dtype=torch.float64, generator=generator)
    return qkv.requires_grad_(), heads, draw(st.sampled_from((1, 3, 5, 7))), dilations


def value_and_gradient(function, qkv, *arguments, **options):
    out = function(qkv, *arguments, **options)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).reshape(out.shape)
    return out.detach(), torch.autograd.grad((out * weights).sum(), qkv)[0]


@settings(deadline=None, max_examples=60)
@given(problems())
def test_every_form_equals_the_oracle_in_value_and_gradient(problem):
    """Portable, plain slices, windows and matrix products agree with the oracle in float64."""
    qkv, *arguments = problem
    value, gradient = value_and_gradient(msda, qkv, *arguments, backend="oracle")
    matmul = functools.partial(msda, backend="matmul")
    for form in (msda, msda_slices, msda_windows, matmul):
        own, slope = value_and_gradient(form, qkv, *arguments)
        torch.testing.assert_close(own, value, rtol=0, atol=1e-12)
        torch.testing.assert_close(slope, gradient, rtol=0, atol=1e-11)


def test_the_portable_gradient_is_the_derivative_to_second_order():
    """gradcheck and gradgradcheck pass on a map with H != W and a dilation beyond it."""
    qkv = torch.randn(1, 2, 3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: msda(x, 2, 3, (1, 4)), qkv)
    assert torch.autograd.gradgradcheck(lambda x: msda(x, 2, 3, (1, 4)), qkv)


@pytest.mark.parametrize("shape", [(9, 64, 50), (3, 200, 40), (300, 14, 15)])
def test_large_maps_go_to_planes_and_back_unchanged(shape):
    """Maps that are transposed block by block keep every number, also where blocks do not fit."""
    x = torch.randn(*shape, 12, dtype=torch.float64)
    planes = to_planes(x)
    assert planes.is_contiguous() and planes.shape[0] == 12
    assert torch.equal(from_planes(planes, x), x)
    narrow = shape[2] < 16
    assert torch.equal(planes, x.permute(3, 1, 2, 0) if narrow else x.permute(3, 0, 1, 2))


def test_one_graph_may_use_the_operator_many_times():
    """Chained and repeated calls, expanded and transposed gradients: equal to the oracle's."""
    qkv = torch.randn(2, 5, 6, 18, dtype=torch.float64, requires_grad=True)
    slopes = []
    for backend in ("oracle", "portable"):
        own = functools.partial(
            msda, num_heads=3, window_size=3, dilations=(1, 2, 4), backend=backend
        )
        once = own(qkv)
        chained = own(torch.cat([once, once.square(), own(2 * qkv)], -1))
        weights = torch.arange(6 * 5 * 12, dtype=torch.float64).reshape(6, 6, 5, 2)
        total = chained.sum() + (once.permute(3, 2, 1, 0) * weights).sum()
        slopes.append(torch.autograd.grad(total, qkv)[0])
    torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-12, atol=1e-11)


def test_a_qkv_changed_after_the_call_is_noticed():
    """Writing into qkv between forward and backward raises instead of a wrong gradient."""
    leaf = torch.randn(1, 3, 4, 12, requires_grad=True)
    qkv = 1 * leaf
    out = msda(qkv, 2, 3, (1, 2))
    qkv += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_a_qkv_without_gradient_and_an_empty_batch_are_fine():
    """No gradient is asked for, none is made; a batch of 0 gives a batch of 0."""
    assert not msda(torch.randn(1, 3, 4, 12), 2, 3, (1, 2)).requires_grad
    empty = torch.zeros(0, 3, 4, 12, requires_grad=True)
    out = msda(empty, 2, 3, (1, 2))
    out.sum().backward()
    assert out.shape == (0, 3, 4, 4)
    with pytest.raises(InputError, match="no map empty"):
        msda(torch.zeros(1, 0, 4, 12), 2, 3, (1, 2))


@pytest.mark.parametrize("backend", ["oracle", "portable"])
def test_keys_outside_of_the_map_stay_in_the_denominator(backend):
    """With q = 0 and v = 1 a corner of a 3x3 window is 4/9, an edge 6/9, the inside 1."""
    qkv = torch.zeros(1, 5, 6, 9, dtype=torch.float64)
    qkv[..., 6:] = 1
    out = msda(qkv, 3, 3, (1, 2, 9), backend=backend)[0]
    assert out[0, 0, 0].item() == pytest.approx(4 / 9, abs=1e-15)
    assert out[0, 2, 0].item() == pytest.approx(6 / 9, abs=1e-15)
    assert out[2, 2, 0].item() == pytest.approx(1, abs=1e-15)
    assert out[2, 2, 2].item() == pytest.approx(1 / 9, abs=1e-15)


def test_any_strides_give_the_same_result():
    """qkv may be a permuted or a sliced view; the result does not change."""
    qkv = torch.randn(2, 24, 5, 7, dtype=torch.float64)
    view, whole = qkv.permute(0, 2, 3, 1), qkv.permute(0, 2, 3, 1).contiguous()
    wide = torch.zeros(2, 5, 7, 48, dtype=torch.float64)
    wide[..., ::2] = whole
    for other in (view, wide[..., ::2]):
        torch.testing.assert_close(msda(other, 2, 3, (1, 2)), msda(whole, 2, 3, (1, 2)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_err_no_more_than_twice_the_oracle(dtype):
    """Against float64 the portable form is within 2x the oracle's own error in the half type."""
    qkv = torch.randn(2, 6, 9, 72).to(dtype)
    exact = msda(qkv.double(), 3, 3, (1, 2, 3), backend="oracle")
    allowed = (msda(qkv, 3, 3, (1, 2, 3), backend="oracle").double() - exact).abs().max()
    out = msda(qkv, 3, 3, (1, 2, 3))
    assert out.dtype == dtype
    assert (out.double() - exact).abs().max() <= 2 * allowed + torch.finfo(dtype).eps


def test_large_logits_do_not_overflow_in_half():
    """Logits of thousands in float16 still give finite probabilities and gradients."""
    qkv = (100 * torch.randn(1, 4, 5, 24)).half().requires_grad_()
    out = msda(qkv, 1, 3, (2,))
    out.sum().backward()
    assert out.isfinite().all()
    assert qkv.grad is not None and qkv.grad.dtype == torch.float16


def test_functional_transforms_see_plain_operators():
    """torch.func.grad and vmap work and agree with the hand-written backward."""
    qkv = torch.randn(3, 1, 4, 5, 12, dtype=torch.float64)
    slope = torch.func.vmap(torch.func.grad(lambda x: msda(x, 2, 3, (1, 2)).square().sum()))(qkv)
    flat = qkv.flatten(0, 1).requires_grad_()
    (own,) = torch.autograd.grad(msda(flat, 2, 3, (1, 2)).square().sum(), flat)
    torch.testing.assert_close(slope.flatten(0, 1), own)


def test_the_environment_variable_forces_a_backend_and_an_unknown_one_is_named(monkeypatch):
    """DILNAS_MSDA chooses where the caller did not; a wrong name is a user's error."""
    qkv = torch.randn(1, 3, 4, 12)
    monkeypatch.setenv("DILNAS_MSDA", "oracle")
    assert torch.equal(msda(qkv, 2, 3, (1, 2)), msda(qkv, 2, 3, (1, 2), backend="oracle"))
    monkeypatch.setenv("DILNAS_MSDA", "magic")
    with pytest.raises(InputError, match="DILNAS_MSDA: unknown MSDA backend"):
        msda(qkv, 2, 3, (1, 2))
    with pytest.raises(InputError, match="unknown MSDA backend"):
        msda(qkv, 2, 3, (1, 2), backend="cuda")


@pytest.mark.parametrize(
    ("channels", "heads", "window", "dilations"),
    [(13, 2, 3, (1,)), (12, 3, 3, (1,)), (12, 2, 4, (1,)), (12, 2, 3, (1, 2, 3)), (12, 2, 3, ())],
)
def test_contradicting_arguments_are_refused(channels, heads, window, dilations):
    """Shapes that no attention has raise InputError before anything is computed."""
    with pytest.raises(InputError):
        msda(torch.zeros(1, 3, 4, channels), heads, window, dilations)
