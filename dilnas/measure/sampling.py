"""When to stop: warm up until steady, then sample until the median is known or time is up.

    |<----------- warm-up ----------->|<------------------- sampling ------------------->|
    run run run run run run … steady? | s0   s1   s2   s3  …                    stop?    |
    |                                 |                                                  |
    at least min_warmup runs and      at least min_samples and min_s, then until the
    min_warmup_s, then until two      relative standard error of the median is at most
    windows of runs agree within      target_rse; at most max_samples or max_s,
    steady_within, or max_warmup_s    whichever comes first

What else runs on a machine comes in bursts of seconds, so that neighbouring samples are alike and
an error computed as if they were independent is too small: two short measurements then disagree by
more than either admits. Here the error is the larger of that one and of the one that the medians
of eight successive blocks show; sampling that has seen a burst goes on. A state that lasts longer
than the sampling leaves no trace in the samples: only what the device tells can show it.

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

__all__ = [
    "Progress",
    "Protocol",
    "Sampled",
    "block_interval",
    "collect",
    "median_interval",
    "median_rse",
]

Progress = Callable[[str, float], None]
"""Called between runs, never within one, with what is being done and the share done (0..1)."""

_WINDOW = 3
"""Runs in a warm-up window: a median of three ignores one spike."""

_Z95 = 1.959964
"""Standard normal quantile of a two-sided 95 % interval."""

_BLOCKS = 8
_T95 = 2.364624
"""Successive blocks of samples, and Student's two-sided 95 % quantile of one fewer."""

_CHECK_GROWTH = 1.1
"""Precision is looked at when there are so many times more samples than at the last look: looking
at every sample would stop at the first lucky one."""


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
        min_s: shortest sampling, unless ``max_samples`` or ``max_s`` is reached before.
        max_s: longest sampling; a run that has begun is finished.
        target_rse: relative standard error of the median at which it is known well enough.
    """

    min_warmup: int = 3
    min_warmup_s: float = 0.2
    max_warmup_s: float = 5.0
    steady_within: float = 0.05
    min_samples: int = 20
    max_samples: int = 1000
    min_s: float = 3.0
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
    start, check_at = clock(), 0.0
    while True:
        samples.append(once())
        elapsed = clock() - start
        stopped_by = _stop(samples, elapsed, protocol, check=len(samples) >= check_at)
        if len(samples) >= max(check_at, protocol.min_samples):
            check_at = len(samples) * _CHECK_GROWTH
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


def _stop(samples: Sequence[float], elapsed: float, protocol: Protocol, *, check: bool) -> str:
    """Why to stop now; empty to go on."""
    enough = len(samples) >= protocol.min_samples and elapsed >= protocol.min_s
    if enough and check and median_rse(samples) <= protocol.target_rse:
        return "precision"
    if len(samples) >= protocol.max_samples:
        return "count"
    return "time" if elapsed >= protocol.max_s else ""


def median_rse(samples: Sequence[float]) -> float:
    """Relative standard error of the median; inf below six samples.

    Half the wider of two 95 % intervals, over 1.96. The first lies between the order statistics
    n/2 ± 0.98 √n: it holds for any distribution, spikes do not move it, and it takes samples to be
    independent. The second is that of the medians of successive blocks (``block_interval``).
    """
    n = len(samples)
    if n < 6:
        return math.inf
    ordered = sorted(samples)
    reach = _Z95 / 2 * math.sqrt(n)
    low = max(math.floor(n / 2 - reach), 0)
    high = min(math.ceil(n / 2 + reach), n - 1)
    widest = ordered[high] - ordered[low]
    if (blocks := block_interval(samples)) is not None:
        widest = max(widest, blocks[1] - blocks[0])
    median = statistics.median(ordered)
    return widest / (2 * _Z95 * median) if median > 0 else math.inf


def block_interval(samples: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the median from the medians of eight successive blocks, by Student's t.

    The method of batch means with medians: what lasts longer than a sample, a burst of other load
    or a slower clock, makes blocks differ. None below two samples a block.
    """
    n = len(samples)
    if n < 2 * _BLOCKS:
        return None
    medians = [
        statistics.median(samples[i * n // _BLOCKS : (i + 1) * n // _BLOCKS])
        for i in range(_BLOCKS)
    ]
    half = _T95 * statistics.stdev(medians) / math.sqrt(_BLOCKS)
    middle = statistics.median(samples)
    return middle - half, middle + half


def median_interval(
    samples: Sequence[float], *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the median, in the samples' unit, within their range.

    By moving-block bootstrap, widened to ``block_interval`` where that is wider. Blocks of n^(1/3)
    neighbours are drawn (Künsch 1989), because successive runs on a drifting clock are not
    independent. The same samples always give the same interval.
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
    last = resamples - 1
    low, high = medians[math.floor(0.025 * last)], medians[math.ceil(0.975 * last)]
    if (blocks := block_interval(samples)) is not None:
        low, high = min(low, blocks[0]), max(high, blocks[1])
    return max(low, min(samples)), min(high, max(samples))
