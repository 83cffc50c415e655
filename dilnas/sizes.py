"""Image sizes: one side of a square, or (height, width); in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from dilnas.errors import InputError

__all__ = ["ImageSize", "plain_size", "sides_of", "size_text"]

ImageSize: TypeAlias = int | tuple[int, int]
"""What a caller may give; inside it is (height, width)."""


def sides_of(size: object, *, where: str = "--img-size") -> tuple[int, int]:
    """(height, width) of 224, (800, 1280) or [800, 1280].

    Whether the strides allow them is for the network to say. Raises InputError for anything else.
    """
    sides = size if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2 or not all(type(side) is int for side in sides):
        raise InputError(
            "must be one side or (height, width)", where=where,
            expected="224 or (800, 1280)", got=repr(size),
        )  # fmt: skip
    if min(sides) < 1:
        raise InputError("must be positive", where=where, expected=">= 1", got=min(sides))
    return sides[0], sides[1]


def plain_size(sides: Sequence[int]) -> Any:
    """The JSON form: 224 for a square, [800, 1280] for anything else."""
    height, width = sides
    return height if height == width else [height, width]


def size_text(sides: Sequence[int], times: str = " x ") -> str:
    """``800 x 1280``; with "x", as an option takes it."""
    return times.join(map(str, sides))
