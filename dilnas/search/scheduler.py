"""Which paused candidate goes on to its next rung: pure functions of the ledger's candidates.

Asynchronous successive halving for several objectives (MO-ASHA, Schmucker et al., arXiv
2106.12639), with three changes that measurements asked for. A scalar halving kills the cheap end
of the front, and a plain non-dominated rank, with an exact cost as an objective, hardly stops
anything: so what goes on is what is *expected to add most* to the hypervolume of those that went
on before it, by the proposer's model. In simulated searches that, with equal shares at all rungs,
needed half to three quarters of the epochs of a comparison by rank inside bands of cost, which is
what happens while there are too few scores for a model. The first rung stops the most: the model
has learnt from all what it says of one candidate, a second look adds less to that, and so most of
those that had one go on (docs/search.md has what that brought, and where a harder first cut was
worse). The shares grow when a search is small, so that enough candidates reach full fidelity to
draw a front from; and they are used sparingly at first, because early promotions know little.

Nothing is remembered here: a restart with the same ledger decides the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dilnas.search.candidate import Candidate, front, points

if TYPE_CHECKING:
    from dilnas.search.forecast import Forecast

__all__ = ["PromotionRule", "cost_bands", "next_promotion", "promotion_order", "rule_for"]

FULL_FIDELITY = 12
"""Candidates that at least reach the last rung in a search that starts as many."""

FIRST_CUT, LATER_SHARE = 0.9, 0.6
"""With three rungs and more: the first one keeps this times 1/eta, and later ones this share."""

BAND_SIZE = 6
"""Candidates for one cost band to be worth having."""

MAX_BANDS = 4

WANTED_FRONT = 4
"""Points on the front below which a search trains more of its paused candidates to the end, and how
many more at most: a front that is short after that is short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionRule:
    """How promotion works in one search.

    Attributes:
        keep: for each rung but the last, the share of its candidates that goes on, 0..1.
        bands: number of cost bands.
        cost_name: the cost that is an objective.
        eta: how much longer a training to a rung is than to the one before.
        first: number of the first candidate since the search last came to its end. When --trials
            is raised, all are compared, but only these have a share to be promoted: those before
            had theirs, and must not use up that of the new ones.
        planned: candidates that the search starts in all; 0 if nobody knows.
    """

    keep: tuple[float, ...]
    bands: int
    cost_name: str
    eta: float = 3.0
    first: int = 0
    planned: int = 0

    @property
    def rungs(self) -> int:
        """Number of rungs; the last is full fidelity."""
        return len(self.keep) + 1

    def reaching(self, rung: int) -> float:
        """Share of all candidates that gets to ``rung``."""
        return math.prod(self.keep[:rung])


def rule_for(
    trials: int, rungs: int, eta: float, cost_name: str, *, first: int = 0
) -> PromotionRule:
    """The rule for a search of ``trials`` candidates and ``rungs`` rungs.

    What is kept leaves ``FULL_FIDELITY`` candidates at the end, whatever the shares would be else.

    Args:
        trials: candidates that it starts.
        rungs: number of rungs.
        eta, cost_name, first: as in ``PromotionRule``.
    """
    steps = rungs - 1
    enough = min(1.0, FULL_FIDELITY / max(trials, 1))
    keep: tuple[float, ...] = ()
    if steps == 1:
        keep = (max(1 / eta, enough),)
    elif steps:
        later = max(LATER_SHARE, enough ** (1 / steps))
        keep = (max(FIRST_CUT / eta, enough / later ** (steps - 1)), *[later] * (steps - 1))
    return PromotionRule(
        keep=keep, bands=max(1, min(MAX_BANDS, trials // BAND_SIZE)), cost_name=cost_name,
        eta=eta, first=first, planned=trials,
    )  # fmt: skip


def cost_bands(costs: Sequence[float], count: int) -> list[int]:
    """Band 0..count-1 of each cost: quantiles, so bands differ by at most one in size.

    Equal costs are told apart by their position, cheapest band first.
    """
    ranked = sorted(range(len(costs)), key=lambda i: (costs[i], i))
    labels = [0] * len(costs)
    for position, i in enumerate(ranked):
        labels[i] = position * count // len(costs)
    return labels


def promotion_order(values: Any) -> list[int]:
    """Indices of the rows of ``values`` (N, 2; error and cost, minimised), best first.

    By non-dominated rank; inside a rank by epsilon-net: first the most accurate, then always the
    point farthest from those already taken, in the range-normalised plane.
    """
    import numpy as np

    from dilnas.cost import pareto_ranks

    if not len(values):
        return []
    ranks = pareto_ranks(values)
    span = np.ptp(values, axis=0)
    scaled = (values - values.min(axis=0)) / np.where(span > 0, span, 1.0)
    order: list[int] = []
    for rank in sorted(set(ranks.tolist())):
        left = [i for i in range(len(values)) if ranks[i] == rank]
        chosen = [min(left, key=lambda i: (values[i, 0], values[i, 1], i))]
        left.remove(chosen[0])
        while left:
            gaps = np.linalg.norm(scaled[left][:, None] - scaled[chosen][None], axis=2).min(axis=1)
            chosen.append(left.pop(int(gaps.argmax())))
        order += chosen
    return order


def next_promotion(
    candidates: Sequence[Candidate],
    rule: PromotionRule,
    *,
    ending: bool,
    forecast: Callable[[], Forecast | None] = lambda: None,
) -> Candidate | None:
    """The paused candidate to train one rung further now, or None.

    Higher rungs first. The paper's variants always go on: the result shows them as references.
    ``ending`` says that no new candidate will start: then each rung is filled up to its share,
    and short fronts are lengthened. ``forecast`` says what is expected of a candidate; while it
    says None, observed scores are compared.
    """
    alive = [c for c in candidates if c.alive]
    for rung in range(rule.rungs - 2, -1, -1):
        reached = [c for c in alive if c.rung >= rung]
        for candidate in reached:
            if candidate.origin == "variant" and _waits_at(candidate, rung):
                return candidate
        if not any(_waits_at(c, rung) for c in reached):
            continue
        known = forecast()
        if known is not None:
            found = _by_gain(reached, rung, rule, known, fill=ending)
        else:
            found = _in_bands(reached, rung, rule, fill=ending)
        if found is not None:
            return found
    return _for_the_front(alive, rule) if ending else None


def _waits_at(candidate: Candidate, rung: int) -> bool:
    return candidate.waits and candidate.rung == rung


def _by_gain(
    reached: list[Candidate], rung: int, rule: PromotionRule, forecast: Forecast, *, fill: bool
) -> Candidate | None:
    """The waiting candidate that adds most to what was promoted, while its rung has a share left.

    The share grows with the square of the candidates so far: promotions are worth more when more
    is known. At the end it is filled up.
    """
    import numpy as np

    from dilnas.search.improvement import expected_gain, worst_error

    new = [c for c in reached if c.number >= rule.first]
    waiting = [c for c in reached if _waits_at(c, rung)]
    expected = rule.planned * rule.reaching(rung)
    ramp = min(1.0, len(new) / expected) if expected else 1.0
    share = rule.keep[rung] * len(new) * (1.0 if fill else ramp)
    allowed = math.ceil(share - 1e-9) if fill else math.floor(share + 1e-9)
    if not waiting or sum(c.target > rung for c in new) >= allowed:
        return None
    belief, costs = forecast.of(reached)
    errors = belief.error
    gone = np.array([c.target > rung for c in reached])
    front = np.stack([errors[gone], costs[gone]], axis=1)
    belief, cost = forecast.of(waiting)
    end = float(errors[np.argmin(costs)])
    corner = (worst_error(errors, end), forecast.forecaster.highest)
    return waiting[int(np.argmax(expected_gain(belief.below, cost, front, corner)))]


def _in_bands(
    reached: list[Candidate], rung: int, rule: PromotionRule, *, fill: bool
) -> Candidate | None:
    if not reached:
        return None
    labels = cost_bands([c.figures.get(rule.cost_name) for c in reached], rule.bands)
    waiting: list[tuple[float, int, Candidate]] = []
    for band in range(rule.bands):
        members = [c for c, label in zip(reached, labels, strict=True) if label == band]
        ordered = [members[i] for i in promotion_order(points(members, rule.cost_name, rung))]
        new = [c for c in members if c.number >= rule.first]
        promoted = sum(c.target > rung for c in new)
        best = math.floor(rule.keep[rung] * len(members) + 1e-9)
        allowed = math.floor(rule.keep[rung] * len(new) + 1e-9)
        for place, candidate in enumerate(ordered):
            if not _waits_at(candidate, rung):
                continue
            if place < best and promoted < allowed:
                return candidate
            waiting.append((promoted / len(new), band, candidate))
            break
    new = [c for c in reached if c.number >= rule.first]
    quota = math.ceil(rule.keep[rung] * len(new) - 1e-9)
    if fill and waiting and sum(c.target > rung for c in new) < quota:
        return min(waiting, key=lambda item: item[:2])[2]
    return None


def _for_the_front(alive: list[Candidate], rule: PromotionRule) -> Candidate | None:
    """Best paused candidate while the finished front is short and nothing is being trained."""
    if any(c.state == "running" and not c.waits for c in alive):
        return None
    if len(front(alive, rule.cost_name)) >= WANTED_FRONT:
        return None
    new = [c for c in alive if c.number >= rule.first]
    share = math.ceil(rule.reaching(rule.rungs - 1) * len(new) - 1e-9)
    if sum(c.target == rule.rungs - 1 for c in new) >= share + WANTED_FRONT:
        return None
    for rung in range(rule.rungs - 2, -1, -1):
        waiting = [c for c in alive if _waits_at(c, rung)]
        if waiting:
            return waiting[promotion_order(points(waiting, rule.cost_name, rung))[0]]
    return None
