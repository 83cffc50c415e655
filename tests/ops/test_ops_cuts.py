"""However a map is cut for the Triton kernels, every pixel is computed, and to the same result."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dilnas.ops import msda

pytestmark = pytest.mark.usefixtures("interpreter")


@settings(deadline=None)
@given(st.integers(1, 70), st.integers(1, 80), st.integers(1, 5))
def test_every_pixel_of_a_row_lies_in_exactly_one_run(width, dilation, run):
    """Runs are numbered as the kernels do: neighbours first, then a run's length further on."""
    from dilnas.ops.triton_launch import _runs

    beside, pixels = min(dilation, width), []
    for number in range(_runs(width, dilation, run)):
        first = number % beside + number // beside * dilation * run
        pixels += [x for x in range(first, first + dilation * run, dilation) if x < width]
    assert sorted(pixels) == list(range(width))


@pytest.mark.parametrize("side", [2, 5, 7, 14, 28, 56, 100])
def test_tiles_cover_the_map_and_little_more(side):
    """A tile's runs and rows, times their numbers, are at least the map, at most half as much again
    where it is not tiny."""
    from dilnas.ops.triton_launch import Cut, tile_of

    (images, rows, runs), across, down = tile_of(side, side, (1, 2, 3), Cut(1, 2, 64))
    assert images * rows * runs == 64
    covered = across * runs * down * rows
    assert covered >= side * side
    assert covered <= 1.5 * side * side or side < 7


@pytest.mark.parametrize(
    ("run", "threads", "runs", "window"), [(2, 1, 32, 3), (4, 2, 16, 3), (3, 4, 32, 5)]
)
def test_runs_and_chunks_of_any_length_give_the_same_attention(run, threads, runs, window):
    """Several pixels a run, channels in several chunks or one that is not full: the oracle."""
    from dilnas.ops import triton_launch

    generator = torch.Generator().manual_seed(run)
    arguments = (2, window, (1, 2))
    qkv = torch.randn(1, 3, 7, 3 * 48, generator=generator)
    slope = torch.randn(1, 3, 7, 48, generator=generator)
    cut = triton_launch.Cut(run, threads, runs)
    out, lse = triton_launch.forward(qkv, *arguments, cut=cut)
    gradient = triton_launch.backward(slope, qkv, out, lse, *arguments, cuts=(cut, cut))
    leaf = qkv.double().requires_grad_()
    truth = msda(leaf, *arguments, backend="oracle")
    (wanted,) = torch.autograd.grad(truth, leaf, slope.double())
    # Sums of some hundred products in float32.
    torch.testing.assert_close(out.double(), truth.detach(), rtol=0, atol=1e-5)
    torch.testing.assert_close(gradient.double(), wanted, rtol=0, atol=2e-5)
