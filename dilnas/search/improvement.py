"""Expected hypervolume improvement where one objective is known exactly.

The cost of an architecture is a closed form, so only its accuracy is uncertain. What a point of
known cost c adds to the hypervolume is then a sum over the front's steps to the right of c, and
the expectation of each is the textbook expected improvement over that step (Jones et al. 1998):

    E[gain] = Σ width(step ∩ [c, ∞)) · E[max(0, error(step) - error)]

The last factor is the model's to give. Exact, without sampling, for thousands of candidates at
once; a sampler that models the cost as well as the accuracy spends scores on what is known.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["expected_gain", "worst_error"]

Array = NDArray[np.float64]

MARGIN = 0.1
"""Share of the errors' range by which the corner lies beyond the front's cheap end."""


def worst_error(errors: Array, end: float) -> float:
    """The reference point's error: the worst of ``errors`` (N,), or a little beyond ``end``.

    ``end`` is expected of the cheapest architecture there is. That one is on every front, however
    bad, and must be able to add something.
    """
    return float(max(errors.max(), end + MARGIN * (end - errors.min())))


def expected_gain(
    below: Callable[[Array], Array], cost: Array, front: Array, corner: tuple[float, float]
) -> Array:
    """(M,) expected hypervolume that candidates add to ``front``.

    Args:
        below: of error levels (S,): (M, S), how far each candidate's error is expected to lie below
            each level, E[max(0, level - error)].
        cost: (M,) each candidate's cost, exact.
        front: (K, 2) errors and costs of what is known; dominated rows do no harm.
        corner: error and cost of the reference point; nothing beyond counts.
    """
    edges, errors = _steps(front, corner)
    width = np.clip(edges[None, 1:] - np.maximum(edges[None, :-1], cost[:, None]), 0.0, None)
    return np.asarray((width * below(errors)).sum(axis=1))


def _steps(front: Array, corner: tuple[float, float]) -> tuple[Array, Array]:
    """Edges (S + 1,) along the cost and the best error (S,) known between two of them."""
    inside = front[(front[:, 0] < corner[0]) & (front[:, 1] < corner[1])]
    order = np.lexsort((inside[:, 0], inside[:, 1]))
    costs = inside[order, 1]
    best = np.minimum.accumulate(inside[order, 0]) if len(order) else inside[order, 0]
    down = np.diff(best, prepend=corner[0]) < 0  # a dominated point is no step
    edges = np.concatenate([[-np.inf], costs[down], [corner[1]]])
    return edges, np.concatenate([[corner[0]], best[down]])
