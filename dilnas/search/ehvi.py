"""The sampler of dilnas: the code that is expected to add most to the front's hypervolume.

A Gaussian process says what accuracy a code would reach, the closed form says what it costs, and
``expected_gain`` is exact. Candidates are compared in thousands: all codes of a small domain, or
random ones and the neighbours of what is best so far, refined by climbing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dilnas.cost import pareto_ranks
from dilnas.search.domain import FEW
from dilnas.search.forecast import Forecast
from dilnas.search.improvement import expected_gain, worst_error
from dilnas.search.moves import steps_from

__all__ = ["promising"]

Array = NDArray[np.float64]

NEIGHBOURS = 2048
CLIMBERS, CLIMBS = 12, 4


def promising(
    forecast: Forecast, pool: Any, lengths: Sequence[int], rng: Any
) -> Iterator[tuple[int, ...]]:
    """Codes within budget by falling expected gain; those of known networks among them.

    Args:
        forecast: what is known.
        pool: (N, A) codes within budget to compare, all of them in a small domain.
        lengths: number of values of each axis.
        rng: numpy's generator.
    """
    known = forecast.known
    errors = forecast.belief(known).error
    front = np.stack([errors, known.log_cost], axis=1)
    end = float(forecast.belief(forecast.forecaster.cheapest).error[0])
    corner = (worst_error(errors, end), forecast.forecaster.highest)

    def gain(rows: Any) -> Array:
        asked = forecast.forecaster.seen(rows)
        found = expected_gain(forecast.belief(asked).below, asked.log_cost, front, corner)
        return np.where(asked.fits, found, -1.0)

    leaders = known.codes[pareto_ranks(front) <= 1]
    rows, gains = _climbed(gain, pool, leaders, lengths, rng)
    for i in np.argsort(-gains, kind="stable"):
        if gains[i] < 0:
            return
        yield tuple(int(value) for value in rows[i])


def _climbed(
    gain: Callable[[Any], Array], pool: Any, leaders: Any, lengths: Sequence[int], rng: Any
) -> tuple[Any, Array]:
    """Rows (M, A) with their gains: the pool, and better ones found from it by small steps."""
    if np.prod(np.array(lengths, float)) <= FEW:
        return pool, gain(pool)
    rows = np.concatenate([pool, steps_from(leaders, lengths, NEIGHBOURS, rng)])
    gains = gain(rows)
    for _ in range(CLIMBS):
        best = rows[np.argsort(-gains, kind="stable")[:CLIMBERS]]
        more = steps_from(best, lengths, NEIGHBOURS // 4, rng)
        rows, gains = np.concatenate([rows, more]), np.concatenate([gains, gain(more)])
    return rows, gains
