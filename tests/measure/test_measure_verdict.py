"""Ratios, intervals and verdicts on times whose truth is known."""

from __future__ import annotations

import functools
import itertools
import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces import CALL_S, TRACES, TraceDevice, drift

from dilnas.errors import InputError
from dilnas.measure import verdict as verdict_module
from dilnas.measure.interleave import Schedule, interleave
from dilnas.measure.sampling import median_interval
from dilnas.measure.verdict import (
    LOOKS,
    MANY_LOOKS,
    ONE_LOOK,
    Estimate,
    Rule,
    estimate,
    fewest,
    judge,
    judge_all,
    rank,
)
from dilnas.records import VERDICTS, Verdict

RULE = Rule(margin=0.03, level=MANY_LOOKS)
SEEDS = 200


@functools.cache
def verdicts_of(trace: str, truth: float, seeds: int = SEEDS) -> list[Verdict]:
    """Of ``seeds`` comparisons by the default protocol, the contender ``truth`` times slower."""
    out = []
    for seed in range(seeds):
        device = TraceDevice(TRACES[trace](random.Random(seed)))

        def decided(samples: list[list[float]]) -> bool:
            return judge_all(("a", "b"), samples, RULE)[0].verdict != "AMBIGUOUS"

        taken = interleave(
            [lambda: 1.0, lambda: truth, lambda: 1.0], device,
            Schedule(time_limit_s=1e9), decided=decided, seed=seed,
        )  # fmt: skip
        out += judge_all(("a", "b"), taken.samples_s, RULE)
    return out


@pytest.mark.parametrize("truth", [1.0, 1.02, 3.0])
@pytest.mark.parametrize("trace", TRACES)
def test_intervals_cover_the_truth(trace: str, truth: float) -> None:
    """At least 95 % of the intervals hold the true ratio, however the rounds ended.

    Fewer than 180 of 200 would happen with a chance of 0.2 % if 95 % was only just reached.
    """
    covered = sum(v.low <= truth <= v.high for v in verdicts_of(trace, truth))
    assert covered >= 0.9 * SEEDS
    noise = sum(v.noise_low <= 1 <= v.noise_high for v in verdicts_of(trace, truth))
    assert noise >= 0.9 * SEEDS


@pytest.mark.parametrize("trace", TRACES)
def test_a_model_is_never_faster_or_slower_than_itself(trace: str) -> None:
    """On no trace; nearly always it is the same, else it is said that it cannot be told."""
    found = [v.verdict for v in verdicts_of(trace, 1.0)]
    assert set(found) <= {"SAME", "AMBIGUOUS"}
    assert found.count("SAME") >= 0.95 * SEEDS


@pytest.mark.parametrize("trace", TRACES)
def test_three_times_slower_is_always_slower(trace: str) -> None:
    """And three times faster always faster."""
    assert {v.verdict for v in verdicts_of(trace, 3.0)} == {"SLOWER"}
    assert {v.verdict for v in verdicts_of(trace, 1 / 3)} == {"FASTER"}


@pytest.mark.parametrize("trace", TRACES)
def test_a_difference_at_the_margin_is_decided_either_way_at_most_rarely(trace: str) -> None:
    """Just beyond the margin SAME would be wrong, just within it SLOWER: 5 % each at most."""
    beyond = [v.verdict for v in verdicts_of(trace, 1.031, 80)]
    within = [v.verdict for v in verdicts_of(trace, 1.029, 80)]
    assert beyond.count("SAME") <= 0.05 * 80
    assert within.count("SLOWER") <= 0.05 * 80
    assert "FASTER" not in beyond + within


def test_without_interleaving_the_same_drift_misleads() -> None:
    """One after the other, two equal models differ on a drifting machine, and surely so."""
    factors = list(itertools.islice(drift(random.Random(0)), 120))
    first, second = ([CALL_S * f for f in part] for part in (factors[:60], factors[60:]))
    assert median_interval(first)[1] < median_interval(second)[0]
    unpaired = estimate(second, first, ONE_LOOK)
    assert unpaired.low > 1.05
    quiet = Estimate(ratio=1, low=0.999, high=1.001, reached=True)
    assert judge(unpaired, quiet, RULE, name="b", baseline="a", rounds=60).verdict == "SLOWER"
    assert {v.verdict for v in verdicts_of("drift", 1.0)} <= {"SAME", "AMBIGUOUS"}


def test_a_fixed_order_within_the_round_misleads_too() -> None:
    """A clock that alternates with the rounds favours a place, unless places are drawn anew."""
    factors = [1.3 if i % 2 else 1.0 for i in range(80)]
    fixed = estimate(factors[1::2], factors[0::2], ONE_LOOK)
    assert fixed.low > 1.2
    assert {v.verdict for v in verdicts_of("bimodal, every run", 1.0)} <= {"SAME", "AMBIGUOUS"}


@given(st.integers(1, 14), st.floats(0.001, 0.2))
def test_the_rank_is_the_largest_that_misses_rarely_enough(rounds: int, level: float) -> None:
    """2 P(W < k) <= level for k, and not for k + 1; all choices of signs are counted."""
    sums = [0]
    for own in range(1, rounds + 1):
        sums += [total + own for total in sums]

    def miss(k: int) -> Fraction:
        return Fraction(2 * sum(total < k for total in sums), 2**rounds)

    k = rank(rounds, level)
    assert miss(k) <= level < miss(k + 1)
    assert (k > 0) == (rounds >= fewest(level))


@pytest.mark.parametrize("level", [MANY_LOOKS, ONE_LOOK])
def test_the_approximation_goes_on_where_counting_ends(
    level: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One rank apart at most, among the hundreds of pairs that sixty rounds leave outside."""
    exact = [rank(rounds, level) for rounds in (50, 60)]
    monkeypatch.setattr(verdict_module, "EXACT_ROUNDS", 0)
    near = [rank.__wrapped__(rounds, level) for rounds in (50, 60)]
    assert all(abs(a - b) <= 0.01 * a + 1 for a, b in zip(exact, near, strict=True))


def missed_at_any(looks: tuple[int, ...], magnitudes: np.ndarray, level: float) -> float:
    """Share of draws of the signs (rows of ``magnitudes``) that a look puts outside."""
    signs = np.random.default_rng(1).integers(0, 2, magnitudes.shape).astype(bool)
    missed = np.zeros(len(magnitudes), bool)
    for look in looks:
        ranks = magnitudes[:, :look].argsort(1).argsort(1) + 1
        total = (ranks * signs[:, :look]).sum(1)
        least = np.minimum(total, look * (look + 1) // 2 - total)
        missed |= least < rank(look, level)
    return float(missed.mean())


@pytest.mark.parametrize("kind", ["normal", "heavy-tailed"])
def test_looking_often_misses_at_most_one_time_in_twenty(kind: str) -> None:
    """Wherever the last look falls; a level of 1.5 % would be too much, one look may have 5 %."""
    draw = np.random.default_rng(0)
    shape = (20_000, LOOKS[-1])
    drawn = draw.standard_normal(shape) if kind == "normal" else draw.standard_t(1.5, shape)
    magnitudes = np.abs(drawn)
    for end in (30, 95, 191, 300, 384):
        looks = (*(look for look in LOOKS if look < end), end)
        assert missed_at_any(looks, magnitudes, MANY_LOOKS) <= 0.05
    assert missed_at_any(LOOKS, magnitudes, 0.015) > 0.05
    assert missed_at_any((40,), magnitudes, ONE_LOOK) <= 0.052


def span(low: float, high: float) -> Estimate:
    return Estimate(ratio=math.sqrt(low * high), low=low, high=high, reached=True)


QUIET, LOUD = span(0.995, 1.004), span(0.9, 1.08)


@pytest.mark.parametrize(
    ("found", "noise", "expected", "why"),
    [
        (span(0.99, 1.02), QUIET, "SAME", "all within the 3.0% margin"),
        (span(1.01, 1.029), QUIET, "SAME", "all within the 3.0% margin"),
        (span(1.031, 1.05), QUIET, "SLOWER", "above the 3.0% margin"),
        (span(0.90, 0.96), QUIET, "FASTER", "below the 3.0% margin"),
        (span(0.99, 1.04), QUIET, "AMBIGUOUS", "neither within"),
        (span(0.80, 1.30), QUIET, "AMBIGUOUS", "neither within"),
        (span(1.02, 1.04), QUIET, "AMBIGUOUS", "neither within"),
        (span(1.05, 1.08), LOUD, "AMBIGUOUS", "not beyond the noise"),
        (span(0.92, 0.95), LOUD, "AMBIGUOUS", "not beyond the noise"),
        (span(1.20, 1.30), LOUD, "SLOWER", "and the noise"),
        (span(0.70, 0.80), LOUD, "FASTER", "and the noise"),
        (span(0.99, 1.01), LOUD, "AMBIGUOUS", "the noise is not"),
    ],
)
def test_the_rule(found: Estimate, noise: Estimate, expected: str, why: str) -> None:
    """Every branch, with the sentence that it gives."""
    verdict = judge(found, noise, RULE, name="b", baseline="a", rounds=50)
    assert (verdict.verdict, why in verdict.why) == (expected, True), verdict
    assert verdict.verdict in VERDICTS


TIMES = st.lists(
    st.tuples(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3), st.floats(1e-6, 1e3)),
    min_size=1, max_size=40,
)  # fmt: skip


@given(TIMES)
def test_swapping_two_contenders_swaps_the_verdict(times: list[tuple[float, ...]]) -> None:
    """The interval of b/a is the reciprocal of that of a/b, so nothing prefers a side."""
    a, b, _ = zip(*times, strict=True)
    there, back = estimate(b, a, MANY_LOOKS), estimate(a, b, MANY_LOOKS)
    assert there.low == pytest.approx(1 / back.high)
    assert there.high == pytest.approx(1 / back.low)
    assert there.low <= there.ratio <= there.high
    swapped = {"FASTER": "SLOWER", "SLOWER": "FASTER"}
    one, other = (judge(e, QUIET, RULE, name="b", baseline="a", rounds=1) for e in (there, back))
    assert swapped.get(one.verdict, one.verdict) == other.verdict


@given(TIMES, st.floats(0.1, 10))
def test_a_factor_common_to_a_round_changes_nothing(
    times: list[tuple[float, ...]], factor: float
) -> None:
    """Ratios are taken within rounds."""
    a, b, c = zip(*times, strict=True)
    slowed = [[x * (factor if i % 2 else 1) for i, x in enumerate(one)] for one in (a, b, c)]
    plain, moved = (judge_all(("a", "b"), samples, RULE)[0] for samples in ((a, b, c), slowed))
    assert moved.ratio == pytest.approx(plain.ratio)
    assert moved.low == pytest.approx(plain.low)


def test_too_few_rounds_decide_nothing() -> None:
    """Seven rounds have no 95 % interval over several looks; eight have one."""
    few, enough = ([1.0] * 7, [9.0] * 7, [1.0] * 7), ([1.0] * 8, [9.0] * 8, [1.0] * 8)
    assert judge_all(("a", "b"), few, RULE)[0].verdict == "AMBIGUOUS"
    assert "7 rounds are too few" in judge_all(("a", "b"), few, RULE)[0].why
    assert judge_all(("a", "b"), enough, RULE)[0].verdict == "SLOWER"
    assert fewest(MANY_LOOKS) == 8


@pytest.mark.parametrize("margin", [0.0, -0.1, 1.0, math.nan, math.inf])
def test_a_margin_is_a_share(margin: float) -> None:
    """One line that names the option."""
    with pytest.raises(InputError, match="--margin"):
        Rule(margin=margin)


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([1.0], [-1])])
def test_ratios_need_positive_pairs(a: list[float], b: list[float]) -> None:
    """Nothing else has a ratio."""
    with pytest.raises(InputError):
        estimate(a, b, ONE_LOOK)
