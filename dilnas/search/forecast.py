"""What the scores so far say about every architecture: its error at full fidelity, with the doubt.

One model serves the proposer, which asks what to try, and the scheduler, which asks what goes on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dilnas.cost import pareto_ranks
from dilnas.search.belief import Belief, ErrorModel
from dilnas.search.candidate import RUNNING, Candidate
from dilnas.search.domain import Domain, excess
from dilnas.search.evidence import Evidence, evidence

__all__ = ["Forecast", "Forecaster", "Seen"]

Array = NDArray[np.float64]

MOST_SCORES = 400
"""Scores that the model is conditioned on: those near the front, and a spread of the others."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Codes (N, A) as the model sees them: inputs (N, D), log cost (N,), within budget (N,)."""

    codes: Any
    inputs: Array
    log_cost: Array
    fits: Any


@dataclass(frozen=True, slots=True)
class Forecast:
    """A model fitted to the candidates of one moment.

    Attributes:
        forecaster: what made it.
        model: of the error; candidates in training count as having scored what it expects.
        known: the codes that it knows, scored ones first, those in training after them.
    """

    forecaster: Forecaster
    model: ErrorModel
    known: Seen

    def belief(self, seen: Seen) -> Belief:
        """What is believed of the errors at full fidelity."""
        return self.model.of(seen.inputs)

    def of(self, candidates: Sequence[Candidate]) -> tuple[Belief, Array]:
        """What is believed of the errors of ``candidates``, and their log costs (N,)."""
        seen = self.forecaster.seen(np.array([c.code for c in candidates]))
        return self.belief(seen), seen.log_cost


class Forecaster:
    """Fits forecasts; the same candidates give the same one, and the last is kept.

    Args:
        domain: where codes come from.
        pool: (N, A) codes within budget, for the scale of the costs.
        budgets: limits by cost name.
        cost_name: the cost that is an objective.

    Attributes:
        highest: logarithm of the largest cost that counts.
        cheapest: the one of the pool that costs least.
    """

    def __init__(
        self, domain: Domain, pool: Any, budgets: dict[str, float], cost_name: str
    ) -> None:
        self._domain, self._budgets, self._cost_name = domain, budgets, cost_name
        self._last = np.array([max(1, length - 1) for _, length in domain.axes])
        self._names = sorted({cost_name, "mparams"})
        logs = {name: np.log(values) for name, values in domain.costs(pool).items()}
        self._low = {name: float(logs[name].min()) for name in self._names}
        self._span = {name: float(np.ptp(logs[name])) or 1.0 for name in self._names}
        dearest = float(logs[cost_name].max())
        self.highest = math.log(budgets[cost_name]) if cost_name in budgets else dearest
        self.cheapest = self.seen(pool[[int(np.argmin(logs[cost_name]))]])
        self._kept: tuple[Any, Forecast] | None = None

    def seen(self, codes: Any) -> Seen:
        """``codes`` (N, A) with all that is computed of them, each cost once."""
        costs = self._domain.costs(codes)
        there = np.isfinite(costs[self._cost_name])
        logs = {name: np.log(np.where(there, costs[name], 1.0)) for name in self._names}
        scaled = [(logs[name] - self._low[name]) / self._span[name] for name in self._names]
        inputs = np.concatenate([codes / self._last, np.stack(scaled, axis=1)], axis=1)
        fits = there & (excess(costs, self._budgets) <= 1)
        return Seen(codes, inputs, logs[self._cost_name], fits)

    def forecast(self, candidates: Sequence[Candidate]) -> Forecast:
        """Fitted to the scores of ``candidates``; at least one must have some."""
        pending = [c for c in candidates if c.state == RUNNING and c.rung < 0]
        state = (
            tuple((c.number, c.rung) for c in candidates if c.alive and c.rung >= 0),
            tuple(c.number for c in pending),
        )
        if self._kept is None or self._kept[0] != state:
            self._kept = state, self._fitted(candidates, [c.code for c in pending])
        return self._kept[1]

    def _fitted(self, candidates: Sequence[Candidate], pending: list[tuple[int, ...]]) -> Forecast:
        known = _nearest_the_front(evidence(candidates, self._cost_name), self._cost_name)
        seen = self.seen(np.array([c.code for c in known.candidates] + pending))
        scored = len(known.candidates)
        errors = 1 - _without_collapses(known.accuracy)
        model = ErrorModel(seen.inputs[:scored], errors, known.extra)
        return Forecast(self, model.believing(seen.inputs[scored:]), seen)


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
    return Evidence([known.candidates[i] for i in keep], known.accuracy[keep], known.extra[keep])
