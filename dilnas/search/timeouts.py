"""How long a training may take before it is taken for a hang.

Without a limit of the user's, from like trainings that have ended: those to the same rung, the time
of a cheaper network counted in proportion to its FLOPs. Ten times the longest of them, ten minutes
at least: a hang costs a worker for a while, and a slow network is not killed. For a rung that none
has ended, ten times more than the rung below; while nothing has ended at all, a day.
"""

from __future__ import annotations

from collections.abc import Callable

from dilnas.search.ledger import Ledger
from dilnas.search.spend import work
from dilnas.search.unit import Unit

__all__ = ["FACTOR", "SHORTEST", "UNKNOWN", "TimeOut"]

FACTOR = 10.0
SHORTEST = 600.0
UNKNOWN = 24 * 3600.0


class TimeOut:
    """Seconds that a unit may run: called with it.

    Args:
        ledger: with the like trainings.
        clock: seconds of all sessions so far.
        fixed: the same for every rung; None: from like trainings.
    """

    def __init__(self, ledger: Ledger, clock: Callable[[], float], fixed: float | None) -> None:
        self._ledger = ledger
        self._clock = clock
        self._fixed = fixed

    def __call__(self, unit: Unit) -> float:
        """Seconds that ``unit`` may run, as known now; grows with what other units take."""
        if self._fixed is not None:
            # A final re-training begins from the start: all rungs are one unit.
            return self._fixed * (unit.rung + 1 if unit.final else 1)
        longest = self._longest(unit)
        if not longest:
            return UNKNOWN
        rung = max(longest)
        took = sum(longest.values()) if unit.final else longest[rung]
        return max(SHORTEST, took * FACTOR ** (1 + unit.rung - rung))

    def _longest(self, unit: Unit) -> dict[int, float]:
        """Longest training to each rung up to the unit's, if of the unit's cost."""
        candidates, sessions = self._ledger.candidates, self._ledger.sessions
        own = candidates[unit.number].figures.gflops
        now = self._clock()
        found: dict[int, float] = {}
        for candidate in candidates:
            ratio = max(1.0, own / candidate.figures.gflops)
            for one in work(candidate, sessions, now):
                if one.rung <= min(unit.rung, candidate.rung) and not one.lost:
                    found[one.rung] = max(found.get(one.rung, 0.0), one.seconds * ratio)
        return found
