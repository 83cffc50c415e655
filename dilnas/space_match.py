"""Which codes of a space are a given architecture, and why none is.

Axes set different fields, so which values fit can be told axis by axis: the codes of one network
are the product of these sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from dilnas.arch import Architecture
from dilnas.errors import SpaceError
from dilnas.space_fields import Axis, Value, msda_blocks, shown
from dilnas.space_file import Definition, Place

__all__ = ["candidates", "checked_codes", "tied_groups", "why_not"]

ORDER = ("depth", "dim", "num_heads", "msda_share", "window_size", "dilations", "mlp_ratio")
"""Stage fields in the order in which reasons are given: a share means nothing before its depth."""


def fits(architecture: Architecture, place: Place, value: Value) -> bool:
    """Whether ``value`` at ``place`` gives what the architecture has there.

    A stage without MSDA blocks has no window and no dilations, a window of 1 has no dilations:
    there every value fits.
    """
    field, number = place
    if not number:
        return bool(getattr(architecture, field) == value)
    stage = architecture.stages[number - 1]
    if field == "msda_share":
        return msda_blocks(stage.depth, value) == stage.msda_depth
    if field in ("window_size", "dilations") and not stage.msda_depth:
        return True
    if field == "dilations" and stage.window_size == 1:
        return True
    return bool(getattr(stage, field) == value)


def candidates(
    definition: Definition, architecture: Architecture, only: Sequence[int] | None = None
) -> list[list[int]]:
    """For each axis the indices, ascending, that fit; the stages must be as many.

    ``only``: numbers of the axes to look at, all if None.
    """
    axes = definition.axes if only is None else [definition.axes[i] for i in only]
    return [
        [i for i in range(len(axis)) if _fits_everywhere(architecture, axis, i)] for axis in axes
    ]


def _fits_everywhere(architecture: Architecture, axis: Axis, index: int) -> bool:
    return all(
        fits(architecture, (axis.field, stage), axis.value(index, stage))
        for stage in axis.stages or (0,)
    )


def why_not(definition: Definition, architecture: Architecture) -> str | None:
    """The first reason, with its path, why the architecture is outside; None if it is inside."""
    if len(architecture.stages) != definition.num_stages:
        return f"stages: the space has {definition.num_stages} (got {len(architecture.stages)})"
    for place in sorted([*definition.setter, *definition.fixed], key=_rank):
        if not any(fits(architecture, place, value) for value in definition.values(place)):
            return _reason(definition, architecture, place)
    for axis, found in zip(definition.axes, candidates(definition, architecture), strict=True):
        if not found:
            stages = ", ".join(map(str, axis.stages))
            return f"axis {axis.name} ties {axis.field} of stages {stages}: these do not agree"
    return None


def _rank(place: Place) -> tuple[int, int, str]:
    return place[1], ORDER.index(place[0]) if place[0] in ORDER else 0, place[0]


def _reason(definition: Definition, architecture: Architecture, place: Place) -> str:
    field, number = place
    values: Sequence[Value] = definition.values(place)
    if not number:
        path, got = field, getattr(architecture, field)
    else:
        stage = architecture.stages[number - 1]
        path = f"stages[{number - 1}].{'msda_depth' if field == 'msda_share' else field}"
        got = getattr(stage, "msda_depth" if field == "msda_share" else field)
        if field == "msda_share":
            blocks = [msda_blocks(stage.depth, share) for share in values]
            values = [value for value, _ in groupby(blocks)]
    allowed = ", ".join(shown(value) for value in values)
    return f"{path}: {definition.source(place)} allows {allowed} (got {shown(got)})"


def tied_groups(axes: Sequence[Axis]) -> list[list[int]]:
    """Axes that can make two codes one network, grouped by the stages that they touch."""
    groups: list[tuple[set[int], list[int]]] = []
    for i, axis in enumerate(axes):
        if axis.field not in ("depth", "msda_share", "window_size", "dilations"):
            continue
        stages, members = set(axis.stages), [i]
        for group in [group for group in groups if group[0] & stages]:
            groups.remove(group)
            stages, members = stages | group[0], sorted([*members, *group[1]])
        groups.append((stages, members))
    return [members for _, members in groups]


def checked_codes(axes: Sequence[Axis], codes: Any) -> npt.NDArray[np.int64]:
    """Codes as an int64 array (N, A). Raises SpaceError if they are none."""
    rows = np.asarray(codes)
    if rows.ndim and len(rows) == 0:
        rows = rows.reshape(0, len(axes)).astype(np.int64)
    if rows.ndim != 2 or rows.shape[1] != len(axes) or rows.dtype.kind not in "iu":
        raise SpaceError(
            "a code is one integer an axis", where="code",
            expected=f"{len(axes)} integers", got=f"{rows.dtype} of shape {rows.shape}",
        )  # fmt: skip
    lengths = np.array([len(axis) for axis in axes])
    if (bad := (rows < 0) | (rows >= lengths)).any():
        row, column = np.argwhere(bad)[0]
        axis = axes[column]
        raise SpaceError(
            "index out of range", where=f"code, axis {axis.name}",
            expected=f"0..{len(axis) - 1}", got=int(rows[row, column]),
        )  # fmt: skip
    return rows.astype(np.int64, copy=False)
