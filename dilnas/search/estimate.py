"""How long a search will still take."""

from __future__ import annotations

from collections.abc import Sequence

from dilnas.search.candidate import Candidate
from dilnas.search.scheduler import PromotionRule

__all__ = ["work_left"]


def work_left(candidates: Sequence[Candidate], rule: PromotionRule, trials: int) -> float | None:
    """Worker-seconds to the end of ``trials`` candidates; None before the first rung is done.

    Units that are left, by rung, times what such a unit took; a rung that none has finished is
    taken to be ``rule.eta`` times as dear as the one before.
    """
    alive = [c for c in candidates if c.alive]
    seconds = left = 0.0
    for rung in range(rule.rungs):
        took = [_spent(c, rung) for c in alive if c.rung >= rung]
        if took:
            seconds = sum(took) / len(took)
        elif not seconds:
            return None
        else:
            seconds *= rule.eta
        left += max(0.0, trials * rule.reaching(rung) - len(took)) * seconds
    return left


def _spent(candidate: Candidate, rung: int) -> float:
    """Seconds that a candidate's ``rung`` alone took."""
    before = candidate.scores[rung - 1].seconds if rung else 0.0
    return candidate.scores[rung].seconds - before
