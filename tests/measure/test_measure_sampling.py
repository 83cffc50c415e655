"""When to stop: every rule on a clock that moves only when something is run."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilnas.errors import InputError
from dilnas.measure.sampling import (
    Protocol,
    Sampled,
    block_interval,
    collect,
    median_interval,
    median_rse,
)


class Clock:
    """Time that passes only within runs."""

    def __init__(self, durations: Iterator[float]) -> None:
        self.now = 0.0
        self.durations = durations

    def __call__(self) -> float:
        return self.now

    def once(self) -> float:
        seconds = next(self.durations)
        self.now += seconds
        return seconds


def run(durations: Iterator[float], protocol: Protocol) -> Sampled:
    clock = Clock(durations)
    return collect(clock.once, protocol, clock=clock)


def noisy(seed: int, median: float, noise: float) -> Iterator[float]:
    rng = random.Random(seed)
    while True:
        yield median * (1 + rng.uniform(-noise, noise))


def test_steady_runs_stop_when_the_median_is_known() -> None:
    """A callable that always takes 10 ms is sampled no longer than the shortest sampling."""
    result = run(itertools.repeat(0.01), Protocol(min_samples=20, min_s=0.5))
    assert result.stopped_by == "precision"
    assert result.steady
    assert 50 <= len(result.samples) <= 56  # precision is looked at every tenth more
    assert set(result.samples) == {0.01}


def test_slow_first_runs_are_warm_up_and_not_samples() -> None:
    """Compilation and cold caches are over before the first sample."""
    slow = iter([3.0, 1.0, 0.5, 0.2, 0.1, 0.05])
    result = run(itertools.chain(slow, itertools.repeat(0.01)), Protocol(max_warmup_s=60))
    assert result.warmup >= 10
    assert max(result.samples) == 0.01


def test_runs_that_never_settle_are_said_to_be_unsteady() -> None:
    """A callable that gets slower with every run ends its warm-up by time."""
    growing = (0.01 * 1.1**i for i in itertools.count())
    assert not run(growing, Protocol(max_warmup_s=1.0, max_s=1.0)).steady


def test_the_time_cap_ends_noisy_sampling() -> None:
    """Noise that no number of samples removes in time stops at max_s."""
    result = run(noisy(0, 0.1, 0.9), Protocol(max_s=3.0, target_rse=1e-6))
    assert result.stopped_by == "time"
    assert 3.0 <= sum(result.samples) <= 3.2


def test_one_call_longer_than_the_limit_still_gives_a_sample() -> None:
    """A limit of two seconds on a callable of ten gives one warm-up run and one sample."""
    result = run(itertools.repeat(10.0), Protocol().within(2.0))
    assert (result.warmup, len(result.samples), result.stopped_by) == (1, 1, "time")


def test_max_samples_bounds_short_calls() -> None:
    """A microsecond callable ends by count."""
    protocol = Protocol(max_samples=30, min_s=1.0)
    result = run(itertools.repeat(1e-3), protocol)
    assert (len(result.samples), result.stopped_by) == (30, "count")


def test_progress_is_told_between_runs_and_stays_within_0_and_1() -> None:
    """A progress bar can trust the share, and its last call is complete."""
    seen: list[tuple[str, float]] = []
    clock = Clock(itertools.repeat(0.1))
    collect(clock.once, Protocol(), clock=clock, on_progress=lambda *a: seen.append(a))
    assert all(0 <= share <= 1 for _, share in seen)
    assert seen[-1][1] == 1.0
    assert {text.split()[0] for text, _ in seen} == {"warm-up", "sample"}


@pytest.mark.parametrize(
    "change",
    [
        {"min_samples": 0},
        {"min_samples": 9, "max_samples": 8},
        {"max_s": 0.0},
        {"max_s": math.inf},
        {"target_rse": -1.0},
        {"min_warmup": -1},
    ],
)
def test_a_protocol_that_cannot_end_is_refused(change: dict[str, float]) -> None:
    """The error names the field."""
    with pytest.raises(InputError) as caught:
        Protocol(**change)  # type: ignore[arg-type]
    assert caught.value.where in {"min_samples", "max_s", "target_rse", "min_warmup"}


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_a_time_limit_must_be_positive(seconds: float) -> None:
    """--time-limit 0 is answered, not obeyed."""
    with pytest.raises(InputError, match="positive"):
        Protocol().within(seconds)


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=60), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_the_interval_lies_within_the_samples_and_repeats(samples: list[float], seed: int) -> None:
    """The bootstrap invents no value and gives the same answer twice."""
    low, high = median_interval(samples, resamples=50, seed=seed)
    assert min(samples) <= low <= high <= max(samples)
    assert (low, high) == median_interval(samples, resamples=50, seed=seed)


def _spiked(seed: int) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(10, 0.2) * (5 if rng.random() < 0.05 else 1) for _ in range(60)]


@pytest.mark.parametrize("draw", [_spiked])
def test_the_interval_covers_the_true_median_of_a_spiky_trace(
    draw: Callable[[int], list[float]],
) -> None:
    """Of 60 traces with 5 % of five-fold spikes at least 51 intervals hold the true median.

    The truth, found by 10^6 draws, is 10.013; nominal coverage is 95 %.
    """
    inside = 0
    for seed in range(60):
        low, high = median_interval(draw(seed), resamples=300)
        inside += low <= 10.013 <= high
    assert inside >= 51


def test_spikes_do_not_move_the_standard_error_of_the_median() -> None:
    """One sample a thousand times too slow leaves it as it was."""
    plain = [10 + 0.01 * i for i in range(100)]
    assert median_rse([*plain[:-1], 1e4]) == pytest.approx(median_rse(plain), rel=0.02)


def test_fewer_than_six_samples_know_no_error() -> None:
    """An unknown error is infinite, so that sampling goes on."""
    assert median_rse([1.0] * 5) == math.inf
    assert median_rse([1.0] * 6) == 0


def test_the_error_shrinks_with_the_evidence() -> None:
    """Sixteen times the samples of one law are known about four times as well."""
    rng = random.Random(3)
    samples = [rng.gauss(10, 0.3) for _ in range(1600)]
    few = statistics.median(median_rse(samples[i : i + 100]) for i in range(0, 1600, 100))
    assert few / 6 < median_rse(samples) < few / 2


def bursts(seed: int, n: int, share: float = 0.3, length: int = 20) -> list[float]:
    """A machine with two states, quiet and 1.3 times slower, that last ``length`` samples."""
    rng = random.Random(seed)
    slow, out = rng.random() < share, []
    for _ in range(n):
        leave = 1 / length if slow else share / (1 - share) / length
        slow = slow != (rng.random() < leave)
        out.append((1.3 if slow else 1.0) * rng.gauss(10, 0.1))
    return out


def swinging(seed: int, n: int) -> list[float]:
    """Each sample like the one before: a first-order autoregression of 0.9."""
    rng = random.Random(seed)
    value, out = rng.gauss(0, 1), []
    for _ in range(n):
        value = 0.9 * value + math.sqrt(1 - 0.81) * rng.gauss(0, 1)
        out.append(10 * math.exp(0.03 * value))
    return out


@pytest.mark.parametrize(("draw", "least"), [(bursts, 75), (swinging, 80)])
def test_the_interval_covers_the_median_where_neighbours_are_alike(
    draw: Callable[[int, int], list[float]], least: int
) -> None:
    """Of 100 traces of 200 samples; intervals that take samples as independent hold it in 45."""
    truth = statistics.median(draw(10_000, 200_000))
    held = [median_interval(draw(seed, 200), resamples=100) for seed in range(100)]
    assert sum(low <= truth <= high for low, high in held) >= least


def test_a_burst_of_other_load_prolongs_sampling() -> None:
    """The same seconds of samples: quiet ones are enough, with a burst in them they are not."""
    quiet = [10 + 0.01 * (i % 7) for i in range(80)]
    burst = [value * (1.3 if 30 <= i < 50 else 1) for i, value in enumerate(quiet)]
    assert median_rse(quiet) < 0.001
    assert median_rse(burst) > 0.02


def test_a_shuffled_burst_is_noise_like_any_other() -> None:
    """Only the order tells the two apart: independent samples have the smaller error."""
    trace = bursts(0, 400)
    mixed = random.Random(0).sample(trace, len(trace))
    ordered, shuffled = block_interval(trace), block_interval(mixed)
    assert ordered is not None
    assert shuffled is not None
    assert ordered[1] - ordered[0] > 1.5 * (shuffled[1] - shuffled[0])


def test_blocks_need_two_samples_each() -> None:
    """Fifteen samples make no eight blocks."""
    assert block_interval([1.0] * 15) is None
    assert block_interval([1.0] * 16) == (1.0, 1.0)


def test_precision_is_not_looked_at_after_every_sample() -> None:
    """A lucky moment among many looks would end sampling too early."""
    result = run(noisy(1, 0.01, 0.02), Protocol(min_s=0.2, max_s=30.0))
    assert result.stopped_by == "precision"
    sizes, at = [], 0.0
    for n in range(1, 1000):
        if n >= at:
            sizes.append(n)
            at = n * 1.1 if n >= 20 else 0.0
    assert len(result.samples) in sizes
