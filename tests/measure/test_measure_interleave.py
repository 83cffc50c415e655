"""Turns in random order, when they stop, and what is kept of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces import CALL_S, TraceDevice

from dilnas.errors import InputError
from dilnas.measure.interleave import Rounds, Schedule, interleave
from dilnas.measure.verdict import LOOKS, MANY_LOOKS, ONE_LOOK


def steady() -> TraceDevice:
    return TraceDevice(itertools.repeat(1.0))


def never(_: Sequence[Sequence[float]]) -> bool:
    return False


class Diary:
    """Calls that write down in which order they were made."""

    def __init__(self, costs: Sequence[float]) -> None:
        self.order: list[int] = []
        self.calls = [self._call(i, cost) for i, cost in enumerate(costs)]

    def _call(self, i: int, cost: float) -> Callable[[], float]:
        def call() -> float:
            self.order.append(i)
            return cost

        return call

    def rounds(self, taken: Rounds) -> list[list[int]]:
        width = len(self.calls)
        kept = self.order[taken.warm_up * width :]
        return [kept[i : i + width] for i in range(0, len(kept), width)]


@given(st.integers(2, 6), st.integers(1, 30), st.integers(0, 2**32))
def test_every_round_runs_everyone_once(width: int, rounds: int, seed: int) -> None:
    """In some order, which the seed gives; samples are sorted back to their contenders."""
    diary = Diary([1.0 + i for i in range(width)])
    schedule = Schedule(time_limit_s=1e9).exactly(rounds)
    taken = interleave(diary.calls, steady(), schedule, decided=never, seed=seed)
    assert [sorted(order) for order in diary.rounds(taken)] == [list(range(width))] * rounds
    for i, samples in enumerate(taken.samples_s):
        assert samples == pytest.approx([CALL_S * (1 + i)] * rounds)
    assert taken.control_s == taken.samples_s[-1]
    again = Diary([1.0 + i for i in range(width)])
    interleave(again.calls, steady(), schedule, decided=never, seed=seed)
    assert again.order == diary.order


def test_no_place_in_the_round_is_anybodys() -> None:
    """Over 300 rounds each of three stands at each place 100 times, give or take 5 sigma."""
    diary = Diary([1.0, 1.0, 1.0])
    taken = interleave(
        diary.calls, steady(), Schedule(time_limit_s=1e9).exactly(300), decided=never
    )
    for who, place in itertools.product(range(3), range(3)):
        count = sum(order[place] == who for order in diary.rounds(taken))
        assert abs(count - 100) < 5 * math.sqrt(300 * 2 / 9)


def test_it_stops_at_a_look_that_decides_and_only_there() -> None:
    """Asked after 12, 24, … rounds and not between."""
    asked = []

    def decided(samples: Sequence[Sequence[float]]) -> bool:
        asked.append(len(samples[0]))
        return len(samples[0]) >= 40

    taken = interleave(
        Diary([1, 1]).calls, steady(), Schedule(time_limit_s=1e9), decided=decided
    )  # fmt: skip
    assert asked == [12, 24, 48]
    assert (taken.stopped_by, len(taken.control_s)) == ("verdict", 48)


def test_it_stops_when_all_looks_are_over() -> None:
    """The last is not asked about: nothing would follow from it."""
    taken = interleave(Diary([1, 1]).calls, steady(), Schedule(time_limit_s=1e9), decided=never)
    assert (taken.stopped_by, len(taken.control_s)) == ("count", LOOKS[-1])


def test_it_stops_in_time_with_whole_rounds() -> None:
    """A round that has begun is finished, and warm-up counts."""
    device = steady()
    taken = interleave(
        Diary([1, 2, 1]).calls, device, Schedule().within(3.0), decided=never
    )  # fmt: skip
    assert taken.stopped_by == "time"
    assert len({len(samples) for samples in taken.samples_s}) == 1
    assert 3.0 <= device.now < 3.0 + 4 * CALL_S * 1.01


def test_slow_models_get_their_first_look_by_default_but_not_against_a_limit() -> None:
    """A round of 8 s: twelve of them within the patience, four within a limit of 40 s."""
    slow = [400.0, 400.0]
    patient = interleave(Diary(slow).calls, steady(), Schedule(), decided=never)
    assert (patient.stopped_by, len(patient.control_s)) == ("time", 12)
    strict = interleave(Diary(slow).calls, steady(), Schedule().within(40.0), decided=never)
    assert (strict.stopped_by, len(strict.control_s)) == ("time", 4)
    hopeless = interleave(Diary([8000.0, 1]).calls, steady(), Schedule(), decided=never)
    assert len(hopeless.control_s) == 1


def test_short_calls_run_several_times_a_sample() -> None:
    """20 µs: fifty calls make a millisecond, and a sample is still the time of one."""
    diary = Diary([0.002, 0.004])
    taken = interleave(diary.calls, steady_sum(diary), Schedule().within(2.0), decided=never)
    assert taken.calls == 50
    assert taken.samples_s[0] == pytest.approx([0.002 * CALL_S] * len(taken.control_s))


def steady_sum(diary: Diary) -> TraceDevice:
    """A device on which everything that a call calls takes its time."""

    class Summing(TraceDevice):
        def run(self, call: Callable[[], object]) -> object:
            before = len(diary.order)
            call()
            cost = sum({0: 0.002, 1: 0.004}[i] for i in diary.order[before:])
            return super().run(lambda: cost)

    return Summing(itertools.repeat(1.0))


def test_long_rounds_are_not_made_longer() -> None:
    """Beside a contender of 0.4 s a call of 20 µs runs once."""
    taken = interleave(
        Diary([0.002, 40.0]).calls, steady(), Schedule().within(9.0), decided=never
    )  # fmt: skip
    assert taken.calls == 1


def test_warm_up_ends_when_rounds_are_steady() -> None:
    """A machine that is slow at first and then steady; one that never is, is said to be so."""
    settling = TraceDevice(1 + 20 * math.exp(-i / 4) for i in itertools.count())
    taken = interleave(Diary([1, 1]).calls, settling, Schedule(), decided=never)
    assert taken.steady
    assert max(taken.samples_s[0]) < 1.1 * CALL_S
    restless = TraceDevice(1.05**i for i in itertools.count())
    taken = interleave(Diary([1, 1]).calls, restless, Schedule().within(9.0), decided=never)
    assert not taken.steady


def test_the_device_is_looked_at_between_rounds_and_progress_is_told() -> None:
    """First, last and every half second between; shares never go beyond 1."""
    device, told = steady(), []
    taken = interleave(
        Diary([1, 1]).calls, device, Schedule().within(5.0), decided=never,
        on_progress=lambda doing, share: told.append((doing, share)),
    )  # fmt: skip
    assert len(taken.looks) == device.looked >= 8
    assert all(0 <= share <= 1 for _, share in told)
    assert {doing.split()[0] for doing, _ in told} == {"warm-up", "round"}
    assert told[-1] == (f"round {len(taken.control_s)}", 1.0)


def test_what_a_call_raises_passes_through() -> None:
    """Nothing is swallowed."""

    def call() -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interleave([call, call], steady(), Schedule(), decided=never)


@pytest.mark.parametrize("rounds", [0, -1, 10_001, True, 1.5])
def test_a_number_of_rounds_out_of_range_is_refused(rounds: int) -> None:
    """One line that names the option."""
    with pytest.raises(InputError, match="--rounds"):
        Schedule().exactly(rounds)


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan])
def test_a_time_limit_is_positive(seconds: float) -> None:
    """Infinity is a limit; nothing and not-a-number are none."""
    with pytest.raises(InputError, match="--time-limit"):
        Schedule().within(seconds)
    assert Schedule().within(math.inf).time_limit_s == math.inf


def test_one_look_has_the_whole_chance_to_itself() -> None:
    """Exactly N rounds: 5 %; several looks share it."""
    assert (Schedule().exactly(30).level, Schedule().level) == (ONE_LOOK, MANY_LOOKS)
