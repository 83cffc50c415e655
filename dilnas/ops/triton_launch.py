"""Launching the Triton kernels of MSDA: which tiles, which shapes they take, in which types."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from dilnas.ops import triton_kernels as kernels
from dilnas.ops.triton_state import GROUPS

__all__ = ["Tiling", "backward", "forward", "tiling_of"]

SIDES = (16, 8, 4)
"""Sides of a tile, where the map is not smaller."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a launch is cut.

    Attributes:
        images, rows, columns: of the tile that a program owns; powers of two.
        chunk: channels that a thread loads at a time; a power of two.
        span: taps that are loaded before the first is needed; 1, or the window's side.
        warps: of 32 threads, for a program.
    """

    images: int
    rows: int
    columns: int
    chunk: int
    span: int
    warps: int


def tiling_of(  # noqa: PLR0917
    batch: int, height: int, width: int, depth: int, window: int, dtype: torch.dtype,
    *, backward: bool = False, pixels: int = 128,
) -> Tiling:  # fmt: skip
    """Tiles of about ``pixels`` that leave little of a map over.

    A thread holds 16 bytes of a chunk and at most 32 channels of a pixel: more spill registers.
    So does loading many taps at once; the backward passes hold more than the forward one.
    """
    columns = _side(width, pixels)
    rows = _side(height, pixels // columns)
    images = max(1, min(pixels // (columns * rows), _power(batch)))
    width_of_load = max(1, 16 // dtype.itemsize)
    threads = _power(math.ceil(depth / 32))
    chunk = math.gcd(depth, width_of_load) * threads
    deep = window * min(depth, 32) > 96
    span = 1 if deep else window if backward else window**2
    count = images * rows * columns * threads
    return Tiling(images, rows, columns, chunk, span, max(1, count // 32))


def _power(size: int) -> int:
    """The least power of two that is not below ``size``."""
    return 1 << max(size - 1, 0).bit_length()


def _side(size: int, most: int) -> int:
    """The tile's side that covers ``size`` with least beyond it; the larger of equals."""
    fitting = [side for side in SIDES if side <= most] or [1]
    return min(min(fitting, key=lambda side: math.ceil(size / side) * side), _power(size))


def forward(
    qkv: Tensor,
    num_heads: int,
    window_size: int,
    dilations: Sequence[int],
    *,
    keep: bool = True,
    tiling: Tiling | None = None,
) -> tuple[Tensor, Tensor]:
    """MSDA by the kernel: (B, H, W, C) and, with ``keep``, lse (heads, B·H·W) in base 2, else (0,).

    Args:
        qkv: (B, H, W, 3C) within the kernels' ``limits``, on a CUDA device (anywhere under
            Triton's interpreter); pixels that do not lie evenly one after another are copied.
        tiling: another one than the shape's own, for tuning.
    """
    qkv = dense(qkv)
    batch, height, width, channels = qkv.shape[0], qkv.shape[1], qkv.shape[2], qkv.shape[3] // 3
    work = torch.float64 if qkv.dtype == torch.float64 else torch.float32
    out = qkv.new_empty((batch, height, width, channels))
    lse = qkv.new_empty((num_heads, batch * height * width) if keep else (0,), dtype=work)
    if qkv.numel():
        grid, arguments, options = _call(qkv, num_heads, window_size, dilations, tiling, False)
        with _device(qkv):
            kernels.forward[grid](qkv, out, lse, *arguments, KEEP=keep, **options)
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
    tilings: tuple[Tiling | None, Tiling | None] = (None, None),
) -> Tensor:
    """The gradient of qkv, (B, H, W, 3C), from that of ``out`` and what ``forward`` returned."""
    qkv, grad, out = dense(qkv), grad.contiguous(), out.contiguous()
    dqkv = torch.empty_like(qkv, memory_format=torch.contiguous_format)
    if not qkv.numel():
        return dqkv
    delta = torch.empty_like(lse)
    with _device(qkv):
        grid, arguments, options = _call(qkv, num_heads, window_size, dilations, tilings[0], True)
        kernels.backward_queries[grid](qkv, out, grad, lse, delta, dqkv, *arguments, **options)
        grid, arguments, options = _call(qkv, num_heads, window_size, dilations, tilings[1], True)
        kernels.backward_keys[grid](qkv, grad, lse, delta, dqkv, *arguments, **options)
    return dqkv


def dense(qkv: Tensor) -> Tensor:
    """``qkv`` with pixels evenly one after another, channels side by side; a copy if need be."""
    batch, height, width, _ = qkv.shape
    step = qkv.stride(2) if width > 1 else max(qkv.shape[3], 1)
    wanted = (height * width * step, width * step, step, 1)
    sizes = (batch, height, width, qkv.shape[3])
    even = all(
        size <= 1 or own == want
        for size, own, want in zip(sizes, qkv.stride(), wanted, strict=True)
    )
    return qkv if even and step >= qkv.shape[3] else qkv.contiguous()


def _device(x: Tensor) -> Any:
    """Triton launches on the current device, which need not be the tensor's."""
    return torch.cuda.device(x.device) if x.is_cuda else torch.no_grad()


def _call(  # noqa: PLR0917
    qkv: Tensor, num_heads: int, window_size: int, dilations: Sequence[int],
    tiling: Tiling | None, backward: bool,
) -> tuple[tuple[int], tuple[int, ...], dict[str, Any]]:  # fmt: skip
    """(grid, the kernels' common arguments, their compile-time ones)."""
    batch, height, width, tripled = qkv.shape
    depth = tripled // 3 // num_heads
    tiling = tiling or tiling_of(
        batch, height, width, depth, window_size, qkv.dtype, backward=backward
    )
    step = qkv.stride(2) if width > 1 else tripled
    align = math.gcd(step, 16)
    # A dilation beyond the map is as good as any other beyond it.
    words = [min(d, max(height, width)) for d in dilations] + [0] * (GROUPS - len(dilations))
    low, high = (
        sum(d << (16 * i) for i, d in enumerate(words[start : start + 4])) for start in (0, 4)
    )
    grid = (
        num_heads * math.ceil(width / tiling.columns) * math.ceil(height / tiling.rows)
        * math.ceil(batch / tiling.images),
    )  # fmt: skip
    arguments = (
        low, high, batch, height, width, num_heads, num_heads // len(dilations), step // align
    )  # fmt: skip
    options = {
        "WINDOW": window_size, "DEPTH": depth, "CHUNK": tiling.chunk, "ALIGN": align,
        "WORK": tl.float64 if qkv.dtype == torch.float64 else tl.float32,
        "SPAN": tiling.span, "TB": tiling.images, "TY": tiling.rows, "TX": tiling.columns,
        "num_warps": tiling.warps,
    }  # fmt: skip
    return grid, arguments, options
