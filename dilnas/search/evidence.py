"""What the ledger's scores say about full fidelity: one number a candidate, and how sure it is.

A candidate that stopped at a low rung is compared with one that went further by what those that
have both scores show: full = low + a + b · low + c · log cost, a ridge regression whose residual
is the uncertainty of the prediction. With a few pairs it is an offset; with more, also that large
networks learn slower, and that those who were promoted had luck.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dilnas.search.candidate import Candidate

__all__ = ["Evidence", "evidence"]

Array = NDArray[np.float64]

ENOUGH_PAIRS = 3
"""Candidates with scores at two rungs for one to say something about the other."""

STIFFNESS = 4.0
"""Pairs that the prior of no slope weighs as much as."""


class Evidence:
    """Scored candidates with their accuracy at one rung, observed or predicted.

    Attributes:
        candidates: those with a score, alive, by number.
        accuracy: (N,) at the rung, 0..1.
        extra: (N,) variance of it beyond that of an observed score.
    """

    def __init__(self, candidates: list[Candidate], accuracy: Array, extra: Array) -> None:
        self.candidates, self.accuracy, self.extra = candidates, accuracy, extra


def evidence(candidates: Sequence[Candidate], cost_name: str) -> Evidence:
    """What ``candidates`` show about the highest rung that ``ENOUGH_PAIRS`` of them reached."""
    scored = [c for c in candidates if c.alive and c.rung >= 0]
    rungs = [c.rung for c in scored]
    top = max((r for r in set(rungs) if sum(v >= r for v in rungs) >= ENOUGH_PAIRS), default=0)
    accuracy, extra = np.empty(len(scored)), np.zeros(len(scored))
    cost = np.log([c.figures.get(cost_name) for c in scored]) if scored else np.empty(0)
    for rung in sorted(set(rungs)):
        mine = np.array([i for i, r in enumerate(rungs) if r == rung])
        low = np.array([scored[i].scores[min(rung, top)].accuracy for i in mine])
        if rung >= top:
            accuracy[mine] = low
            continue
        both = np.array([i for i, r in enumerate(rungs) if r >= top])
        before = np.array([scored[i].scores[rung].accuracy for i in both])
        after = np.array([scored[i].scores[top].accuracy for i in both])
        accuracy[mine], extra[mine] = _carried(before, after, cost[both], low, cost[mine])
    return Evidence(scored, accuracy, extra)


def _carried(
    before: Array, after: Array, cost: Array, low: Array, low_cost: Array
) -> tuple[Array, float]:
    """Predictions of the later score for ``low`` and the variance of their residual."""
    centre, spread = before.mean(), before.std() or 1.0
    level, width = cost.mean(), cost.std() or 1.0
    rows = np.stack([(before - centre) / spread, (cost - level) / width], axis=1)
    change = after - before
    offset = change.mean()
    slope = np.linalg.solve(rows.T @ rows + STIFFNESS * np.eye(2), rows.T @ (change - offset))
    rest = change - offset - rows @ slope
    asked = np.stack([(low - centre) / spread, (low_cost - level) / width], axis=1)
    free = max(1.0, len(before) - 1 - 2 * len(before) / (len(before) + STIFFNESS))
    predicted = low + offset + np.clip(asked, -3, 3) @ slope
    return predicted, float(rest @ rest) / free
