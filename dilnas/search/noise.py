"""How much of a front is noise: means and spreads of re-trainings, and ties between members.

The spread between seeds is estimated once for all that were re-trained (two or three trainings of
one network say little about it), with as many degrees of freedom as there are trainings beyond the
first of each. A difference counts as one when it exceeds Student's t at 95 % times its standard
error, which is two standard errors or a little more.

What this cannot see: all scores come from the same validation images, so the error of that split is
partly common to them. With one training each, only the split's binomial error is known, and the
scatter between seeds is not.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from dilnas.search.candidate import COMPLETE, Candidate, front
from dilnas.search.finals import HeldOut, chosen

__all__ = ["BEATEN", "CLEAR", "TIE", "Standing", "reported_front", "spread", "standings"]

CLEAR, TIE, BEATEN = "clear", "tie", "beaten"

LEVEL = 0.95

MANY = 10_000
"""Degrees of freedom that stand for a known error."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How sure a member's place on the front is.

    Attributes:
        membership: "clear": better than every cheaper member by more than noise; "tie": not, as
            far as can be told; "beaten": worse than a cheaper one by more than noise; "": not
            known.
        rival: number of that cheaper member (the cheapest of several ties), or None.
    """

    membership: str
    rival: int | None = None


def spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation; None for fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None


def reported_front(
    candidates: Sequence[Candidate], cost_name: str, held_out: HeldOut
) -> list[Candidate]:
    """The front that is reported, cheapest first.

    All that the search's scores have put on it; and, once each of ``chosen`` has been re-trained,
    other re-trained candidates whose mean no other, as cheap or cheaper, reaches.
    """
    from dilnas.cost import pareto_mask

    members = front(list(candidates), cost_name)
    wanted = chosen(candidates, cost_name, held_out.val_images)
    if not wanted or any(c.number not in held_out.scores for c in wanted):
        return members
    known = [c for c in candidates if c.state == COMPLETE and held_out.accuracies(c.number)]
    values = [
        (1 - statistics.fmean(held_out.accuracies(c.number)), c.figures.get(cost_name))
        for c in known
    ]
    if not known:
        return members
    numbers = {c.number for c in members}
    best = zip(known, pareto_mask(values), strict=True)
    joined = [c for c, kept in best if kept and c.number not in numbers]
    return sorted(members + joined, key=lambda c: (c.figures.get(cost_name), c.number))


def standings(members: Sequence[Candidate], held_out: HeldOut) -> dict[int, Standing]:
    """Standing of each member of a front, given cheapest first, by its number.

    From the means of the re-trainings; where nothing was re-trained, from the search's scores. A
    member whose re-trainings all failed is then not compared.
    """
    scores = {c.number: held_out.accuracies(c.number) for c in members}
    if not any(scores.values()):
        scores = {c.number: [c.scores[-1].accuracy] for c in members}
    errors, factor = _errors(scores, held_out)
    found: dict[int, Standing] = {}
    for place, member in enumerate(members):
        cheaper = [c.number for c in members[:place] if scores[c.number]]
        found[member.number] = _standing(member.number, cheaper, scores, errors, factor)
    return found


def _errors(
    scores: dict[int, list[float]], held_out: HeldOut
) -> tuple[dict[int, float | None], float]:
    """Standard error of each mean, and the factor that makes it half an interval."""
    from scipy.special import stdtrit  # Student's t; scipy.stats takes a second to import

    # All re-trainings tell of the spread, those of references and near misses too.
    repeated = {n: held_out.accuracies(n) for n in held_out.scores}
    freedom = sum(len(values) - 1 for values in repeated.values() if values)
    quantile = (1 + LEVEL) / 2
    if freedom:
        squares = sum(
            (value - statistics.fmean(values)) ** 2
            for values in repeated.values()
            for value in values
        )
        sigma = math.sqrt(squares / freedom)
        errors = {n: sigma / math.sqrt(len(v)) if v else None for n, v in scores.items()}
        return errors, float(stdtrit(freedom, quantile))
    images = held_out.val_images
    binomial = {
        n: math.sqrt(v[0] * (1 - v[0]) / images) if v and images else None
        for n, v in scores.items()
    }
    return binomial, float(stdtrit(MANY, quantile))


def _standing(
    number: int,
    cheaper: Sequence[int],
    scores: dict[int, list[float]],
    errors: dict[int, float | None],
    factor: float,
) -> Standing:
    own = errors[number]
    if not scores[number] or own is None:
        return Standing("")
    ties: list[int] = []
    for other in cheaper:
        theirs = errors[other] or 0.0
        lead = statistics.fmean(scores[number]) - statistics.fmean(scores[other])
        margin = factor * math.hypot(own, theirs)
        if lead < -margin:
            return Standing(BEATEN, other)
        if lead <= margin:
            ties.append(other)
    return Standing(TIE, ties[0]) if ties else Standing(CLEAR)
