"""What paired times say: the ratio with its interval, the noise floor, and one of four verdicts.

    round 1   control  B  baseline     every round runs each contender and a second copy of the
    round 2   B  baseline  control     baseline (the A/A control) once, in an order drawn anew
    round 3   baseline  B  control
              ratio B / baseline       one a round, from which the ratio and its interval
              ratio control / baseline the same statistic of what is known to be equal: the noise

**Why the interval holds under drift, spikes and clocks that switch.** Say that the machine slows
whatever runs at the i-th place of a round by some factor e_i, which may depend on anything: time of
day, temperature, the rounds before. Then log(time(B) / time(baseline)) is the truth plus
log e_B - log e_baseline. Both orders are equally likely and drawn anew each round, so the sign of
that difference is a fair coin, independent of all other rounds and of how large it is, *whatever
the e are*. That is all that Wilcoxon's signed-rank test assumes: the ratio is the median of the
means of all pairs of rounds (Hodges and Lehmann 1963), and the interval lies between the k-th
smallest and the k-th largest of them, k from the exact distribution of the rank sum. On noise seen
on shared CPUs it is two thirds as wide as that of a sign test. A bootstrap has to guess how far
noise reaches from one round into the next; here nothing is guessed. (It is not exact where the
noise adds seconds instead of slowing all alike, and the contenders' times differ by much: then the
ratio that is covered is that of what was experienced.)

**Why looking several times is allowed.** The verdict is looked for after 12, 24, 48, … rounds and
once more when time is up, at most seven times. At a level of 1.05 % a look the chance that the
truth is outside at *any* look is at most 5 %, wherever the last look falls: a test draws the signs
20,000 times for magnitudes of a normal and of a heavy-tailed distribution. So the interval is one
of 95 % however the comparison ended. ``rounds`` given: one look, at 5 %.

**The rule.** With a margin m (3 % on a CPU, 1 % on CUDA) and the noise, the farther end of the A/A
interval from 1:

    SLOWER     the whole interval lies above 1 by more than m and by more than the noise
    FASTER     the same below 1
    SAME       the whole interval, and that of the A/A control, lies within the margin
    AMBIGUOUS  none of these

Two copies of one model differ for good by where their memory lies, which no number of rounds
averages away: hence a margin at all, and hence the noise counts with its whole interval. SAME has
a bound that does not grow with the noise: on a machine that cannot tell the baseline from itself to
within m, nothing is called the same. A difference smaller than m is called none, with its interval
beside. All of it is on the logarithm of the ratio, so that swapping two contenders swaps FASTER and
SLOWER and nothing else.

Each interval holds by itself; several contenders are not corrected for being several. No torch.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from dilnas.errors import InputError
from dilnas.records import Verdict

__all__ = [
    "LOOKS",
    "MANY_LOOKS",
    "MARGINS",
    "ONE_LOOK",
    "Estimate",
    "Rule",
    "estimate",
    "fewest",
    "judge",
    "judge_all",
    "rank",
]

LOOKS = (12, 24, 48, 96, 192, 384)
"""Rounds after which a verdict is looked for; the last look is at the end, wherever that is."""

MANY_LOOKS = 0.0105
"""Chance of missing at one look that gives at most 5 % over ``LOOKS`` and a last one."""

ONE_LOOK = 0.05

EXACT_ROUNDS = 60
"""Rounds up to which the signed-rank sum's distribution is counted out."""

MARGINS = {"cpu": 0.03, "cuda": 0.01}
"""Relative difference that counts as none, by kind of device.

CPU: copies of one model differ by 1 to 2 % of their time for as long as they live.
CUDA: device time repeats to some tenths of a per cent.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Ratio from paired times, and its interval.

    ``reached``: whether there were rounds enough; otherwise low and high are the extremes, which
    cover less often than the interval should.
    """

    ratio: float
    low: float
    high: float
    reached: bool

    @property
    def extent(self) -> float:
        """The end of the interval farther from 1, as a logarithm: 0.02 is about 2 %."""
        return max(abs(math.log(self.low)), abs(math.log(self.high)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How a verdict is found.

    Attributes:
        margin: relative difference that counts as none, 0.03 is 3 %.
        level: chance at one look that the interval misses.
    """

    margin: float = MARGINS["cpu"]
    level: float = MANY_LOOKS

    def __post_init__(self) -> None:
        if not (math.isfinite(self.margin) and 0 < self.margin < 1):
            raise InputError(
                "must be a share above 0 and below 1", where="--margin",
                expected="0.03 for 3 %", got=self.margin,
            )  # fmt: skip


@functools.cache
def rank(rounds: int, level: float) -> int:
    """Largest k for which [k-th smallest, k-th largest] of the pairs' means misses that rarely.

    That is 2 P(W < k) <= level for Wilcoxon's signed-rank sum W of ``rounds`` differences: exact
    up to 60 rounds, by the normal approximation with continuity correction beyond. 0: there is no
    such interval.
    """
    pairs = rounds * (rounds + 1) // 2
    if rounds > EXACT_ROUNDS:
        spread = math.sqrt(pairs * (2 * rounds + 1) / 12)
        lowest = statistics.NormalDist(pairs / 2, spread).inv_cdf(level / 2)
        return max(math.floor(lowest + 0.5), 0)
    ways = [1] + [0] * pairs  # of choosing ranks that sum to the index
    for own in range(1, rounds + 1):
        for total in range(pairs, own - 1, -1):
            ways[total] += ways[total - own]
    numerator, denominator = level.as_integer_ratio()
    below, limit = 0, numerator << rounds
    for k, count in enumerate(ways):
        below += count
        if 2 * below * denominator > limit:
            return k
    return pairs  # pragma: no cover - a level is below 1


def fewest(level: float) -> int:
    """Fewest rounds that have an interval: 8 at ``MANY_LOOKS``, 6 at ``ONE_LOOK``."""
    return 1 + math.ceil(-math.log2(level))


def estimate(samples_s: Sequence[float], baseline_s: Sequence[float], level: float) -> Estimate:
    """Ratio of ``samples_s`` to ``baseline_s``, paired by round, and its interval.

    Hodges-Lehmann estimate on the logarithms, and the interval of Wilcoxon's signed-rank test that
    misses at ``level``. Raises InputError for no rounds, unequal numbers of them, or a time that is
    not positive.
    """
    import numpy as np

    if not samples_s or len(samples_s) != len(baseline_s):
        raise InputError("a ratio needs as many samples of both", where="samples")
    if (least := min((*samples_s, *baseline_s))) <= 0:
        raise InputError("a time must be positive", where="samples", got=least)
    logs = np.log(np.asarray(samples_s, float)) - np.log(np.asarray(baseline_s, float))
    one, other = np.triu_indices(len(logs))
    means = np.sort((logs[one] + logs[other]) / 2)
    k = rank(len(logs), level)
    at = max(k, 1) - 1
    ratio, low, high = (math.exp(x) for x in (np.median(means), means[at], means[-1 - at]))
    return Estimate(ratio=ratio, low=low, high=high, reached=k > 0)


def judge(
    found: Estimate, noise: Estimate, rule: Rule, *, name: str, baseline: str, rounds: int
) -> Verdict:
    """The verdict on ``found`` beside ``noise``, the A/A control of the same ``rounds``."""
    if found.reached and noise.reached:
        verdict, why = _decide(found, noise, rule)
    else:
        verdict, why = "AMBIGUOUS", f"{rounds} rounds are too few for a 95% interval"
    return Verdict(
        name=name,
        baseline=baseline,
        ratio=found.ratio,
        low=found.low,
        high=found.high,
        noise_low=noise.low,
        noise_high=noise.high,
        verdict=verdict,
        why=why,
    )


def judge_all(
    names: Sequence[str], samples_s: Sequence[Sequence[float]], rule: Rule
) -> tuple[Verdict, ...]:
    """A verdict on every contender but the first, the baseline, which ``names`` name.

    ``samples_s`` are seconds by contender and round, one sequence more than names: the control's.
    """
    base, control = samples_s[0], samples_s[-1]
    noise = estimate(control, base, rule.level)
    return tuple(
        judge(
            estimate(own, base, rule.level), noise, rule,
            name=name, baseline=names[0], rounds=len(base),
        )
        for name, own in zip(names[1:], samples_s[1:-1], strict=True)
    )  # fmt: skip


def _decide(found: Estimate, noise: Estimate, rule: Rule) -> tuple[str, str]:
    """Verdict and the sentence that says why."""
    margin, low, high = math.log1p(rule.margin), math.log(found.low), math.log(found.high)
    limit = f"the {rule.margin:.1%} margin"
    if low > margin or high < -margin:
        side, verdict = ("above", "SLOWER") if low > margin else ("below", "FASTER")
        if min(abs(low), abs(high)) > noise.extent:
            return verdict, f"{_span(found)}: all {side} {limit} and the noise"
        why = f"beyond {limit}, not beyond the noise ({_span(noise)})"
    elif found.extent > margin:
        why = f"neither within {limit} nor beyond it"
    elif noise.extent > margin:
        why = f"within {limit}, but the noise is not ({_span(noise)})"
    else:
        return "SAME", f"{_span(found)}: all within {limit}, and so is the noise"
    return "AMBIGUOUS", f"{_span(found)}: {why}"


def _span(found: Estimate) -> str:
    if found.low >= 2:
        return f"{found.low:.3g} to {found.high:.3g} times the time"
    return f"{found.low - 1:+.1%} to {found.high - 1:+.1%}"
