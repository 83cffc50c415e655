"""The seconds of a search, all its sessions together.

    session 1   0 ──────────── 41.7 ✗ killed; the ledger knows of 40.0
    session 2                 40.0 ──────────── 95.2 end

The clock goes on where the ledger last saw it. It is kept there by every event of a unit and, while
long units run, by a beat every ``BEAT_SECONDS``. A kill therefore loses at most that much: a search
with a time limit then gets these seconds as a present, and never ends early for time that it did
not have.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from dilnas.search.finals import final_times

if TYPE_CHECKING:
    from dilnas.search.ledger import Ledger

__all__ = ["BEAT_SECONDS", "SearchClock", "elapsed"]

BEAT_SECONDS = 10.0
"""Seconds that a kill may take from the clock."""

NOTE = "elapsed_s"


def elapsed(ledger: Ledger) -> float:
    """Seconds that the search in ``ledger`` has run, as far as it knows."""
    times = [float(ledger.notes().get(NOTE, 0.0))]
    times += [session.at for session in ledger.sessions]
    for candidate in ledger.candidates:
        times += [attempt.at for attempt in candidate.attempts]
        times += [score.at for score in candidate.scores if score.at is not None]
        times += [candidate.failed_at] if candidate.failed_at is not None else []
    times += final_times(ledger.notes())
    return max(times)


class SearchClock:
    """Seconds that a search has run: called, it reads them; it begins with the object.

    Args:
        ledger: where the seconds of the sessions before are, and those of this one are kept.
        monotonic: seconds from anywhere on, that never go back.

    Attributes:
        before: seconds of the sessions before.
    """

    def __init__(self, ledger: Ledger, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._monotonic = monotonic
        self.before = elapsed(ledger)
        self._began = monotonic()
        self._kept = self.before

    def __call__(self) -> float:
        """Seconds of all sessions so far; never goes back."""
        return self.before + self._monotonic() - self._began

    def beat(self, *, now: bool = False) -> None:
        """Keep the time in the ledger if ``BEAT_SECONDS`` have passed since it was, or ``now``."""
        seconds = self()
        if now or seconds - self._kept >= BEAT_SECONDS:
            self._ledger.note(NOTE, round(seconds, 3))
            self._kept = seconds
