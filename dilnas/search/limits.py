"""What a search may spend in all: candidates, seconds, GPU-seconds; and how far it is.

    0 ─────────── NEW_SHARE ─────────────── 1 - FINAL_SHARE ─────── 1
      new candidates       only promotions                 only the final re-training

Each limit is for all sessions of a search together. No unit of work begins beyond its share; units
that have begun are finished, so a limit may be exceeded by the longest of them. When a limit is
raised after the search had come to its end, the shares are those of what was added.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from dilnas.search.candidate import REJECTED, RUNNING
from dilnas.search.ledger import Ledger
from dilnas.search.settings import Settings
from dilnas.search.spend import final_work, gpu_seconds

__all__ = ["FINAL_SHARE", "NEW_SHARE", "Limits", "finished"]

NEW_SHARE = 0.6
"""Share of the search's part of a limit in which new candidates start, before promotions only."""

FINAL_SHARE = 0.25
"""Share of a limit that is kept for training the front again, where that was asked for."""

TRIAL_LIMITS = ("trials", "time_limit", "gpu_hours")
"""Settings that say how many candidates are trained."""

FRESH = 1.0
"""Seconds for which a sum of GPU-seconds is not made again."""


class Limits:
    """Whether a search is past its limits.

    Args:
        settings: with the limits.
        ledger: what was spent.
        clock: seconds of all sessions so far.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._clock = clock
        self._search = 1.0 - FINAL_SHARE if settings.final_seeds else 1.0
        ended = ledger.notes().get("finished") or {}
        self._seconds_before = float(ended.get("seconds", 0.0))
        self._gpu_seconds_before = float(ended.get("gpu_seconds", 0.0))
        self._summed: tuple[float, float] | None = None

    def nothing_new(self) -> bool:
        """Whether no new candidate may start."""
        return self.full() or self._past(NEW_SHARE * self._search)

    def search_over(self) -> bool:
        """Whether no candidate may be trained further."""
        return self._past(self._search)

    def over(self) -> bool:
        """Whether nothing may be trained at all."""
        return self._past(1.0)

    def full(self) -> bool:
        """Whether as many candidates have started as were asked for."""
        started = sum(c.state != REJECTED for c in self._ledger.candidates)
        return started >= self._settings.most_candidates

    def seconds_left(self) -> float:
        """Seconds to the end of the time limit; infinite without one."""
        limit = self._settings.time_limit
        return math.inf if limit is None else max(0.0, limit - self._clock())

    def advice(self) -> str:
        """What to do for more candidates, as the end of a message."""
        share = NEW_SHARE * self._search
        bind = [
            name
            for name, binds in (
                ("--trials", self.full()),
                ("--time-limit", self._late(share)),
                ("--gpu-hours", self._dear(share)),
            )
            if binds
        ]
        return f"; raise {' and '.join(bind)} to go on" if bind else ": nothing more fits"

    def _past(self, share: float) -> bool:
        return self._late(share) or self._dear(share)

    def _late(self, share: float) -> bool:
        limit = self._settings.time_limit
        return limit is not None and self._clock() >= _upto(share, self._seconds_before, limit)

    def _dear(self, share: float) -> bool:
        hours = self._settings.gpu_hours
        if hours is None:
            return False
        return self.gpu_seconds() >= _upto(share, self._gpu_seconds_before, hours * 3600)

    def gpu_seconds(self) -> float:
        """GPU-seconds spent so far, at most ``FRESH`` seconds ago."""
        now = self._clock()
        if self._summed is None or now - self._summed[0] >= FRESH:
            sessions = self._ledger.sessions
            again = final_work(self._ledger.notes(), sessions, now)
            spent = gpu_seconds(self._ledger.candidates, sessions, now, again)
            self._summed = (now, spent)
        return self._summed[1]

    def ending(self) -> dict[str, Any]:
        """What the ledger is to keep of the limits when the search comes to its end."""
        return {
            **self._settings.limits(),
            "candidates": self._ledger.next_number,
            "seconds": self._clock(),
            "gpu_seconds": self.gpu_seconds(),
        }


def _upto(share: float, before: float, limit: float) -> float:
    """``share`` of a limit, or of what was added to it since ``before`` had been spent."""
    return before + share * (limit - before)


def finished(ledger: Ledger, settings: Settings, limits: Limits) -> bool:
    """Whether all trials have ended before, and the limits allow nothing more now."""
    ended = ledger.notes().get("finished")
    if ended is None or any(c.state == RUNNING for c in ledger.candidates):
        return False
    same = all(ended.get(name) == getattr(settings, name) for name in TRIAL_LIMITS)
    return same or limits.nothing_new()
