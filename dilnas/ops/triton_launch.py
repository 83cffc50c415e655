"""Launching the Triton kernels of MSDA, and how a map is cut for them.

``benchmarks/msda_tune.py`` looks for better cuts than ``FASTEST`` holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from dilnas.ops import triton_kernels as kernels
from dilnas.ops.groups import working_dtype
from dilnas.ops.triton_state import GROUPS, interpreted

__all__ = ["PASSES", "Cut", "backward", "cut_of", "forward"]

PASSES = ("forward", "queries", "keys")
"""The three kernels."""


@dataclass(frozen=True, slots=True)
class Cut:
    """How a map is cut for a kernel.

    Attributes:
        run: pixels a dilation apart that share their keys' loads.
        threads: that share a pixel's channels, each with 16 bytes of a chunk; a power of two.
        runs: that a program owns; a power of two.
    """

    run: int
    threads: int
    runs: int


FASTEST = {
    ("forward", 2): Cut(1, 2, 64),
    ("queries", 2): Cut(1, 4, 64),
    ("keys", 2): Cut(1, 4, 64),
    ("forward", 4): Cut(1, 2, 64),
    ("queries", 4): Cut(1, 2, 64),
    ("keys", 4): Cut(1, 2, 64),
}
"""By pass and bytes of an element. Of two bytes: measured on an H200 over 56 x 56 and 28 x 28 maps
of 24 and 32 channels a head, with runs of one pixel; longer runs were not measured there yet."""

TILES = ((8, 8), (4, 16), (16, 4), (4, 8), (8, 4), (4, 4), (2, 8), (2, 4), (2, 2))
"""Rows and runs of a tile; of two that leave as much of a map over the first is taken."""

SMALL = 1.15
"""Times as long takes a tile of less than 32 runs: neighbours that share keys lie in other tiles
(28 x 28 on an H200: 4 x 4 tiles fit exactly, and are 7 % slower than 4 x 16 ones)."""

LEAST = 1.5
"""The same of less than 16, a guess: for maps that are as small themselves."""

HELD = {"forward": (1, 2), "queries": (2, 3), "keys": (2, 4)}
"""Maps of which a window row is loaded at once, and those of which a run's own pixels are held."""

ROOM = 200
"""Of a thread's 255 registers, for channels; beyond it they spill (tests/ops/test_ops_compiled)."""

MOST_THREADS = 256
"""Of a program."""


def cut_of(depth: int, window: int, dtype: torch.dtype, kernel: str) -> Cut:
    """The fastest cut, for heads of ``depth`` channels.

    As many threads a pixel as its numbers need registers. Triton's interpreter, whose cost is that
    of each operation, gets few and large ones.
    """
    best = FASTEST[kernel, min(max(dtype.itemsize, 2), 4)]
    together = _together(depth, dtype)
    most = _power(_parts(depth, together))
    if interpreted():
        return Cut(best.run, most, 128)
    run, threads = best.run, min(best.threads, most)
    loaded, own = HELD[kernel]
    while threads < most:
        channels = _parts(depth, threads)
        held = loaded * (run + window - 1) * channels * dtype.itemsize / 4 + own * run * channels
        if held <= ROOM:
            break
        threads *= 2
    return Cut(run, threads, min(best.runs, MOST_THREADS // threads))


def tile_of(
    height: int, width: int, dilations: Sequence[int], cut: Cut
) -> tuple[tuple[int, int, int], int, int]:
    """((images, rows, runs) of a tile, tiles across, tiles down): the one that wastes least.

    Tiles across are those of the dilation that needs most.
    """

    def tiles(shape: tuple[int, int]) -> tuple[int, int]:
        rows, runs = shape
        return _parts(max(_runs(width, d, cut.run) for d in dilations), runs), _parts(height, rows)

    def cost(shape: tuple[int, int]) -> float:
        size = shape[0] * shape[1]
        return (
            math.prod(tiles(shape)) * size * (1.0 if size >= 32 else SMALL if size >= 16 else LEAST)
        )

    fitting = [shape for shape in TILES if shape[0] * shape[1] <= cut.runs]
    rows, runs = min(fitting, key=cost)
    return (cut.runs // (rows * runs), rows, runs), *tiles((rows, runs))


def _runs(width: int, dilation: int, run: int) -> int:
    """Runs of a row: those that begin at neighbouring pixels side by side, then the next ones.

    The last of them may be fewer: where the row ends, no run begins.
    """
    beside = min(dilation, width)
    whole = _parts(_parts(width, dilation), run) - 1
    return beside * whole + min(beside, width - dilation * run * whole)


def forward(
    qkv: Tensor,
    num_heads: int,
    window_size: int,
    dilations: Sequence[int],
    *,
    keep: bool = True,
    cut: Cut | None = None,
) -> tuple[Tensor, Tensor]:
    """MSDA by the kernels: (B, H, W, C) and, with ``keep``, lse (heads, B·H·W) in base 2.

    Args:
        qkv: (B, H, W, 3C) within the kernels' ``limits``, on a CUDA device (anywhere under
            Triton's interpreter); pixels that do not lie evenly one after another are copied.
        cut: another one than the shape's own, for tuning.
    """
    qkv = _dense(qkv)
    batch, height, width, channels = qkv.shape[0], qkv.shape[1], qkv.shape[2], qkv.shape[3] // 3
    out = qkv.new_empty((batch, height, width, channels))
    lse = qkv.new_empty(
        (num_heads, batch * height * width) if keep else (0,), dtype=working_dtype(qkv.dtype)
    )
    if not qkv.numel():
        return out, lse
    grid, arguments, options = _call(qkv, num_heads, window_size, dilations, "forward", cut)
    # Wide windows row by row, with an online softmax: all logits at once spill registers.
    rows = window_size if window_size <= 3 else 1
    with _device(qkv):
        kernels.msda_forward[grid](qkv, out, lse, *arguments, ROWS=rows, KEEP=keep, **options)
    return out, lse


def backward(  # noqa: PLR0917
    grad: Tensor,
    qkv: Tensor,
    out: Tensor,
    lse: Tensor,
    num_heads: int,
    window_size: int,
    dilations: Sequence[int],
    *,
    cuts: tuple[Cut | None, Cut | None] = (None, None),
) -> Tensor:
    """The gradient of qkv, (B, H, W, 3C), from that of ``out`` and what ``forward`` returned."""
    qkv, grad, out = _dense(qkv), grad.contiguous(), out.contiguous()
    dqkv = qkv.new_empty(qkv.shape)
    if not qkv.numel():
        return dqkv
    delta = torch.empty_like(lse)
    with _device(qkv):
        grid, arguments, options = _call(qkv, num_heads, window_size, dilations, "queries", cuts[0])
        kernels.msda_backward_queries[grid](qkv, out, grad, lse, delta, dqkv, *arguments, **options)
        grid, arguments, options = _call(qkv, num_heads, window_size, dilations, "keys", cuts[1])
        kernels.msda_backward_keys[grid](qkv, grad, lse, delta, dqkv, *arguments, **options)
    return dqkv


def _dense(qkv: Tensor) -> Tensor:
    """``qkv`` with pixels evenly one after another, channels side by side; a copy if need be."""
    _, height, width, tripled = qkv.shape
    step = qkv.stride(2) if width > 1 else tripled
    wanted = (height * width * step, width * step, step, 1)
    even = all(
        size <= 1 or own == want
        for size, own, want in zip(qkv.shape, qkv.stride(), wanted, strict=True)
    )
    return qkv if even and step >= tripled else qkv.contiguous()


def _device(x: Tensor) -> Any:
    """Triton launches on the current device, which need not be the tensor's."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def _call(  # noqa: PLR0917
    qkv: Tensor, num_heads: int, window_size: int, dilations: Sequence[int], kernel: str,
    cut: Cut | None,
) -> tuple[tuple[int], tuple[int, ...], dict[str, Any]]:  # fmt: skip
    """(grid, the kernel's arguments behind the tensors, its compile-time ones)."""
    step = qkv.stride(2) if qkv.shape[2] > 1 else qkv.shape[3]
    return _prepared(
        tuple(qkv.shape), step, qkv.dtype, num_heads, window_size, tuple(dilations), kernel, cut
    )


@lru_cache(maxsize=4096)
def _prepared(  # noqa: PLR0917
    shape: tuple[int, int, int, int], step: int, dtype: torch.dtype, num_heads: int,
    window_size: int, dilations: tuple[int, ...], kernel: str, cut: Cut | None,
) -> tuple[tuple[int], tuple[int, ...], dict[str, Any]]:  # fmt: skip
    """What ``_call`` returns; remembered, since a small map takes no longer than this."""
    batch, height, width, tripled = shape
    depth = tripled // 3 // num_heads
    align = math.gcd(step, 16)
    cut = cut or cut_of(depth, window_size, dtype, kernel)
    # A dilation beyond the map is as good as any other beyond it.
    steps = [min(d, max(height, width)) for d in dilations]
    tile, across, down = tile_of(height, width, steps, cut)
    words = steps + [0] * (GROUPS - len(steps))
    low, high = (
        sum(d << (16 * i) for i, d in enumerate(words[start : start + 4])) for start in (0, 4)
    )
    arguments = (
        low, high, batch, height, width, num_heads, num_heads // len(steps), step // align, across
    )  # fmt: skip
    options = {
        "WINDOW": window_size, "RUN": cut.run, "DEPTH": depth,
        "CHUNK": _together(depth, dtype) * cut.threads, "ALIGN": align,
        "WORK": tl.float64 if dtype == torch.float64 else tl.float32,
        "TB": tile[0], "TY": tile[1], "TX": tile[2],
        "num_warps": max(1, cut.runs * cut.threads // 32),
    }  # fmt: skip
    return (num_heads * across * down * _parts(batch, tile[0]),), arguments, options


def _together(depth: int, dtype: torch.dtype) -> int:
    """Channels that a thread loads at once: 16 bytes, where heads begin at multiples of them."""
    return math.gcd(depth, 16 // dtype.itemsize)


def _power(size: int) -> int:
    """The least power of two that is not below ``size``."""
    return 1 << max(size - 1, 0).bit_length()


def _parts(size: int, most: int) -> int:
    """Pieces of at most ``most`` that ``size`` is cut into."""
    return -(-size // most)
