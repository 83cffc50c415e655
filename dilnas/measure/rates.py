"""What this device can do: its own rates of multiplying and of copying, in the workload's type."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING

from dilnas.errors import DeviceError
from dilnas.measure.cpu import available_memory_bytes
from dilnas.measure.device import Device, open_device
from dilnas.measure.machine import settings
from dilnas.measure.sampling import Progress
from dilnas.measure.workload import fits
from dilnas.records import DeviceRates, Workload

if TYPE_CHECKING:
    import torch

__all__ = ["best_run", "measure_rates"]

SIDES = {"cpu": (512, 1024, 2048), "cuda": (2048, 4096, 8192)}
"""Sides of the square matrices; the best of them counts."""

COPY_BYTES = {"cpu": 256 << 20, "cuda": 1 << 30}
"""Bytes copied at once: more than caches hold."""

MIN_RUNS, MAX_RUNS = 3, 200
EACH_S = 0.3
TOO_LONG_S = 0.5
"""A larger matrix is not tried after a product that took this long."""

NOISY = 0.15
"""Doubtful when the median run is this much slower than the best."""


def measure_rates(
    workload: Workload, device: Device | None = None, *, on_progress: Progress | None = None
) -> DeviceRates:
    """Matrix products and copies on the workload's device, with its type and threads.

    The best of the runs counts, because a roof is what the device can do: products of square
    matrices (``SIDES``) and a copy of ``COPY_BYTES`` between two buffers, bytes read and bytes
    written both counted. About two seconds. Raises DeviceError where the device cannot.
    """
    found = open_device(workload.device) if device is None else device
    doubts: list[str] = []
    looks = [found.look()]
    with settings(workload), fits(workload):
        if on_progress is not None:
            on_progress("matmul and copy rates", 0.0)
        macs_per_s = _matmul_rate(workload, found, doubts)
        bytes_per_s = _copy_rate(workload, found, doubts)
    looks.append(found.look())
    doubts += found.doubts(looks)
    return DeviceRates(macs_per_s=macs_per_s, bytes_per_s=bytes_per_s, doubts=tuple(doubts))


def best_run(call: Callable[[], object], device: Device) -> tuple[float, float]:
    """Seconds of the fastest and of the median run, over ``EACH_S`` and at least ``MIN_RUNS``."""
    device.run(call)  # the first one finds kernels and memory
    times: list[float] = []
    begin = device.clock()
    while len(times) < MIN_RUNS or (device.clock() - begin < EACH_S and len(times) < MAX_RUNS):
        times.append(device.run(call).device_s)
    if min(times) <= 0:
        raise DeviceError("a run took no time: the clock does not tell", where=device.name)
    return min(times), statistics.median(times)


def _matmul_rate(workload: Workload, device: Device, doubts: list[str]) -> float:
    """Multiply-adds a second of the best square product."""
    rates: dict[float, tuple[float, float]] = {}
    for side in SIDES[_kind(workload)]:
        a, b = _random(workload, side), _random(workload, side)
        best, median = best_run(lambda a=a, b=b: a @ b, device)  # type: ignore[misc]
        rates[side**3 / best] = (best, median)
        if median > TOO_LONG_S:
            break
    rate = max(rates)
    doubts += _noise("matrix products", *rates[rate])
    return rate


def _copy_rate(workload: Workload, device: Device, doubts: list[str]) -> float:
    """Bytes read and written a second by a large copy."""
    import torch

    size = COPY_BYTES[_kind(workload)]
    free = available_memory_bytes() if _kind(workload) == "cpu" else None
    if free is not None and free < 4 * size:
        size = max(free // 8, 1 << 20)
        doubts.append(f"little memory is free: the copy rate is that of {size / 1e6:.0f} MB")
    source = torch.ones(size // 4, device=workload.device)
    target = torch.empty_like(source)
    best, median = best_run(lambda: target.copy_(source), device)
    doubts += _noise("copies", best, median)
    return 2 * (size // 4 * 4) / best


def _noise(what: str, best: float, median: float) -> list[str]:
    slower = median / best - 1
    if slower <= NOISY:
        return []
    return [f"noisy roof: the median of the {what} is {slower:.0%} slower than the best"]


def _kind(workload: Workload) -> str:
    return "cuda" if workload.device.startswith("cuda") else "cpu"


def _random(workload: Workload, side: int) -> torch.Tensor:
    """A square matrix of the type that products have in this workload."""
    import torch

    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(workload.dtype, torch.float32)
    # Made where it is used: large ones take the host seconds. Nobody's random state is touched.
    generator = torch.Generator(workload.device).manual_seed(0)
    matrix = torch.rand(side, side, device=workload.device, generator=generator)
    return matrix.to(dtype)
