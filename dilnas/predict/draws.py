"""Which networks of a space a calibration measures, in which order: the same for the same seed.

    fit fit held-out  fit fit held-out  …

Held-out networks are uniform over the codes: what is said of them holds for the space. Those that
are fitted begin with the smallest and the largest of the space, with MSDA and without, because
nothing beyond them can be predicted; then each is chosen among a few random ones: cheap, and made
of parts that were not seen yet.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dilnas.arch import Architecture
from dilnas.cost import cost
from dilnas.predict.calibration import FIT, HELD_OUT
from dilnas.predict.parts import Part, parts_of
from dilnas.space import SearchSpace

__all__ = ["Draw", "anchor_code", "draws"]

HELD_OUT_EVERY = 3
AMONG = 24
"""Random networks that one to fit is chosen from."""

TRIES = 500
"""Draws in a row that are all known, after which a space is taken to be used up."""


@dataclass(frozen=True, slots=True)
class Draw:
    """A network to measure."""

    role: str
    code: tuple[int, ...]
    architecture: Architecture
    parts: list[Part]


def draws(space: SearchSpace, height: int, width: int, seed: int) -> Iterator[Draw]:
    """Networks without end, or until a small space is used up; no network has two roles."""
    rng = np.random.default_rng(seed)
    lengths = [len(axis) for axis in space.axes]
    seen: Counter[Part] = Counter()
    used = {space.decode(anchor_code(space)).key}

    def drawn(role: str, code: tuple[int, ...]) -> Draw:
        architecture = space.decode(code)
        return Draw(role, code, architecture, parts_of(architecture, height, width))

    def fresh() -> Draw | None:
        for _ in range(TRIES):
            found = drawn("", tuple(int(rng.integers(n)) for n in lengths))
            if found.architecture.key not in used:
                return found
        return None

    number, corners = 0, _corners(space)
    while True:
        number += 1
        role = HELD_OUT if number % HELD_OUT_EVERY == 0 else FIT
        if role == FIT and corners:
            known = [drawn(role, corners.pop(0))]
        else:
            among = [fresh() for _ in range(AMONG if role == FIT else 1)]
            known = [one for one in among if one is not None]
        if not known:
            return
        if role == FIT and known[0].architecture.key in used:  # two corners, one network
            continue
        best = max(known, key=lambda one: _worth(one, seen, height, width))
        used.add(best.architecture.key)
        if role == FIT:
            seen.update(set(best.parts))
        yield Draw(role, best.code, best.architecture, best.parts)


def _corners(space: SearchSpace) -> list[tuple[int, ...]]:
    """Codes with every axis at its first or its last value, the shares of MSDA at either."""
    found = []
    for high, msda in ((0, 0), (1, 1), (0, 1), (1, 0)):
        ends = [(msda if axis.field == "msda_share" else high) for axis in space.axes]
        code = tuple(end * (len(axis) - 1) for end, axis in zip(ends, space.axes, strict=True))
        if code not in found:
            found.append(code)
    return found


def _worth(one: Draw, seen: Counter[Part], height: int, width: int) -> float:
    """Parts that are new or rare, for the root of what it costs to run them."""
    rare = sum(1 / (1 + seen[part]) for part in set(one.parts))
    return rare / math.sqrt(cost(one.architecture, height, width).flops)


def anchor_code(space: SearchSpace) -> tuple[int, ...]:
    """A small network with blocks of both kinds, which is run between all others."""
    return tuple(len(axis) // 2 if axis.field == "msda_share" else 0 for axis in space.axes)
