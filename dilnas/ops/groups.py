"""What every backend of MSDA shares: head groups, taps, and the types it computes in.

A *tap* is one of the w x w positions of a neighbourhood, as an offset (dy, dx) of the key from its
query. A head *group* is the contiguous share of the heads, and so of the channels, that has one
dilation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

__all__ = ["Group", "groups_of", "offsets", "working_dtype"]

HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, slots=True)
class Group:
    """One head group.

    Attributes:
        start: its first channel within q, k or v.
        channels: how many channels it owns.
        heads: how many heads those are.
        dilation: distance between neighbouring taps.
    """

    start: int
    channels: int
    heads: int
    dilation: int


def groups_of(channels: int, num_heads: int, dilations: Sequence[int]) -> tuple[Group, ...]:
    """The head groups in channel order: group i has ``dilations[i]``."""
    share, heads = channels // len(dilations), num_heads // len(dilations)
    return tuple(Group(i * share, share, heads, d) for i, d in enumerate(dilations))


def offsets(window: int, dilation: int) -> Iterator[tuple[int, int]]:
    """(dy, dx) of the window's taps, row by row."""
    half = window // 2
    for row in range(-half, half + 1):
        for column in range(-half, half + 1):
            yield row * dilation, column * dilation


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """Half types are computed in float32: logits and softmax need its range and its digits."""
    return torch.float32 if dtype in HALF else dtype
