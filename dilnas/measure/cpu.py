"""What the CPU did, for this process and for all: the evidence for "something else was running"."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CpuUse", "affinity_cores", "available_memory_bytes", "cpu_name", "rss_high_water_bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuUse:
    """Counters at one moment, in seconds since some fixed start; None where not readable.

    Attributes:
        wall_s: wall clock.
        own_s: CPU time of this process, all its threads.
        busy_s: CPU time of everything on the machine, this process included.
        stolen_s: CPU time that a hypervisor gave to others.
        cores: cores of the machine.
        missing: why ``busy_s`` is None.
    """

    wall_s: float
    own_s: float
    busy_s: float | None
    stolen_s: float | None
    cores: int
    missing: str = ""

    @classmethod
    def now(cls, stat: Path = Path("/proc/stat")) -> CpuUse:
        """Read the counters; ``/proc/stat`` exists on Linux only."""
        wall, own, cores = time.perf_counter(), time.process_time(), os.cpu_count() or 1
        try:
            words = stat.read_text().split("\n", 1)[0].split()
            # user nice system idle iowait irq softirq steal, in ticks (man 5 proc_stat)
            ticks = [int(word) / os.sysconf("SC_CLK_TCK") for word in words[1:9]]
            busy, stolen = sum(ticks[:3]) + sum(ticks[5:7]), ticks[7]
        except (OSError, ValueError, IndexError) as error:
            return cls(
                wall_s=wall, own_s=own, busy_s=None, stolen_s=None, cores=cores,
                missing=f"{stat} cannot be read ({type(error).__name__})",
            )  # fmt: skip
        return cls(wall_s=wall, own_s=own, busy_s=busy, stolen_s=stolen, cores=cores)


def cpu_name() -> str:
    """The processor's name as its maker gives it."""
    import platform

    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: the name that Python knows will do
    return platform.processor() or platform.machine() or "unknown CPU"


def affinity_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


CGROUP_MEMORY = (("memory.max", "memory.current"),
                 ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))  # fmt: skip
"""Limit and use of a container's memory, in versions 2 and 1 of Linux's control groups."""


def available_memory_bytes(
    meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")
) -> int | None:
    """Memory that can be had without swapping, here and in this container.

    None where the system does not say.
    """
    free = []
    try:
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free.append(int(line.split()[1]) * 1024)
    except (OSError, ValueError):
        return None
    for limit, used in CGROUP_MEMORY:
        try:
            left = int((cgroup / limit).read_text()) - int((cgroup / used).read_text())
        except (OSError, ValueError):  # no such control group, or "max": no limit
            continue
        free.append(max(left, 0))
    return min(free, default=None)


def rss_high_water_bytes() -> int | None:
    """Largest resident set of this process since its start, Python and libraries included."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    import sys

    high = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return high if sys.platform == "darwin" else high * 1024
