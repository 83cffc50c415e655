"""The shape of samples in time and in value: do they hang together, are they two heaps.

No torch, no numpy: pure rules, tested on traces with a known answer.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Heaps", "independent_samples", "two_heaps"]

APART = 0.05
"""Two heaps nearer than this share of the median are one: no doubt follows from them."""

SMALLEST_HEAP = 0.1
"""Fewer samples than this share are outliers, not a heap."""

FEWEST = 40
"""Fewer samples than this fall into heaps by chance: one draw in thirty at 20, of any law."""

VALLEY = 0.1
"""Between two heaps, in the middle third of the way, lies at most this share of the smaller."""

NARROW = 1 / 3
"""The middle half of each heap spans at most this share of the way. It is 1/2 to 3/5 where one
uniform, normal or exponential heap is split in two."""


@dataclass(frozen=True, slots=True)
class Heaps:
    """Medians of two heaps, the smaller value first, and the share of the samples in the second."""

    low: float
    high: float
    high_share: float


def two_heaps(samples: Sequence[float]) -> Heaps | None:
    """The two heaps that samples fall into, as from two clock states; None where they do not.

    Split where the variance within both sides is least (Otsu 1979); they are two heaps where both
    are large, apart, and the way between them is nearly empty.
    """
    n = len(samples)
    ordered = sorted(samples)
    median = statistics.median(ordered) if n else 0.0
    if n < FEWEST or median <= 0:
        return None
    sums = list(itertools.accumulate(ordered))
    total = sums[-1]

    def between(k: int) -> float:
        """Variance between the k smallest and the others, but for a factor."""
        mean_low, mean_high = sums[k - 1] / k, (total - sums[k - 1]) / (n - k)
        return k * (n - k) * (mean_high - mean_low) ** 2

    split = max(range(1, n), key=between)
    heaps = ordered[:split], ordered[split:]
    low, high = (statistics.median(heap) for heap in heaps)
    smaller, way = min(split, n - split), high - low
    if smaller < max(SMALLEST_HEAP * n, 5) or way < APART * median:
        return None
    if max(_middle_half(heap) for heap in heaps) > NARROW * way:
        return None
    between_them = sum(low + way / 3 < value < high - way / 3 for value in ordered)
    return Heaps(low, high, (n - split) / n) if between_them <= VALLEY * smaller else None


def _middle_half(samples: Sequence[float]) -> float:
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    return high - low


def independent_samples(samples: Sequence[float]) -> float:
    """How many independent samples these are worth; ``len(samples)`` if they are independent.

    n / (1 + 2 Σ r(k)) with the autocorrelation r of the ranks, so that spikes do not count, summed
    while the sum of two successive ones is positive (initial positive sequence, Geyer 1992).
    """
    n = len(samples)
    ranks = _ranks(samples)
    variance = sum(rank * rank for rank in ranks)
    if n < 4 or variance == 0:
        return float(n)

    def correlation(lag: int) -> float:
        return sum(a * b for a, b in zip(ranks, ranks[lag:], strict=False)) / variance

    total = 0.0
    for lag in range(1, n // 2, 2):
        pair = correlation(lag) + correlation(lag + 1)
        if pair <= 0:
            break
        total += pair
    return min(n / (1 + 2 * total), float(n))


def _ranks(samples: Sequence[float]) -> list[float]:
    """Ranks less their mean; equal samples share theirs."""
    order = sorted(range(len(samples)), key=lambda i: samples[i])
    ranks = [0.0] * len(samples)
    middle, place = (len(samples) - 1) / 2, 0
    for _, group in itertools.groupby(order, key=lambda i: samples[i]):
        equal = list(group)
        for i in equal:
            ranks[i] = place + (len(equal) - 1) / 2 - middle
        place += len(equal)
    return ranks
