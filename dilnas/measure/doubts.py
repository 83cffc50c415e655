"""What makes a measurement doubtful, as sentences: readings in, sentences out, no device touched.

Thresholds: spread over 5 % (issue of the project), clocks below 75 % of base (nvbench discards
there), enqueue above 80 % of device time (trtexec warns there).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from dilnas.measure.cpu import CpuUse
from dilnas.measure.nvml import GpuReading
from dilnas.measure.sampling import Protocol, Sampled, median_rse

__all__ = ["cpu_doubts", "gpu_doubts", "launch_doubts", "sample_doubts"]

SPREAD = 0.05
DRIFT = 0.05
CLOCK_SHARE = 0.75
ENQUEUE_SHARE = 0.8
OTHER_CORES = 0.1
STOLEN_SHARE = 0.01
HOT_C = 85
SHORT_S = 20e-6
EVIDENCE = ("clock", "base clock", "temperature", "throttling", "processes")


def sample_doubts(sampled: Sampled, protocol: Protocol) -> list[str]:
    """Doubts that the samples themselves give."""
    samples, n = sampled.samples, len(sampled.samples)
    median = statistics.median(samples)
    out = []
    if n < protocol.min_samples:
        out.append(f"few samples: {n}, the protocol asks for {protocol.min_samples}")
    if not sampled.steady:
        out.append(f"not steady after {sampled.warmup} warm-up runs")
    if n >= 4 and median > 0:
        low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
        if (high - low) / median > SPREAD:
            share = (high - low) / median
            out.append(f"spread: the middle half of the samples spans {share:.1%} of the median")
        out += _drift(samples, median)
    if sampled.stopped_by == "time" and n >= protocol.min_samples:
        reached = median_rse(samples)
        out.append(
            f"stopped by time at a relative standard error of {reached:.2%}"
            f" (target {protocol.target_rse:.2%})"
        )
    if median < SHORT_S:
        out.append(f"a run takes {median * 1e6:.1f} µs, near the clock's own cost")
    return out


def _drift(samples: Sequence[float], median: float) -> list[str]:
    half = len(samples) // 2
    first, second = statistics.median(samples[:half]), statistics.median(samples[-half:])
    change = (second - first) / median
    if abs(change) <= DRIFT:
        return []
    return [f"drift: the second half of the samples is {change:+.1%} against the first"]


def cpu_doubts(before: CpuUse, after: CpuUse) -> list[str]:
    """Doubts from what else the CPU did between two readings."""
    wall = after.wall_s - before.wall_s
    if before.busy_s is None or after.busy_s is None:
        return [f"other load on the CPU unknown: {after.missing}"]
    if wall < 0.2:  # the kernel counts in ticks of 10 ms
        return []
    out = []
    others = (after.busy_s - before.busy_s - (after.own_s - before.own_s)) / wall
    if others > OTHER_CORES:
        out.append(f"other processes used {others:.1f} of {after.cores} cores meanwhile")
    stolen = ((after.stolen_s or 0.0) - (before.stolen_s or 0.0)) / (wall * after.cores)
    if stolen > STOLEN_SHARE:
        out.append(f"the hypervisor withheld {stolen:.1%} of the CPU time")
    return out


def gpu_doubts(readings: Sequence[GpuReading]) -> list[str]:
    """Doubts from NVML readings taken before, during and after the samples."""
    last = readings[-1]
    if last.absent:
        return [f"clocks, throttling and temperature unknown: {last.absent}"]
    out = []
    clocks = [r.sm_clock_mhz for r in readings[1:] if r.sm_clock_mhz is not None]
    if clocks and last.base_clock_mhz and min(clocks) < CLOCK_SHARE * last.base_clock_mhz:
        out.append(f"SM clock fell to {min(clocks)} MHz of {last.base_clock_mhz} MHz base")
    reasons = sorted({reason for r in readings[1:] for reason in r.throttle_reasons})
    if reasons:
        out.append(f"clocks were held back: {', '.join(reasons)}")
    hottest = max((r.temperature_c for r in readings if r.temperature_c is not None), default=0)
    if hottest >= HOT_C:
        out.append(f"GPU at {hottest} °C")
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


def launch_doubts(device_s: float, enqueue_s: float) -> list[str]:
    """Launch-bound: the CPU takes nearly as long to enqueue the work as the GPU to do it."""
    if enqueue_s <= ENQUEUE_SHARE * device_s:
        return []
    share = enqueue_s / device_s
    return [f"launch-bound: enqueueing takes {share:.0%} of the device time; a faster CPU counts"]
