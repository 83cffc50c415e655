"""A CUDA GPU as a measured device: events and two wall times of a call, NVML as evidence."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from dilnas.measure.device import Look, Run
from dilnas.measure.doubts import gpu_doubts
from dilnas.measure.nvml import GpuReading
from dilnas.records import Environment

__all__ = ["CudaDevice", "gpu_evidence"]


class CudaDevice:
    """The GPU ``name`` ("cuda": the current one; "cuda:1") of this machine."""

    def __init__(self, name: str, clock: Callable[[], float] = time.perf_counter) -> None:
        import torch

        from dilnas.measure.machine import gpu_of

        self.name = name
        self._clock = clock
        index = torch.device(name).index
        # Fixed now: "cuda" means the current device, which the caller may change later.
        self._device = torch.device("cuda", torch.cuda.current_device() if index is None else index)
        self._gpu = gpu_of(self._device)
        event: Any = torch.cuda.Event
        with torch.cuda.device(self._device):
            # Events are made once and recorded anew by each run: CUDA allows it, and a run makes
            # nothing within its timed part. Their first recording, which is when torch makes
            # the CUDA events, happens here; so does that of the context that NVML lists.
            self._start, self._end = event(enable_timing=True), event(enable_timing=True)
            self._start.record()
            self._end.record()
            torch.cuda.synchronize()

    def clock(self) -> float:
        """Seconds of the host's clock."""
        return self._clock()

    def sleep(self, seconds: float) -> None:
        """Sleep really; the GPU idles."""
        time.sleep(seconds)

    def run(self, call: Callable[[], object], calls: int = 1) -> Run:
        """The calls between two events on the current stream of an idle, synchronised GPU.

        L2 is as the call before left it: warm, as in serving. What the calls put on another stream
        is in the wall time, not in the device time.
        """
        import torch

        clock, start, end = self._clock, self._start, self._end
        with torch.cuda.device(self._device):
            stream = torch.cuda.current_stream()
            torch.cuda.synchronize()
            begin = clock()
            start.record(stream)
            for _ in range(calls):
                call()
            end.record(stream)
            enqueued = clock()
            torch.cuda.synchronize()
            done = clock()
            device_s = float(start.elapsed_time(end)) / 1e3  # CUDA tells milliseconds
        return Run(device_s, done - begin, enqueued - begin, calls)

    def synchronize(self) -> None:
        """Wait for all streams."""
        import torch

        torch.cuda.synchronize(self._device)

    def look(self) -> Look:
        """Clocks, temperature, power, energy, throttling and other processes, by NVML."""
        return self._gpu.read()

    def energy_j(self) -> float | None:
        """NVML's total-energy counter."""
        return self._gpu.energy_j()

    def doubts(self, looks: Sequence[Look]) -> list[str]:
        """What NVML saw that makes samples doubtful."""
        return gpu_doubts([look for look in looks if isinstance(look, GpuReading)])

    def evidence(self, looks: Sequence[Look]) -> dict[str, Any]:
        """Clock, temperature and power at each look."""
        return gpu_evidence([look for look in looks if isinstance(look, GpuReading)])

    def environment(self) -> Environment:
        """This GPU, its driver and its host."""
        from dilnas.measure.machine import environment

        return environment(str(self._device))


def gpu_evidence(looks: Sequence[GpuReading]) -> dict[str, Any]:
    """Readings as lists, in the order taken; ``nvml`` says "read" or why there are none."""
    if not looks:
        return {}
    return {
        "l2_cache": "warm, not flushed",
        "sm_clock_mhz": [look.sm_clock_mhz for look in looks],
        "temperature_c": [look.temperature_c for look in looks],
        "power_w": [look.power_w for look in looks],
        "throttle_reasons": sorted({reason for look in looks for reason in look.throttle_reasons}),
        "nvml": looks[-1].absent or "read",
    }
