"""The CPU as a measured device: wall time of a call, ``/proc/stat`` as evidence."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from dilnas.measure.cpu import CpuUse
from dilnas.measure.device import Look, Run
from dilnas.measure.doubts import cpu_doubts
from dilnas.records import Environment

__all__ = ["CpuDevice"]


class CpuDevice:
    """``clock`` is for tests: seconds, never going back."""

    name = "cpu"

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock

    def clock(self) -> float:
        """Seconds of the host's clock."""
        return self._clock()

    def sleep(self, seconds: float) -> None:
        """Sleep really."""
        time.sleep(seconds)

    def run(self, call: Callable[[], object]) -> Run:
        """One call between two readings of the clock."""
        begin = self._clock()
        call()
        seconds = self._clock() - begin
        return Run(seconds, seconds)

    def synchronize(self) -> None:
        """A CPU is idle when the call has returned."""

    def look(self) -> Look:
        """CPU time of this process and of everything else."""
        return CpuUse.now()

    def doubts(self, looks: Sequence[Look]) -> list[str]:
        """Other load and stolen time between the first look and the last."""
        first, last = looks[0], looks[-1]
        if not (isinstance(first, CpuUse) and isinstance(last, CpuUse)):
            return []
        return cpu_doubts(first, last)

    def evidence(self, looks: Sequence[Look]) -> dict[str, Any]:
        """Share of the cores that this process and others used meanwhile."""
        first, last = looks[0], looks[-1]
        if not (isinstance(first, CpuUse) and isinstance(last, CpuUse)):
            return {}
        wall = last.wall_s - first.wall_s
        if wall <= 0 or first.busy_s is None or last.busy_s is None:
            return {"own_cores": None, "other_cores": None}
        own = (last.own_s - first.own_s) / wall
        return {
            "own_cores": round(own, 3),
            "other_cores": round(max((last.busy_s - first.busy_s) / wall - own, 0.0), 3),
        }

    def environment(self) -> Environment:
        """This machine's processor."""
        from dilnas.measure.machine import environment

        return environment(self.name)
