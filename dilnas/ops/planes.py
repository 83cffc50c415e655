"""Channels-last maps as planes and back: a channel's pixels lie side by side.

Elementwise operators on shifted slices run at the memory's speed only where the slices' rows are
long. A plane holds its pixels as (B, H, W), or on a narrow map, where rows of W pixels are too
short, as (H, W, B): then the batch is part of the row. Whether the planes of one image follow one
another or one channel's of all images is left to what transposes fastest.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType

import torch
from torch import Tensor

from dilnas.ops.groups import offsets, working_dtype

__all__ = ["Taps", "from_planes", "taps_of", "to_planes"]

Index = tuple[EllipsisType | slice, ...]
Taps = list[tuple[Index, Index]]

NARROW = 16
"""Maps of fewer columns keep the batch innermost (8 x 8, batch 128: 1.5 times as fast)."""

LARGE = 1 << 18
"""Numbers that a cache holds anyway: a smaller map is transposed in one go."""

BLOCK = 2048
"""Pixels transposed at a time. In one go torch fetches each line of a large map many times
(56 x 56 x 288, batch 8: 13 ms in one go, 7 ms in blocks, on 2 threads)."""


def to_planes(x: Tensor) -> Tensor:
    """(B, H, W, C), any strides -> dense (C, B, H, W) or (C, H, W, B), computing type.

    A contiguous map of float32 on a CPU becomes (C, B, H, W) as it lies in (B, C, H, W).
    """
    batch, height, width, channels = x.shape
    if _vectorised(x, width):
        return _transposed(x, height * width).view(batch, channels, height, width).transpose(0, 1)
    order = _order(width)
    shape = (x.shape[3], *(x.shape[i] for i in order))
    planes = x.new_empty(shape, dtype=working_dtype(x.dtype))
    _copy(x.permute(*order, 3), planes.permute(1, 2, 3, 0))
    return planes


def from_planes(planes: Tensor, like: Tensor) -> Tensor:
    """The inverse of ``to_planes``: contiguous (B, H, W, C).

    Args:
        planes: what ``to_planes`` gives for a map of C channels.
        like: a map (B, H, W, …) whose sizes and type the result takes.
    """
    batch, height, width = like.shape[:3]
    images = planes.transpose(0, 1)
    if like.dtype == planes.dtype and _vectorised(images, width):
        return _transposed(images, planes.shape[0]).view(batch, height, width, -1)
    out = like.new_empty((batch, height, width, planes.shape[0]))
    _copy(planes.permute(1, 2, 3, 0), out.permute(*_order(like.shape[2]), 3))
    return out


def taps_of(shape: Sequence[int], window: int, dilation: int) -> Taps:
    """(queries, keys) of each tap that touches a map of ``shape`` (B, H, W), as plane indices."""
    _, height, width = shape
    batch = (slice(None),) if width < NARROW else ()
    return [
        (
            (..., _overlap(-dy, height), _overlap(-dx, width), *batch),
            (..., _overlap(dy, height), _overlap(dx, width), *batch),
        )
        for dy, dx in offsets(window, dilation)
        if abs(dy) < height and abs(dx) < width
    ]


def _overlap(shift: int, size: int) -> slice:
    """Positions p of 0..size-1 for which p - shift is one too."""
    return slice(max(0, shift), size + min(0, shift))


def _order(width: int) -> tuple[int, int, int]:
    """Dimensions of (B, H, W) in the order in which a plane holds them."""
    return (1, 2, 0) if width < NARROW else (0, 1, 2)


def _vectorised(x: Tensor, width: int) -> bool:
    """Whether ``_transposed`` takes it, and the planes of a map of ``width`` are (C, B, H, W)."""
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and x.is_contiguous()
    return plain and width >= NARROW and x.numel() > 0


def _transposed(x: Tensor, rows: int) -> Tensor:
    """Each image of a contiguous (B, …), seen as a matrix of ``rows``, transposed.

    Shuffling the channels of one pixel in groups is just that, and the only operator of torch that
    does it with vector instructions for float32: two to seven times as fast as a copy.
    """
    batch, numbers = x.shape[0], x[0].numel()
    pixels = x.as_strided((batch, numbers, 1, 1), (numbers, 1, numbers, numbers))
    return torch.native_channel_shuffle(pixels, rows)


def _copy(source: Tensor, target: Tensor) -> None:
    """Copy between two pixel views (…, …, …, C) of which one is a permuted plane."""
    first, second, third, _ = source.shape
    if source.device.type != "cpu" or source.numel() < LARGE:
        target.copy_(source)
        return
    step = max(1, BLOCK // (second * third))
    rows = max(1, BLOCK // third)
    for i in range(0, first, step):
        for j in range(0, second, rows):
            own = (slice(i, i + step), slice(j, j + rows))
            target[own].copy_(source[own])
