"""Expected hypervolume improvement where one objective is known exactly.

The cost of an architecture is a closed form, so only its accuracy is uncertain. What a point of
known cost c adds to the hypervolume is then a sum over the front's steps to the right of c, and
the expectation of each is the textbook expected improvement over that step (Jones et al. 1998):

    E[gain] = Σ width(step ∩ [c, ∞)) · E[max(0, error(step) - error)]

Exact, without sampling, for thousands of candidates at once; a sampler that models the cost as well
as the accuracy spends scores on learning what is known.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

__all__ = ["expected_gain"]

Array = NDArray[np.float64]


def expected_gain(
    mean: Array, deviation: Array, cost: Array, front: Array, corner: tuple[float, float]
) -> Array:
    """(M,) expected hypervolume that candidates add to ``front``.

    Args:
        mean: (M,) of each candidate's error.
        deviation: (M,) of the same; positive.
        cost: (M,) its cost, exact.
        front: (K, 2) errors and costs of what is known; dominated rows do no harm.
        corner: error and cost of the reference point; nothing beyond counts.
    """
    edges, errors = _steps(front, corner)
    width = np.clip(edges[None, 1:] - np.maximum(edges[None, :-1], cost[:, None]), 0.0, None)
    z = (errors[None] - mean[:, None]) / deviation[:, None]
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    gain = deviation[:, None] * (z * ndtr(z) + density)
    return np.asarray((width * gain).sum(axis=1))


def _steps(front: Array, corner: tuple[float, float]) -> tuple[Array, Array]:
    """Edges (S + 1,) along the cost and the best error (S,) known between two of them."""
    inside = front[(front[:, 0] < corner[0]) & (front[:, 1] < corner[1])]
    order = np.lexsort((inside[:, 0], inside[:, 1]))
    costs = inside[order, 1]
    best = np.minimum.accumulate(inside[order, 0]) if len(order) else inside[order, 0]
    down = np.diff(best, prepend=corner[0]) < 0  # a dominated point is no step
    edges = np.concatenate([[-np.inf], costs[down], [corner[1]]])
    return edges, np.concatenate([[corner[0]], best[down]])
