"""Where the time goes: by part of the network and by operator, beside what the device can do."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Breakdown", "BreakdownRow", "DeviceRates"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRates:
    """What this device was seen to do at best, in the workload's dtype and with its threads.

    ``macs_per_s``: multiply-adds a second of a large matrix product. ``bytes_per_s``: bytes read
    plus bytes written a second by a copy larger than the caches. ``doubts``: a sentence each.
    """

    macs_per_s: float
    bytes_per_s: float
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakdownRow:
    """One part or one operator of one batch.

    Attributes:
        name: "stage 1", "head" (a part) or "linear", "msda", "gelu" (an operator).
        time_s: seconds observed for one batch.
        macs: exact multiply-adds of one batch.
        moved_bytes: exact bytes that its operators must read and write for one batch, once each:
            inputs, outputs and weights, no cache.
        copy_s: seconds of ``time_s`` spent in layout copies: copying moves bytes that need not.
    """

    name: str
    time_s: float
    macs: int
    moved_bytes: int
    copy_s: float = 0.0

    @property
    def macs_per_byte(self) -> float:
        """Arithmetic intensity."""
        return self.macs / self.moved_bytes if self.moved_bytes else 0.0

    def attained(self, rates: DeviceRates) -> float:
        """Least time that ``rates`` allow over the time observed: 1 is the roof."""
        if self.time_s <= 0:
            return 0.0
        least = max(self.macs / rates.macs_per_s, self.moved_bytes / rates.bytes_per_s)
        return least / self.time_s

    def bound(self, rates: DeviceRates) -> str:
        """Which roof is nearer: "compute" or "memory"."""
        compute_s = self.macs / rates.macs_per_s
        return "compute" if compute_s >= self.moved_bytes / rates.bytes_per_s else "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """Time of one batch by part and by operator.

    Attributes:
        parts: stem, stage 1, …, head, then "outside": what no part accounts for.
        operators: the same time by operator, largest first, "other" included.
        total_s: seconds of the instrumented batch; both lists sum to it.
        plain_s: seconds of the same batch without instruments: the median of the latency.
        rates: what the device can do.
        bottleneck: a sentence.
        method: how times were taken, in words.
        doubts: what makes them doubtful, a sentence each.
    """

    parts: tuple[BreakdownRow, ...]
    operators: tuple[BreakdownRow, ...]
    total_s: float
    plain_s: float
    rates: DeviceRates
    bottleneck: str
    method: str
    doubts: tuple[str, ...] = ()
