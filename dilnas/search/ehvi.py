"""The sampler of dilnas: the code that is expected to add most to the front's hypervolume.

A Gaussian process says what accuracy a code would reach, the closed form says what it costs, and
``expected_gain`` is exact. Candidates are compared in thousands: all codes of a small domain, or
random ones and the neighbours of what is best so far, refined by climbing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dilnas.cost import pareto_ranks
from dilnas.search.candidate import RUNNING, Candidate
from dilnas.search.domain import FEW, Domain, excess
from dilnas.search.evidence import Evidence, evidence
from dilnas.search.improvement import expected_gain
from dilnas.search.moves import steps_from
from dilnas.search.surrogate import Surrogate

__all__ = ["promising"]

Array = NDArray[np.float64]

MOST_SCORES = 400
"""Scores that the model is conditioned on: those near the front, and a spread of the others."""

NEIGHBOURS = 2048
CLIMBERS, CLIMBS = 12, 4

Gain = Callable[[Any], Array]


def promising(
    candidates: Sequence[Candidate],
    rng: Any,
    *,
    domain: Domain,
    budgets: dict[str, float],
    cost_name: str,
    pool: Any,
) -> Iterator[tuple[int, ...]]:
    """Codes within budget by falling expected gain; those of known networks among them.

    Args:
        candidates: of the ledger; those in training count as having scored what is expected.
        rng: numpy's generator.
        domain: where codes come from.
        budgets: limits by cost name.
        cost_name: the cost that is an objective.
        pool: (N, A) codes within budget to compare, all of them in a small domain.
    """
    known = _nearest_the_front(evidence(candidates, cost_name), cost_name)
    view = _View(domain, pool, budgets, cost_name)
    pending = [c.code for c in candidates if c.state == RUNNING and c.rung < 0]
    seen = view.of(np.array([c.code for c in known.candidates] + pending))
    scored = len(known.candidates)
    model = Surrogate(seen.inputs[:scored], _without_collapses(known.accuracy), known.extra)
    model = model.believing(seen.inputs[scored:])
    errors = 1 - model.predict(seen.inputs)[0]
    front = np.stack([errors, seen.log_cost], axis=1)
    corner = (float(errors.max()), view.highest)

    def gain(rows: Any) -> Array:
        asked = view.of(rows)
        mean, deviation = model.predict(asked.inputs)
        found = expected_gain(1 - mean, deviation, asked.log_cost, front, corner)
        return np.where(asked.fits, found, -1.0)

    leaders = seen.codes[pareto_ranks(front) <= 1]
    rows, gains = _climbed(domain, gain, pool, leaders, rng)
    for i in np.argsort(-gains, kind="stable"):
        if gains[i] < 0:
            return
        yield tuple(int(value) for value in rows[i])


def _climbed(
    domain: Domain, gain: Gain, pool: Any, leaders: Any, rng: Any
) -> tuple[Any, Array]:  # fmt: skip
    """Rows (M, A) with their gains: the pool, and better ones found from it by small steps."""
    lengths = [length for _, length in domain.axes]
    if np.prod(np.array(lengths, float)) <= FEW:
        return pool, gain(pool)
    rows = np.concatenate([pool, steps_from(leaders, lengths, NEIGHBOURS, rng)])
    gains = gain(rows)
    for _ in range(CLIMBS):
        best = rows[np.argsort(-gains, kind="stable")[:CLIMBERS]]
        more = steps_from(best, lengths, NEIGHBOURS // 4, rng)
        rows, gains = np.concatenate([rows, more]), np.concatenate([gains, gain(more)])
    return rows, gains


@dataclass(frozen=True, slots=True)
class _Seen:
    """Codes (N, A) as the model sees them: inputs (N, D), log cost (N,), within budget (N,)."""

    codes: Any
    inputs: Array
    log_cost: Array
    fits: Any


class _View:
    """Turns codes into inputs: places on the axes and logarithms of costs, each 0..1."""

    def __init__(
        self, domain: Domain, pool: Any, budgets: dict[str, float], cost_name: str
    ) -> None:
        self._domain, self._budgets, self._cost_name = domain, budgets, cost_name
        self._last = np.array([max(1, length - 1) for _, length in domain.axes])
        self._names = sorted({cost_name, "mparams"})
        logs = {name: np.log(values) for name, values in domain.costs(pool).items()}
        self._low = {name: float(logs[name].min()) for name in self._names}
        self._span = {name: float(np.ptp(logs[name])) or 1.0 for name in self._names}
        self.highest = math.log(budgets[cost_name]) if cost_name in budgets else logs[
            cost_name].max()  # fmt: skip

    def of(self, codes: Any) -> _Seen:
        """``codes`` (N, A) with all that is computed of them, each cost once."""
        costs = self._domain.costs(codes)
        there = np.isfinite(costs[self._cost_name])
        logs = {name: np.log(np.where(there, costs[name], 1.0)) for name in self._names}
        scaled = [(logs[name] - self._low[name]) / self._span[name] for name in self._names]
        inputs = np.concatenate([codes / self._last, np.stack(scaled, axis=1)], axis=1)
        fits = there & (excess(costs, self._budgets) <= 1)
        return _Seen(codes, inputs, logs[self._cost_name], fits)


def _without_collapses(accuracy: Array) -> Array:
    """Accuracies with the far low ones pulled up: a training that went wrong bends no surface."""
    low, middle = np.quantile(accuracy, [0.25, 0.5])
    return np.maximum(accuracy, low - 4 * (middle - low)) if middle > low else accuracy


def _nearest_the_front(known: Evidence, cost_name: str) -> Evidence:
    """At most ``MOST_SCORES`` of them: two thirds by non-dominated rank, the rest evenly spread."""
    count = len(known.candidates)
    if count <= MOST_SCORES:
        return known
    costs = np.log([c.figures.get(cost_name) for c in known.candidates])
    order = np.argsort(pareto_ranks(np.stack([-known.accuracy, costs], axis=1)), kind="stable")
    leaders = MOST_SCORES * 2 // 3
    rest = np.sort(order[leaders:])
    spread = rest[np.linspace(0, len(rest) - 1, MOST_SCORES - leaders).round().astype(int)]
    keep = np.sort(np.concatenate([order[:leaders], spread]))
    return Evidence(
        [known.candidates[i] for i in keep], known.accuracy[keep], known.extra[keep]
    )  # fmt: skip
