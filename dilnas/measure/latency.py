"""How long a callable takes, with the evidence for and against the numbers.

    CPU    |read /proc/stat|  warm-up  | call | call | call | … |read /proc/stat|
                                       ^------^ perf_counter, one sample each

    CUDA   |read NVML|  warm-up  |sync| E0 call E1 |sync| E0 call E1 |sync| … |read NVML|
                                        ^-------^       device time: CUDA events E0, E1
                                       ^--------^       enqueue time: perf_counter, no sync
                                       ^------------^   wall time: perf_counter, synchronised

A sample on CUDA is device time of one call on an idle, synchronised device: caches are warm, as
in serving, and L2 is not flushed. Enqueue and wall time stand beside it: a model whose enqueue
time is near its device time is launch-bound, which events alone hide.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dilnas.measure.cpu import CpuUse
from dilnas.measure.doubts import cpu_doubts, gpu_doubts, launch_doubts, sample_doubts
from dilnas.measure.nvml import Gpu, GpuReading
from dilnas.measure.sampling import Progress, Protocol, Sampled, collect, median_interval
from dilnas.records import Measurement, Workload

__all__ = ["DEFAULT", "measure_latency"]

DEFAULT = Protocol()
"""The protocol when none is given."""

_READ_EVERY_S = 0.5


def measure_latency(
    call: Callable[[], object],
    workload: Workload,
    protocol: Protocol = DEFAULT,
    *,
    clock: Callable[[], float] = time.perf_counter,
    on_progress: Progress | None = None,
) -> Measurement:
    """Seconds that one ``call()`` takes on ``workload.device``: raw samples, "latency_s".

    ``call`` does one batch and returns anything. Of the workload only the device matters here.
    ``clock`` is for tests; on CUDA the samples come from events. ``extra`` holds the interval of
    the median (``median_low_s``, ``median_high_s``, 95 %), why sampling stopped and, on CUDA,
    ``enqueue_median_s``, ``wall_median_s`` and the NVML readings.
    """
    if workload.device.startswith("cuda"):
        return _on_cuda(call, workload, protocol, clock, on_progress)

    def once() -> float:
        begin = clock()
        call()
        return clock() - begin

    before = CpuUse.now()
    sampled = collect(once, protocol, clock=clock, on_progress=on_progress)
    doubts = sample_doubts(sampled, protocol) + cpu_doubts(before, CpuUse.now())
    return _measurement(sampled, doubts, {})


def _on_cuda(
    call: Callable[[], object],
    workload: Workload,
    protocol: Protocol,
    clock: Callable[[], float],
    on_progress: Progress | None,
) -> Measurement:
    import torch

    from dilnas.measure.machine import gpu_of

    device = torch.device(workload.device)
    timer = _CudaTimer(call, device, gpu_of(device), clock)
    with torch.cuda.device(device):
        sampled = collect(timer.once, protocol, clock=clock, on_progress=on_progress)
    timer.read()
    kept = len(sampled.samples)
    enqueue = statistics.median(timer.enqueue_s[-kept:])
    doubts = sample_doubts(sampled, protocol)
    doubts += launch_doubts(statistics.median(sampled.samples), enqueue)
    doubts += gpu_doubts(timer.readings)
    last = timer.readings[-1]
    extra = {
        "enqueue_median_s": enqueue,
        "wall_median_s": statistics.median(timer.wall_s[-kept:]),
        "l2_cache": "warm, not flushed",
        "sm_clock_mhz": [r.sm_clock_mhz for r in timer.readings],
        "temperature_c": [r.temperature_c for r in timer.readings],
        "power_w": [r.power_w for r in timer.readings],
        "nvml": last.absent or "read",
    }
    return _measurement(sampled, doubts, extra)


@dataclass(slots=True)
class _CudaTimer:
    """Times one call by events and by the wall; looks at NVML between calls, not within."""

    call: Callable[[], object]
    device: Any
    gpu: Gpu
    clock: Callable[[], float]
    enqueue_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)
    readings: list[GpuReading] = field(default_factory=list)
    read_at: float = 0.0

    def __post_init__(self) -> None:
        self.read()

    def read(self) -> None:
        """Keep one more NVML reading."""
        self.readings.append(self.gpu.read())
        self.read_at = self.clock()

    def once(self) -> float:
        """Device seconds of one call on an idle device."""
        import torch

        event: Any = torch.cuda.Event
        start, end = event(enable_timing=True), event(enable_timing=True)
        torch.cuda.synchronize(self.device)
        begin = self.clock()
        start.record()
        self.call()
        end.record()
        self.enqueue_s.append(self.clock() - begin)
        torch.cuda.synchronize(self.device)
        now = self.clock()
        self.wall_s.append(now - begin)
        if now - self.read_at > _READ_EVERY_S:
            self.read()
        return float(start.elapsed_time(end)) / 1e3  # CUDA tells milliseconds


def _measurement(sampled: Sampled, doubts: list[str], extra: dict[str, Any]) -> Measurement:
    low, high = median_interval(sampled.samples)
    return Measurement(
        quantity="latency_s",
        samples=sampled.samples,
        warmup=sampled.warmup,
        doubts=tuple(doubts),
        extra={
            "median_low_s": low,
            "median_high_s": high,
            "interval_coverage": 0.95,
            "interval_method": "moving-block bootstrap",
            "stopped_by": sampled.stopped_by,
            **extra,
        },
    )
