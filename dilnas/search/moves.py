"""Random steps from codes to codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["redrawn", "steps_from"]

MORE = 0.4
"""Chance of a second and of a third axis being changed too."""


def redrawn(codes: Any, lengths: Sequence[int], count: int, rng: Any) -> Any:
    """``count`` copies of rows of ``codes`` with a random share of their axes drawn anew."""
    rows = codes[rng.integers(len(codes), size=count)]
    share = rng.uniform(1 / len(lengths), 0.5, size=(count, 1))
    fresh = rng.integers(0, np.array(lengths), size=rows.shape)
    return np.where(rng.random(rows.shape) < share, fresh, rows)


def steps_from(codes: Any, lengths: Sequence[int], count: int, rng: Any) -> Any:
    """``count`` rows, each a row of ``codes`` with one to three axes changed, half by one place."""
    rows = codes[rng.integers(len(codes), size=count)].copy()
    last = np.array(lengths) - 1
    every = np.arange(count)
    for turn in range(3):
        axis = rng.integers(len(lengths), size=count)
        place = rows[every, axis]
        beside = np.clip(place + rng.choice((-1, 1), size=count), 0, last[axis])
        anywhere = (rng.random(count) * (last[axis] + 1)).astype(np.int64)
        new = np.where(rng.random(count) < 0.5, beside, anywhere)
        changes = rng.random(count) < (1.0 if turn == 0 else MORE)
        rows[every, axis] = np.where(changes, new, place)
    return rows
