"""What makes a measurement doubtful, as sentences: readings in, sentences out, no device touched.

Every threshold has a name. Those with a source: a spread over 5 % and clocks below 75 % of base
(nvbench discards samples there), enqueue above 80 % of device time (trtexec warns there). The
others are where an effect could reach the 5 % within which measurements are to agree.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from dilnas.measure.cpu import CpuUse
from dilnas.measure.nvml import DEFAULT_CLOCK, GpuReading
from dilnas.measure.sampling import Protocol, Sampled, median_interval
from dilnas.measure.shape import independent_samples, two_heaps

__all__ = ["cpu_doubts", "gpu_doubts", "guest_doubts", "launch_doubts", "sample_doubts"]

FEW = 10
"""Samples below which quantiles and intervals mean little, whatever the protocol asks for."""

FEW_INDEPENDENT = 8
"""Worth of the samples in independent ones below which their interval means little."""

SPREAD = 0.05
"""Middle half of the samples, as a share of the median."""

DRIFT = 0.05
"""Second half of the samples against the first."""

UNSURE = 0.025
"""Half the interval of the median: two measurements surer than that agree within 5 %."""

SHORT_S = 20e-6
"""A run so short that the clock's own cost shows."""

CLOCK_SHARE = 0.75
"""Of the base clock."""

HOT_C = 85
"""Where NVML does not say at which temperature the GPU slows down."""

HOT_MARGIN_C = 5
"""Below the temperature at which it does."""

ENQUEUE_SHARE = 0.8
"""Time to hand over the work, of the device time."""

OTHER_CORES = 0.1
OTHER_SHARE = 0.05
"""Cores that others used: more than both the number and the share of all cores."""

WAITED_SHARE = 0.02
"""Time for which this process's threads waited for a core, of the wall time."""

STOLEN_SHARE = 0.01
"""CPU time that the hypervisor withheld, of all cores' time."""

CPU_LOOK_S = 0.2
"""Shortest time over which CPU counters are compared: the kernel counts in ticks of 10 ms."""

SLOW_GOVERNORS = {"powersave": ("intel_pstate", "amd-pstate-epp", "amd_pstate_epp")}
"""Governors that keep the lowest clock, but not under these drivers, where the name means a
preference and the clock still rises with load. (Linux, admin-guide/pm.)"""

EVIDENCE = ("clock", "base clock", "temperature", "throttling", "processes")
"""Readings whose absence leaves a doubt."""


def sample_doubts(
    sampled: Sampled, protocol: Protocol, interval: tuple[float, float] | None = None
) -> list[str]:
    """Doubts that the samples themselves give; ``interval`` is that of their median if known."""
    samples, n = sampled.samples, len(sampled.samples)
    median = statistics.median(samples)
    out = []
    if n < protocol.min_samples:
        out.append(f"few samples: {n}, the protocol asks for {protocol.min_samples}")
    elif n < FEW:
        out.append(f"few samples: {n}, too few for percentiles")
    if not sampled.steady:
        out.append(f"not steady after {sampled.warmup} warm-up runs")
    if n >= 4 and median > 0:
        out += _spread(samples, median) + _drift(samples, median)
        low, high = median_interval(samples) if interval is None else interval
        if (unsure := max(high - median, median - low) / median) > UNSURE:
            out.append(f"the median is known to ±{unsure:.1%} only")
    if n >= 2 * FEW_INDEPENDENT and (worth := independent_samples(samples)) < FEW_INDEPENDENT:
        out.append(f"successive samples hang together: {n} are worth {worth:.0f} independent ones")
    if median < SHORT_S:
        out.append(f"a run takes {median * 1e6:.1f} µs, near the clock's own cost")
    return out


def _spread(samples: Sequence[float], median: float) -> list[str]:
    out = []
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    if (share := (high - low) / median) > SPREAD:
        out.append(f"spread: the middle half of the samples spans {share:.1%} of the median")
    if heaps := two_heaps(samples):
        low_ms, high_ms = heaps.low * 1e3, heaps.high * 1e3
        out.append(
            f"two clusters: {1 - heaps.high_share:.0%} of the samples near {low_ms:.4g} ms,"
            f" {heaps.high_share:.0%} near {high_ms:.4g} ms"
        )
    return out


def _drift(samples: Sequence[float], median: float) -> list[str]:
    half = len(samples) // 2
    first, second = statistics.median(samples[:half]), statistics.median(samples[-half:])
    change = (second - first) / median
    if abs(change) <= DRIFT:
        return []
    return [f"drift: the second half of the samples is {change:+.1%} against the first"]


def cpu_doubts(before: CpuUse, after: CpuUse) -> list[str]:
    """Doubts from what else the CPU did between two readings, and from how it is set."""
    return _cpu_settings(after) + _cpu_load(before, after)


def guest_doubts(now: object) -> list[str]:
    """That a virtual machine has neighbours, for times that are to mean something by themselves.

    Medians of 15 s each lay up to 39 % apart on one such machine while nothing in it, not even
    stolen time, told of the reason. Paired times do not need the warning.
    """
    if not (isinstance(now, CpuUse) and now.virtual):
        return []
    return ["a virtual machine: its neighbours can slow it without a trace; repeat, or compare"]


def _cpu_settings(now: CpuUse) -> list[str]:
    out = []
    cores = len(now.affinity) or now.cores
    if now.threads is not None and now.threads > cores:
        out.append(f"{now.threads} threads on {cores} core{'s' if cores > 1 else ''}")
    drivers = SLOW_GOVERNORS.get(now.governor or "")
    if drivers is not None and now.scaling_driver not in drivers:
        out.append(f'the governor "{now.governor}" keeps the CPU at its lowest clock')
    return out


def _cpu_load(before: CpuUse, after: CpuUse) -> list[str]:
    wall = after.wall_s - before.wall_s
    out = []
    if before.busy_s is None or after.busy_s is None:
        out.append(f"other load on the CPU unknown: {after.missing or before.missing}")
    if wall < CPU_LOOK_S:
        return out
    if before.busy_s is not None and after.busy_s is not None:
        others = (after.busy_s - before.busy_s - (after.own_s - before.own_s)) / wall
        if others > max(OTHER_CORES, OTHER_SHARE * after.cores):
            out.append(f"other processes used {others:.1f} of {after.cores} cores meanwhile")
        stolen = ((after.stolen_s or 0.0) - (before.stolen_s or 0.0)) / (wall * after.cores)
        if stolen > STOLEN_SHARE:
            out.append(f"the hypervisor withheld {stolen:.1%} of the CPU time")
    if before.waited_s is not None and after.waited_s is not None:
        waited = (after.waited_s - before.waited_s) / wall
        if waited > WAITED_SHARE:
            out.append(f"its threads waited {waited:.2f} s of each second for a core")
    return out


def gpu_doubts(readings: Sequence[GpuReading]) -> list[str]:
    """Doubts from NVML readings taken before, during and after the samples.

    Clocks and throttling of the first count only where it is the only one: it may be of an idle
    GPU, which runs at a low clock with good reason.
    """
    if not readings:
        return []
    last = readings[-1]
    if last.absent:
        return [f"clocks, throttling and temperature unknown: {last.absent}"]
    out = _gpu_clocks(readings[1:] or readings)
    out += _gpu_heat(readings)
    others = max((r.other_processes or 0 for r in readings), default=0)
    if others:
        out.append(f"{others} other process{'es' if others > 1 else ''} on the GPU")
    if last.mig:
        out.append("a MIG slice: other slices share memory bandwidth and power")
    limit, default = last.power_limit_w, last.default_power_limit_w
    if limit is not None and default is not None and limit < default:
        out.append(f"power capped at {limit:.0f} W of {default:.0f} W")
    if unknown := [name for name in last.missing if name in EVIDENCE]:
        out.append(f"NVML does not report {', '.join(unknown)}")
    return out


def _gpu_clocks(readings: Sequence[GpuReading]) -> list[str]:
    out = []
    base, kind = readings[-1].base_clock_mhz, readings[-1].base_clock_kind
    clocks = [r.sm_clock_mhz for r in readings if r.sm_clock_mhz is not None]
    if clocks and base and min(clocks) < CLOCK_SHARE * base:
        of = "base" if kind in (None, DEFAULT_CLOCK) else "maximum"
        out.append(f"SM clock fell to {min(clocks)} MHz of {base} MHz {of}")
    if reasons := sorted({reason for r in readings for reason in r.throttle_reasons}):
        out.append(f"clocks were held back: {', '.join(reasons)}")
    return out


def _gpu_heat(readings: Sequence[GpuReading]) -> list[str]:
    hottest = max((r.temperature_c for r in readings if r.temperature_c is not None), default=None)
    slow = readings[-1].slowdown_temperature_c
    if hottest is None or hottest < (HOT_C if slow is None else slow - HOT_MARGIN_C):
        return []
    return [f"GPU at {hottest} °C" + ("" if slow is None else f", it slows down at {slow} °C")]


def launch_doubts(device_s: float, enqueue_s: float) -> list[str]:
    """Launch-bound: the CPU takes nearly as long to enqueue the work as the GPU to do it."""
    if enqueue_s <= ENQUEUE_SHARE * device_s:
        return []
    share = enqueue_s / device_s if device_s > 0 else float("inf")
    return [f"launch-bound: enqueueing takes {share:.0%} of the device time; a faster CPU counts"]
