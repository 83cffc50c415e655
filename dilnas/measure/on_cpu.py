"""The CPU as a measured device: wall time of a call, what Linux counts as evidence."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from dilnas.measure.cpu import CpuUse
from dilnas.measure.device import Look, Run
from dilnas.measure.doubts import cpu_doubts
from dilnas.records import Environment

__all__ = ["CpuDevice", "cpu_evidence"]


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

    def run(self, call: Callable[[], object], calls: int = 1) -> Run:
        """The calls between two readings of the clock, and nothing else between them."""
        if calls == 1:  # no loop: it is the case that is timed
            begin = self._clock()
            call()
            seconds = self._clock() - begin
            return Run(seconds, seconds)
        begin = self._clock()
        for _ in range(calls):
            call()
        seconds = self._clock() - begin
        return Run(seconds, seconds, None, calls)

    def synchronize(self) -> None:
        """A CPU is idle when the call has returned."""

    def look(self) -> Look:
        """CPU time of this process and of everything else, and how many threads torch uses."""
        import torch

        return CpuUse.now(threads=torch.get_num_threads())

    def energy_j(self) -> float | None:
        """None: no counter that a user may read everywhere."""
        return None

    def doubts(self, looks: Sequence[Look]) -> list[str]:
        """Other load, waiting and stolen time between the first look and the last."""
        uses = [look for look in looks if isinstance(look, CpuUse)]
        return cpu_doubts(uses[0], uses[-1]) if uses else []

    def evidence(self, looks: Sequence[Look]) -> dict[str, Any]:
        """Cores that this process and others used meanwhile, and how long its threads waited."""
        return cpu_evidence([look for look in looks if isinstance(look, CpuUse)])

    def environment(self) -> Environment:
        """This machine's processor."""
        from dilnas.measure.machine import environment

        return environment(self.name)


def cpu_evidence(looks: Sequence[CpuUse]) -> dict[str, Any]:
    """Between the first look and the last; None where the system does not tell."""
    if not looks:
        return {}
    first, last = looks[0], looks[-1]
    wall = last.wall_s - first.wall_s
    out: dict[str, Any] = {
        "own_cores": None,
        "other_cores": None,
        "waited_s": None,
        "load_average_1min": last.load_1min,
    }
    if first.waited_s is not None and last.waited_s is not None:
        out["waited_s"] = round(max(last.waited_s - first.waited_s, 0.0), 4)
    if wall > 0 and first.busy_s is not None and last.busy_s is not None:
        own = (last.own_s - first.own_s) / wall
        out["own_cores"] = round(own, 3)
        out["other_cores"] = round(max((last.busy_s - first.busy_s) / wall - own, 0.0), 3)
    return out
