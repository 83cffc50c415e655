"""Contenders take turns: times round by round, ratios within a round, memory, the copy rate.

A noisy machine then hurts all alike. On CUDA a call is timed by events on the device, and the
device is kept busy while the host hands the call over: kernels that are shorter than that would
else be shown as long as it. Where handing over takes longer than that, it is in the time.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dilnas.measure.compiled import compiling
from dilnas.measure.memory_child import allocator_peak

__all__ = ["Call", "Clock", "Meter", "Result", "quartiles", "race", "rounded"]

Call = Callable[[], object]

HEAD_START_CYCLES = 2_000_000
"""About a millisecond: handing over a call of the operator takes less."""

COPY_BYTES = {"cpu": 256 << 20, "cuda": 2 << 30}
"""More than caches hold."""


class Clock:
    """How much of the time limit is left, counted from ``start`` of ``time.perf_counter``."""

    def __init__(self, start: float, limit_s: float) -> None:
        self.start, self.limit_s = start, limit_s
        self.compiling_s = self.longest_s = 0.0

    @property
    def left_s(self) -> float:
        """Seconds; negative when over."""
        return self.start + self.limit_s - time.perf_counter()

    def compiled(self, took_s: float) -> None:
        """Something compiled for so long."""
        self.compiling_s += took_s
        self.longest_s = max(self.longest_s, took_s)


class Meter:
    """Time and memory of calls on one device."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self.cuda = self.device.type == "cuda"
        self.memory_method = (
            "max_memory_allocated over what was allocated at the start of a call"
            if self.cuda
            else "peak of torch's CPU allocator over the start of a call, by torch.profiler"
        )

    def seconds(self, call: Call) -> float:
        """Of one call: on the device by events on CUDA, else by the wall clock."""
        if not self.cuda:
            start = time.perf_counter()
            call()
            return time.perf_counter() - start
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(HEAD_START_CYCLES)
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize(self.device)
        return begin.elapsed_time(end) / 1e3

    def memory(self, call: Call) -> int:
        """Most bytes that one call holds at once, over what was there before it."""
        if not self.cuda:
            with warnings.catch_warnings():  # torch 2.11 warns of cycles, and there is one here
                warnings.filterwarnings("ignore", message=".*Profiler clears events")
                return allocator_peak(call)
        torch.cuda.synchronize(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        call()
        torch.cuda.synchronize(self.device)
        return torch.cuda.max_memory_allocated(self.device) - before

    def release(self) -> None:
        """Give back what earlier calls left."""
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()

    def copy_bytes_per_s(self) -> float:
        """Bytes read and bytes written a second by a large copy; the best of ten."""
        source = torch.ones(COPY_BYTES[self.device.type] // 4, device=self.device)
        target = torch.empty_like(source)
        took = [self.seconds(lambda: target.copy_(source)) for _ in range(11)][1:]
        return 2 * source.nbytes / min(took)


@dataclass
class Result:
    """One contender in one case.

    Attributes:
        seconds: of each round; empty if it did not run.
        memory_bytes: most that one call held; None if it was not looked at.
        apart: norm of the difference to the baseline's result over that of the result itself.
        why_not: why it did not run.
    """

    seconds: list[float] = field(default_factory=list)
    memory_bytes: int | None = None
    apart: float | None = None
    why_not: str = ""

    def refuse(self, error: Exception) -> None:
        """It did not run, for this reason."""
        cause = error.__cause__ or error  # what the compiler said, not that it failed
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
        self.seconds, self.why_not = [], f"{type(error).__name__}: {' '.join(lines[:2])}"[:200]

    def over(self, other: Result) -> tuple[float, float, float] | None:
        """Quartiles of ``other``'s time over this one's, round by round: its speed-up."""
        if not self.seconds or not other.seconds:
            return None
        return quartiles(b / a for a, b in zip(self.seconds, other.seconds, strict=True))


def quartiles(values: Iterable[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    found = sorted(values)
    if len(found) == 1:
        return found[0], found[0], found[0]
    low, middle, high = statistics.quantiles(found, n=4, method="inclusive")
    return low, middle, high


def race(
    calls: dict[str, Call],
    meter: Meter,
    clock: Clock,
    *,
    rounds: int,
    seconds: float,
    slow_to_start: Iterable[str] = (),
    compiling_share: float = 1.0,
    seed: int = 0,
) -> dict[str, Result]:
    """Time ``calls`` against one another in random order, anew each round.

    Args:
        calls: by name, the baseline first; tensors that they return are compared with its own.
        meter: of the device they run on.
        clock: says when the time is over; then at least one round was run.
        rounds: most of them.
        seconds: after these no further round begins, if there were three.
        slow_to_start: those that compile first, for which the time left must do.
        compiling_share: of the time limit that they may take in all.
        seed: of the order.
    """
    results = {name: Result() for name in calls}
    slow, truth = set(slow_to_start), None
    for name, call in calls.items():
        result = results[name]
        if name in slow and (
            clock.left_s < 1.2 * clock.longest_s
            or clock.compiling_s > compiling_share * clock.limit_s
        ):
            result.why_not = f"no time to compile it (took {clock.longest_s:.0f} s before)"
            continue
        begin = time.perf_counter()
        try:
            with compiling():
                value = call()
            if isinstance(value, Tensor):
                truth = value if truth is None else truth
                result.apart = float((value - truth).float().norm() / truth.float().norm())
            del value
            result.memory_bytes = meter.memory(call)  # warms up too
        except Exception as error:  # noqa: BLE001 - the others may do
            result.refuse(error)
            meter.release()
        if name in slow:
            clock.compiled(time.perf_counter() - begin)
    del truth
    running = [name for name in calls if not results[name].why_not]
    shuffled, begin = random.Random(seed), time.perf_counter()
    for done in range(rounds):
        over = time.perf_counter() - begin > seconds
        if (over and done >= 3) or (clock.left_s < 0 and done):
            break
        for name in shuffled.sample(running, len(running)):
            try:
                results[name].seconds.append(meter.seconds(calls[name]))
            except Exception as error:  # noqa: BLE001 - the others may do
                running.remove(name)
                results[name].refuse(error)
    return results


def rounded(values: Iterable[float], digits: int = 3) -> list[Any]:
    """For JSON: no more digits than mean something."""
    return [float(f"{value:.{digits + 1}g}") for value in values]
