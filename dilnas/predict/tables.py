"""Networks of a space as arrays of parts: which, and how often, for a million codes at once.

The parts of one place (the MSDA blocks of stage 2, say) take few values over a whole space: a code
is reduced to a number that names its part, equal numbers are looked up in a table, and each
distinct part is predicted once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from dilnas.arch import DOWNSAMPLES, POS_EMBEDS, STEMS
from dilnas.cost.formulas import BY_BLOCK, BY_STAGE
from dilnas.predict.parts import Part
from dilnas.space import SearchSpace
from dilnas.stage import canonical_dilations

__all__ = ["part_table"]

Codes = npt.NDArray[np.int64]

LOOKED_UP = 1 << 22
"""Numbers up to which equal ones are looked up."""


def part_table(
    space: SearchSpace, codes: Codes, height: int, width: int
) -> tuple[list[Part], list[tuple[Codes, Codes]]]:
    """Distinct parts, and for every place of a network (place in that list (N,), repeats (N,)).

    Equal to ``parts_of`` of each decoded code, but for the order; places that a network does not
    have repeat 0 times.
    """
    columns = space.columns(codes)
    rates, lists = dilation_columns(space, np.asarray(codes), columns["window_size"])
    by_block = np.isin(columns["pos_embed"], [POS_EMBEDS.index(name) for name in BY_BLOCK])
    by_stage = np.isin(columns["pos_embed"], [POS_EMBEDS.index(name) for name in BY_STAGE])
    bias = columns["qkv_bias"].astype(np.int64)
    one = np.ones(len(codes), np.int64)
    found = _Distinct()
    out = [
        found.add(
            (columns["stem"], columns["in_chans"], columns["dim"][:, 0]), one,
            lambda v: Part("stem", STEMS[v[0]], height, width, v[1], v[2]),
        )
    ]  # fmt: skip
    stages, h, w = space.num_stages, height // 4, width // 4
    for i in range(stages):
        dim, heads, hidden = (columns[n][:, i] for n in ("dim", "num_heads", "mlp_hidden"))
        own = (dim, heads, hidden, by_block.astype(np.int64), bias)
        window, listed = columns["window_size"][:, i], rates[:, i]
        out += [
            found.add(
                (*own, window, listed), columns["msda_depth"][:, i],
                lambda v, h=h, w=w: Part(  # type: ignore[misc]
                    "msda", "", h, w, v[0], v[0], v[1], v[2], v[5], lists[v[6]], v[3], v[4]
                ),
            ),
            found.add(
                own, columns["global_depth"][:, i],
                lambda v, h=h, w=w: Part(  # type: ignore[misc]
                    "global", "", h, w, v[0], v[0], v[1], v[2], position=v[3], bias=v[4]
                ),
            ),
        ]  # fmt: skip
        if i + 1 < stages:
            out.append(
                found.add(
                    (columns["downsample"], dim, columns["dim"][:, i + 1], by_stage.astype(int)),
                    one,
                    lambda v, h=h, w=w: Part(  # type: ignore[misc]
                        "downsample", DOWNSAMPLES[v[0]], h, w, v[1], v[2], position=v[3]
                    ),
                )
            )
            h, w = h // 2, w // 2
    out.append(
        found.add(
            (columns["dim"][:, -1], columns["num_classes"]), one,
            lambda v: Part("head", "", h, w, v[0], v[1]),
        )
    )  # fmt: skip
    return found.parts, out


def dilation_columns(
    space: SearchSpace, codes: Codes, windows: Codes
) -> tuple[Codes, list[tuple[int, ...]]]:
    """Dilations of codes (N, A): places (N, stages) in a list, and that list, canonical.

    ``windows`` (N, stages), 0 where a stage has no MSDA block: its dilations are ().
    """
    spec = space.definition
    lists: list[tuple[int, ...]] = [()]
    values: list[Any]
    out = np.zeros(windows.shape, np.int64)
    for s in range(space.num_stages):
        axis = spec.setter.get(("dilations", s + 1))
        values = [spec.fixed.get(("dilations", s + 1))]
        chosen = np.zeros(len(windows), np.int64)
        if axis is not None:
            values, chosen = list(spec.values(("dilations", s + 1))), codes[:, axis]
        for window in np.unique(windows[:, s][windows[:, s] > 0]).tolist():
            for index, value in enumerate(values):
                kept = canonical_dilations(value, window)
                if kept not in lists:
                    lists.append(kept)
                out[(windows[:, s] == window) & (chosen == index), s] = lists.index(kept)
    return out, lists


class _Distinct:
    """Distinct parts, as they are met."""

    def __init__(self) -> None:
        self.parts: list[Part] = []

    def add(
        self,
        columns: tuple[Codes, ...],
        repeats: Codes,
        make: Callable[[tuple[int, ...]], Part],
    ) -> tuple[Codes, Codes]:
        """The part that each row of ``columns`` (N,) names, made once by ``make``.

        Only rows that occur are made: what a network does not have need not be a valid part.
        """
        number, size = _numbered(columns, repeats)
        first = np.full(size, -1, np.int64)
        first[number] = np.arange(len(number))
        places = np.zeros(size, np.int64)
        for value in np.flatnonzero(first >= 0).tolist():
            row = first[value]
            if repeats[row] > 0:  # else place 0, with 0 repeats
                places[value] = len(self.parts)
                self.parts.append(make(tuple(int(column[row]) for column in columns)))
        return places[number], repeats


def _numbered(columns: tuple[Codes, ...], repeats: Codes) -> tuple[Codes, int]:
    """A number for each row of ``columns`` (N,), equal for equal rows, 0 where nothing repeats.

    With the number of numbers. Widths go in steps: what is left after dividing by the step is so
    small that equal numbers are found by looking them up instead of by sorting.
    """
    here = repeats > 0
    number, size = np.zeros(len(repeats), np.int64), 1
    for column in columns:
        low = int(column[here].min()) if here.any() else 0
        steps = np.where(here, column - low, 0)
        step = int(np.gcd.reduce(steps)) or 1
        steps //= step
        count = int(steps.max(initial=0)) + 1
        if size * count > LOOKED_UP:
            number = np.unique(number, return_inverse=True)[1].ravel()
            size = int(number.max(initial=0)) + 1
        number, size = number * count + steps, size * count
    return np.where(here, number + 1, 0), size + 1
