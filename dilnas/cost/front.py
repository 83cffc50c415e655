"""Pareto fronts: every objective is minimised, a row is a point.

A row with a NaN or an infinity is no result: it is never on the front, has the last rank and no
hypervolume. Rows that are equal share their fate: both are on the front, or neither.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dilnas.errors import InputError

__all__ = ["hypervolume", "pareto_mask", "pareto_ranks"]


def pareto_mask(values: ArrayLike) -> NDArray[np.bool_]:
    """Which rows of ``values`` (N, M) no other row dominates, (N,) bool.

    A row dominates another when it is nowhere larger and somewhere smaller.
    Raises InputError when ``values`` is not (N, M) numbers.
    """
    import moocore

    points, finite = _points(values)
    mask = np.zeros(len(points), np.bool_)
    if finite.any():
        mask[finite] = moocore.is_nondominated(_planar(points[finite]), keep_weakly=True)
    return mask


def pareto_ranks(values: ArrayLike) -> NDArray[np.int64]:
    """Rank of each row of ``values`` (N, M): 0 on the front, 1 on the front of the rest, …; (N,).

    Rows with a NaN or an infinity rank behind all others. Raises InputError like ``pareto_mask``.
    """
    import moocore

    points, finite = _points(values)
    ranks = np.zeros(len(points), np.int64)
    if finite.any():
        ranks[finite] = moocore.pareto_rank(_planar(points[finite]))
        ranks[~finite] = ranks[finite].max() + 1
    return ranks


def hypervolume(values: ArrayLike, reference: ArrayLike) -> float:
    """Volume that the rows of ``values`` (N, M) dominate below ``reference`` (M,).

    Rows that are not below the reference in every objective add nothing. The unit is the product
    of the objectives' units. Raises InputError when a shape is wrong or the reference not finite.
    """
    import moocore

    points, finite = _points(values)
    corner = np.asarray(reference, np.float64)
    if corner.shape != points.shape[1:] or not np.isfinite(corner).all():
        raise InputError(
            "must be one finite number an objective", where="reference",
            expected=f"{points.shape[1]} numbers", got=reference,
        )  # fmt: skip
    inside = points[finite & (points < corner).all(axis=1)]
    if not len(inside):
        return 0.0
    if points.shape[1] == 1:
        return float(corner[0] - inside.min())
    return float(moocore.hypervolume(inside, ref=corner))


def _points(values: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """``values`` as (N, M) float64, and which rows are finite."""
    try:
        points = np.array(values, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"objectives must be numbers: {error}", where="values") from error
    if points.ndim != 2 or points.shape[1] < 1:
        raise InputError(
            "objectives must be (points, objectives)", where="values", got=points.shape
        )
    finite: NDArray[np.bool_] = np.all(np.isfinite(points), axis=1)
    return points, finite


def _planar(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """At least two objectives, which moocore asks for: a constant one changes no order."""
    if points.shape[1] > 1:
        return points
    return np.column_stack([points, np.zeros(len(points))])
