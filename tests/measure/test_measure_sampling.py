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
from dilnas.measure.sampling import Protocol, Sampled, collect, median_interval, median_rse


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
    assert 50 <= len(result.samples) <= 52
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


@given(st.lists(st.floats(0.1, 10), min_size=6, max_size=200))
@settings(max_examples=50, deadline=None)
def test_the_error_shrinks_when_the_same_samples_are_seen_four_times(samples: list[float]) -> None:
    """Four times the evidence never knows less."""
    assert median_rse(samples * 4) <= median_rse(samples) + 1e-12
    assert statistics.median(samples * 4) == pytest.approx(statistics.median(samples))
