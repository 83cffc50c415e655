"""When to stop: warm up until steady, then sample until the median is known or time is up.

    |<----------- warm-up ----------->|<------------------- sampling ------------------->|
    run run run run run run … steady? | s0   s1   s2   s3  …                    stop?    |
    |                                 |                                                  |
    at least min_warmup runs and      at least min_samples and min_s, then until the
    min_warmup_s, then until two      relative standard error of the median is at most
    windows of runs agree within      target_rse; at most max_samples or max_s,
    steady_within, or max_warmup_s    whichever comes first

Nothing here knows what is run or which clock tells the time, so that every rule is tested with a
clock that does not tick by itself. No torch, no numpy.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dilnas.errors import InputError

__all__ = ["Progress", "Protocol", "Sampled", "collect", "median_interval", "median_rse"]

Progress = Callable[[str, float], None]
"""Called between runs, never within one, with what is being done and the share done (0..1)."""

_WINDOW = 3
"""Runs in a warm-up window: a median of three ignores one spike."""

_Z95 = 1.959964
"""Standard normal quantile of a two-sided 95 % interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How a measurement is taken. Times in seconds, counts in runs of the callable.

    Attributes:
        min_warmup: fewest runs before the first sample.
        min_warmup_s: shortest warm-up: caches, clocks and allocators settle by time.
        max_warmup_s: longest warm-up, also when the runs are not steady by then.
        steady_within: largest relative difference of two successive windows that is steady.
        min_samples: fewest samples, unless ``max_s`` is reached before.
        max_samples: most samples.
        min_s: shortest sampling.
        max_s: longest sampling; a run that has begun is finished.
        target_rse: relative standard error of the median at which it is known well enough.
    """

    min_warmup: int = 3
    min_warmup_s: float = 0.2
    max_warmup_s: float = 5.0
    steady_within: float = 0.05
    min_samples: int = 20
    max_samples: int = 1000
    min_s: float = 0.5
    max_s: float = 15.0
    target_rse: float = 0.005

    def __post_init__(self) -> None:
        if self.min_warmup < 0:
            raise InputError("must not be negative", where="min_warmup", got=self.min_warmup)
        if not 1 <= self.min_samples <= self.max_samples:
            raise InputError(
                "must be at least 1 and at most max_samples", where="min_samples",
                expected=f"1..{self.max_samples}", got=self.min_samples,
            )  # fmt: skip
        for name in ("max_warmup_s", "max_s", "target_rse", "steady_within"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InputError("must be a positive number", where=name, got=value)

    def within(self, seconds: float) -> Protocol:
        """This protocol, a quarter of ``seconds`` at most to warm up and the rest to sample."""
        if not (math.isfinite(seconds) and seconds > 0):
            raise InputError(
                "must be a positive number of seconds", where="time limit", got=seconds
            )
        return replace(
            self,
            max_warmup_s=min(self.max_warmup_s, seconds / 4),
            max_s=seconds * 3 / 4,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """Raw samples in seconds, the runs before them, and why sampling ended.

    ``stopped_by``: "precision" (target reached), "time" (``max_s``) or "count" (``max_samples``).
    ``steady``: whether warm-up ended because the runs were steady.
    """

    samples: tuple[float, ...]
    warmup: int
    steady: bool
    stopped_by: str


def collect(
    once: Callable[[], float],
    protocol: Protocol,
    *,
    clock: Callable[[], float] = time.perf_counter,
    on_progress: Progress | None = None,
) -> Sampled:
    """Run ``once`` by the protocol. ``once`` does one run and returns its seconds."""
    warmup, steady = _warm_up(once, protocol, clock, on_progress)
    samples: list[float] = []
    start = clock()
    while True:
        samples.append(once())
        elapsed = clock() - start
        stopped_by = _stop(samples, elapsed, protocol)
        if on_progress is not None:
            share = max(len(samples) / protocol.max_samples, elapsed / protocol.max_s)
            on_progress(f"sample {len(samples)}", 1.0 if stopped_by else min(share, 1.0))
        if stopped_by:
            return Sampled(
                samples=tuple(samples), warmup=warmup, steady=steady, stopped_by=stopped_by
            )


def _warm_up(
    once: Callable[[], float],
    protocol: Protocol,
    clock: Callable[[], float],
    on_progress: Progress | None,
) -> tuple[int, bool]:
    """Number of runs, and whether they had become steady."""
    times: list[float] = []
    start = clock()
    while True:
        elapsed = clock() - start
        if len(times) >= protocol.min_warmup and elapsed >= protocol.min_warmup_s:
            if _steady(times, protocol.steady_within):
                return len(times), True
            if elapsed >= protocol.max_warmup_s:
                return len(times), False
        if times and elapsed >= protocol.max_warmup_s:
            return len(times), False
        if on_progress is not None:
            on_progress("warm-up", min(elapsed / protocol.max_warmup_s, 1.0))
        times.append(once())


def _steady(times: Sequence[float], within: float) -> bool:
    if len(times) < 2 * _WINDOW:
        return False
    now = statistics.median(times[-_WINDOW:])
    before = statistics.median(times[-2 * _WINDOW : -_WINDOW])
    return abs(now - before) <= within * before


def _stop(samples: Sequence[float], elapsed: float, protocol: Protocol) -> str:
    """Why to stop now; empty to go on."""
    enough = len(samples) >= protocol.min_samples and elapsed >= protocol.min_s
    if enough and median_rse(samples) <= protocol.target_rse:
        return "precision"
    if len(samples) >= protocol.max_samples:
        return "count"
    return "time" if elapsed >= protocol.max_s else ""


def median_rse(samples: Sequence[float]) -> float:
    """Relative standard error of the median, from order statistics; inf below six samples.

    The 95 % interval of a median without any assumption on the distribution lies between the
    order statistics n/2 ± 0.98 √n; a normal one would be 1.96 standard errors to each side. Spikes,
    which ruin the standard error of a mean, do not move it. Assumes independent samples.
    """
    n = len(samples)
    if n < 6:
        return math.inf
    ordered = sorted(samples)
    reach = _Z95 / 2 * math.sqrt(n)
    low = max(math.floor(n / 2 - reach), 0)
    high = min(math.ceil(n / 2 + reach), n - 1)
    median = statistics.median(ordered)
    return (ordered[high] - ordered[low]) / (2 * _Z95 * median) if median > 0 else math.inf


def median_interval(
    samples: Sequence[float], *, coverage: float = 0.95, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Interval of the median by moving-block bootstrap, in the samples' unit.

    Blocks of n^(1/3) neighbours are drawn (Künsch 1989), because successive runs on a drifting
    clock are not independent. The same samples always give the same interval.
    """
    n = len(samples)
    if n == 0:
        raise InputError("an interval needs a sample", where="samples")
    rng = random.Random(seed)
    length = max(round(n ** (1 / 3)), 1)
    medians = []
    for _ in range(resamples):
        drawn: list[float] = []
        while len(drawn) < n:
            begin = rng.randrange(n - length + 1)
            drawn.extend(samples[begin : begin + length])
        medians.append(statistics.median(drawn[:n]))
    medians.sort()
    tail = (1 - coverage) / 2
    last = resamples - 1
    return medians[math.floor(tail * last)], medians[math.ceil((1 - tail) * last)]
