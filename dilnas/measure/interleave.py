"""Contenders run in turns, in an order drawn anew each round, until their ratios are known.

    |look|  warm-up rounds  | round 1        | round 2        | … |look| …  judge?  …  |look|
            all contenders,   A2  B  A1        B  A1  A2
            until steady      each ``calls`` times in a row, one sample each

Knows callables and a Device, neither models nor torch, so that it is tested on traces with a known
truth. Looks and progress happen between rounds only.

The order within a round takes away what a place in it does (caches, allocator and clocks as the one
before left them); rounds take away drift. All warm up in turns as well, because memory that one
frees is what the next is given. A contender that takes less than a millisecond runs several times a
round, all of them equally often, so that the clock's own cost and resolution do not count.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dilnas.errors import InputError
from dilnas.measure.device import Device, Look, Run
from dilnas.measure.sampling import Progress
from dilnas.measure.verdict import LOOKS, MANY_LOOKS, ONE_LOOK

__all__ = ["Rounds", "Schedule", "interleave"]

SHORTEST_SAMPLE_S = 1e-3
MOST_CALLS = 1000
LONGEST_ROUND_S = 0.5
"""A round is not made longer than this by repeating calls."""

MOST_ROUNDS = 10_000
LOOK_EVERY_S = 0.5
WARM_UP_SHARE = 0.25
MAX_WARM_UP_S = 5.0
MIN_WARM_UP_ROUNDS = 4
MIN_WARM_UP_S = 0.5
STEADY_WITHIN = 0.1
WINDOW = 3
"""Most warm-up rounds in a window; two windows' medians within ``STEADY_WITHIN`` are steady."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When to look for a verdict and when to stop.

    Attributes:
        time_limit_s: seconds for warm-up (a quarter at most, 5 s at most) and rounds, or infinity;
            a round that has begun is finished.
        patience_s: seconds that may be taken to reach the first look, if that is more.
        looks: rounds after which a verdict is looked for, ascending; the last is the most there
            are.
    """

    time_limit_s: float = 60.0
    patience_s: float = 120.0
    looks: tuple[int, ...] = LOOKS

    def __post_init__(self) -> None:
        for value in (self.time_limit_s, self.patience_s):
            if not value > 0:  # also refuses what is not a number
                raise InputError(
                    "must be a positive number of seconds", where="--time-limit", got=value
                )

    @property
    def level(self) -> float:
        """Chance at one look that an interval misses, for 5 % in all."""
        return ONE_LOOK if len(self.looks) == 1 else MANY_LOOKS

    def within(self, seconds: float) -> Schedule:
        """This schedule, ``seconds`` at most; infinity: until the looks are over."""
        return replace(self, time_limit_s=seconds, patience_s=seconds)

    def exactly(self, rounds: int) -> Schedule:
        """One look, after ``rounds``. Raises InputError for a number out of range."""
        if (
            isinstance(rounds, bool)
            or not isinstance(rounds, int)
            or not (1 <= rounds <= MOST_ROUNDS)
        ):
            raise InputError(
                "out of range", where="--rounds", expected=f"1..{MOST_ROUNDS}", got=rounds
            )
        return replace(self, looks=(rounds,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """Samples by contender and round, and how they were taken.

    Attributes:
        samples_s: seconds of one call, one tuple a contender, in the order of the rounds.
        runs: the same as the device gave them (of ``calls`` calls each).
        looks: what the device told, before, between and after.
        calls: calls in a sample.
        warm_up: rounds before the first.
        steady: whether warm-up ended because rounds had become steady.
        stopped_by: "verdict" (all decided), "count" (the last look) or "time".
        rounds_s: seconds that the rounds took.
    """

    samples_s: tuple[tuple[float, ...], ...]
    runs: tuple[tuple[Run, ...], ...]
    looks: tuple[Look, ...]
    calls: int
    warm_up: int
    steady: bool
    stopped_by: str
    rounds_s: float

    @property
    def control_s(self) -> tuple[float, ...]:
        """Samples of the last contender, which is the control."""
        return self.samples_s[-1]


def interleave(
    calls: Sequence[Callable[[], object]],
    device: Device,
    schedule: Schedule,
    *,
    decided: Callable[[Sequence[Sequence[float]]], bool],
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Rounds:
    """Run ``calls`` in turns by the schedule.

    ``decided`` is asked at every look but the last with the samples so far, one sequence a call,
    and ends the rounds by saying True. ``seed`` gives the orders. What a call raises passes
    through.
    """
    rng = random.Random(seed)
    looks = [device.look()]
    start = looked = device.clock()
    warm = _warm_up(calls, device, schedule, rng, on_progress)
    many = _calls(warm)
    work = [_several(call, many) for call in calls]
    runs: list[list[Run]] = [[] for _ in calls]
    samples: list[list[float]] = [[] for _ in calls]
    begin, stopped_by = device.clock(), ""
    while not stopped_by:
        for i in rng.sample(range(len(work)), len(work)):
            run = device.run(work[i])
            runs[i].append(run)
            samples[i].append(run.device_s / many)
        now = device.clock()
        stopped_by = _stop(samples, now - start, schedule, decided)
        if now - looked > LOOK_EVERY_S:
            looks.append(device.look())
            looked = now
        if on_progress is not None:
            done = len(samples[0])
            share = max((now - start) / schedule.time_limit_s, done / schedule.looks[-1])
            on_progress(f"round {done}", 1.0 if stopped_by else min(share, 1.0))
    rounds_s = device.clock() - begin
    looks.append(device.look())
    return Rounds(
        samples_s=tuple(map(tuple, samples)),
        runs=tuple(map(tuple, runs)),
        looks=tuple(looks),
        calls=many,
        warm_up=len(warm),
        steady=_steady(warm),
        stopped_by=stopped_by,
        rounds_s=rounds_s,
    )


def _stop(
    samples: Sequence[Sequence[float]],
    elapsed: float,
    schedule: Schedule,
    decided: Callable[[Sequence[Sequence[float]]], bool],
) -> str:
    """Why to stop after this round; empty to go on."""
    done = len(samples[0])
    if done >= schedule.looks[-1]:
        return "count"
    if done in schedule.looks and decided(samples):
        return "verdict"
    limit = schedule.time_limit_s
    if done < schedule.looks[0]:
        limit = max(limit, schedule.patience_s)
    return "time" if elapsed >= limit else ""


def _warm_up(
    calls: Sequence[Callable[[], object]],
    device: Device,
    schedule: Schedule,
    rng: random.Random,
    on_progress: Progress | None,
) -> list[list[float]]:
    """Seconds of each call, a list a round."""
    rounds: list[list[float]] = []
    start = device.clock()
    most = min(WARM_UP_SHARE * schedule.time_limit_s, MAX_WARM_UP_S)
    while True:
        seconds = [0.0] * len(calls)
        for i in rng.sample(range(len(calls)), len(calls)):
            seconds[i] = device.run(calls[i]).device_s
        rounds.append(seconds)
        elapsed = device.clock() - start
        if on_progress is not None:
            on_progress("warm-up", min(elapsed / most, 1.0))
        if elapsed >= most:
            return rounds
        if elapsed >= MIN_WARM_UP_S and len(rounds) >= MIN_WARM_UP_ROUNDS and _steady(rounds):
            return rounds


def _steady(rounds: Sequence[Sequence[float]]) -> bool:
    """Whether whole rounds take as long as before: medians of two windows agree."""
    width = min(len(rounds) // 2, WINDOW)
    if not width:
        return False
    totals = [sum(seconds) for seconds in rounds]
    now = statistics.median(totals[-width:])
    before = statistics.median(totals[-2 * width : -width])
    return abs(now - before) <= STEADY_WITHIN * before


def _calls(warm: Sequence[Sequence[float]]) -> int:
    """Calls in a sample, the same for all, so that the shortest sample is long enough."""
    late = warm[-WINDOW:]
    typical = [statistics.median(seconds[i] for seconds in late) for i in range(len(warm[0]))]
    wanted = math.ceil(SHORTEST_SAMPLE_S / max(min(typical), 1e-9))
    affordable = int(LONGEST_ROUND_S / max(sum(typical), 1e-9))
    return max(min(wanted, affordable, MOST_CALLS), 1)


def _several(call: Callable[[], object], times: int) -> Callable[[], object]:
    if times == 1:
        return call

    def repeat() -> None:
        for _ in range(times):
            call()

    return repeat
