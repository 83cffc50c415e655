"""What the CPU did, for this process and for all: the evidence for "something else was running"."""

from __future__ import annotations

import functools
import os
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "CpuUse",
    "affinity",
    "affinity_cores",
    "available_memory_bytes",
    "cpu_model",
    "cpu_name",
    "is_virtual",
    "rss_high_water_bytes",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuUse:
    """Counters and settings at one moment; seconds since some fixed start; None: not readable.

    Attributes:
        wall_s: wall clock.
        own_s: CPU time of this process, all its threads.
        busy_s: CPU time of everything on the machine, this process included.
        stolen_s: CPU time that a hypervisor gave to others.
        cores: cores of the machine.
        missing: why ``busy_s`` is None.
        waited_s: time that this process's threads were ready to run and had no core.
        affinity: numbers of the cores that this process may run on.
        threads: threads that the callable's library uses; None if nobody said.
        load_1min: the system's load average over a minute, in tasks.
        governor: what chooses the clock of core 0 ("performance", "powersave", …).
        scaling_driver: whose governor it is ("intel_pstate", "acpi-cpufreq", …).
        turbo: whether clocks above the nominal one are allowed.
        virtual: whether this is a virtual machine, as far as the processor tells.
    """

    wall_s: float
    own_s: float
    busy_s: float | None
    stolen_s: float | None
    cores: int
    missing: str = ""
    waited_s: float | None = None
    affinity: tuple[int, ...] = ()
    threads: int | None = None
    load_1min: float | None = None
    governor: str | None = None
    scaling_driver: str | None = None
    turbo: bool | None = None
    virtual: bool = False

    @classmethod
    def now(
        cls,
        stat: Path = Path("/proc/stat"),
        *,
        threads: int | None = None,
        cpus: Path = Path("/sys/devices/system/cpu"),
        tasks: Path = Path("/proc/self/task"),
    ) -> CpuUse:
        """Read them; the files exist on Linux only, and not all on every Linux."""
        wall, own, cores = time.perf_counter(), time.process_time(), os.cpu_count() or 1
        busy: float | None = None
        stolen: float | None = None
        missing = ""
        try:
            words = stat.read_text().split("\n", 1)[0].split()
            # user nice system idle iowait irq softirq steal, in ticks (man 5 proc_stat)
            ticks = [int(word) / os.sysconf("SC_CLK_TCK") for word in words[1:9]]
            busy, stolen = sum(ticks[:3]) + sum(ticks[5:7]), ticks[7]
        except (OSError, ValueError, IndexError) as error:
            busy, missing = None, f"{stat} cannot be read ({type(error).__name__})"
        frequency = cpus / "cpu0" / "cpufreq"
        return cls(
            wall_s=wall, own_s=own, busy_s=busy, stolen_s=stolen, cores=cores, missing=missing,
            waited_s=_waited_s(tasks),
            affinity=affinity(),
            threads=threads,
            load_1min=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            governor=_word(frequency / "scaling_governor"),
            scaling_driver=_word(frequency / "scaling_driver"),
            turbo=_turbo(cpus),
            virtual=is_virtual(),
        )  # fmt: skip


def _word(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except OSError:
        return None


@functools.cache
def is_virtual(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor says that a hypervisor runs it (x86, Linux); False where it is mute."""
    for line in (_word(cpuinfo) or "").splitlines():
        if line.startswith("flags"):
            return "hypervisor" in line.split()
    return False


def _turbo(cpus: Path) -> bool | None:
    """Intel's driver says when it is off, the generic one when it is on."""
    if (off := _word(cpus / "intel_pstate" / "no_turbo")) is not None:
        return off == "0"
    on = _word(cpus / "cpufreq" / "boost")
    return None if on is None else on == "1"


def _waited_s(tasks: Path) -> float | None:
    """Time on a run queue, all living threads: the second number of schedstat, in nanoseconds."""
    total, seen = 0, False
    try:
        for task in tasks.iterdir():
            words = (_word(task / "schedstat") or "").split()
            if len(words) == 3 and words[1].isdecimal():
                total, seen = total + int(words[1]), True
    except OSError:
        return None
    return total / 1e9 if seen else None


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


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """Family, model and stepping of an x86 processor (Linux): its name may not tell which it is.

    Hypervisors hide the name behind one like "Intel(R) Xeon(R) Processor" and leave these, by which
    programs choose their code. None where the system does not say.
    """
    found: dict[str, str] = {}
    for line in (_word(cpuinfo) or "").splitlines():
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    if not {"cpu family", "model", "stepping"} <= found.keys():
        return None
    return f"family {found['cpu family']} model {found['model']} stepping {found['stepping']}"


def affinity() -> tuple[int, ...]:
    """Numbers of the cores that this process may run on; empty where the system does not say."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return ()


def affinity_cores() -> int:
    """Number of cores that this process may run on."""
    return len(affinity()) or os.cpu_count() or 1


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
