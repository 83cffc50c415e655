"""The audit of a search: do the cheap scores rank candidates as the dear one does?

A proxy is a score that a search has earlier or for less: the free score of the architecture, the
cost itself, each rung before the last. Its worth is its rank correlation (Kendall's tau-b) with
what it stands for, over all pairs and over the pairs of nearly equal cost: over all pairs the size
alone gives a high one.

Only candidates that were promoted ever reach full fidelity, so all pairs here are of a selected
sample; the audit says of how many. Correlations in it are usually lower than in the whole space.

Pure functions of the ledger's candidates.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dilnas.report.audit import AUDIT_FORMAT
from dilnas.search.candidate import COMPLETE, Candidate
from dilnas.search.finals import HeldOut

__all__ = ["ProxyAudit", "TauEstimate", "audit", "audit_document", "tau_estimate"]

ENOUGH = 24
"""Candidates below which a correlation is too uncertain for a verdict: with a true tau of 0.83 the
95 % range is 0.57..1.0 at 8, 0.68..0.93 at 16 and 0.75..0.91 at 24."""

NEAR = 1.1
"""Ratio of costs up to which two candidates cost about the same."""

NEAR_PAIRS = 10
"""Pairs of about the same cost that a verdict needs."""

FREE_TAU, FREE_NEAR, PROXY_NEAR = 0.70, 0.40, 0.65
"""Smallest tau for trust: of a free score overall and at equal cost, of a trained one at equal
cost. A trained proxy must also beat the free score overall."""

RESAMPLES = 1000
MOST = 400
"""Candidates beyond which a random sample of as many is audited: pairs grow as n^2."""

SAME = 1e-9
"""Taus of resamples that differ by less are the same, but for rounding."""

TRUST, DOUBT, TOO_FEW = "trust", "don't trust", "too few to say"


@dataclass(frozen=True, slots=True, kw_only=True)
class TauEstimate:
    """Kendall's tau-b of two scores.

    Attributes:
        tau: -1..1; None where one of the scores is the same for all, or there is no pair.
        low, high: 95 % percentile bootstrap interval over candidates, always around ``tau``; None
            where all resamples give the same, as of two pairs: that says nothing of the doubt.
        pairs: pairs that were compared.
    """

    tau: float | None
    low: float | None
    high: float | None
    pairs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyAudit:
    """What one proxy is worth.

    Attributes:
        proxy: "nsc", a cost's name, "rung 1" … or "search" (the score at full fidelity).
        target: "full fidelity" or "re-trained" (the mean over other seeds).
        candidates: those that have both.
        overall: over all their pairs.
        near: over pairs that differ by at most 10 % in cost.
        verdict: "trust", "don't trust" or "too few to say".
        why: the figure that decided.
    """

    proxy: str
    target: str
    candidates: int
    overall: TauEstimate
    near: TauEstimate
    verdict: str
    why: str


def tau_estimate(
    a: ArrayLike, b: ArrayLike, near: ArrayLike | None = None, *, seed: int = 0
) -> TauEstimate:
    """Tau-b of ``a`` and ``b`` (N,), over the pairs that ``near`` (N, N) allows, with its interval.

    Pairs tied in a score count as in tau-b: not at all in the numerator, and in the root of that
    score's denominator not either. Copies of a candidate in a resample are no pair. The same
    arguments give the same interval.
    """
    x, y = np.asarray(a, float), np.asarray(b, float)
    allowed = np.ones((len(x), len(x))) if near is None else np.asarray(near, float)
    allowed = allowed * (1 - np.eye(len(x)))
    signs_x = np.sign(x[:, None] - x[None, :]) * allowed
    signs_y = np.sign(y[:, None] - y[None, :]) * allowed
    sums = (signs_x * signs_y, np.abs(signs_x), np.abs(signs_y))
    pairs = int(allowed.sum()) // 2
    tau = float(_taus(np.ones((1, len(x))), sums)[0])
    if not np.isfinite(tau):
        return TauEstimate(tau=None, low=None, high=None, pairs=pairs)
    draws = np.random.default_rng(seed).multinomial(
        len(x), np.full(len(x), 1 / len(x)), size=RESAMPLES
    )
    taus = _taus(draws.astype(float), sums)
    low, high = np.quantile(taus[np.isfinite(taus)], (0.025, 0.975))
    if high - low < SAME:
        return TauEstimate(tau=tau, low=None, high=None, pairs=pairs)
    return TauEstimate(tau=tau, low=min(float(low), tau), high=max(float(high), tau), pairs=pairs)


def _taus(
    counts: NDArray[np.float64], sums: tuple[NDArray[np.float64], ...]
) -> NDArray[np.float64]:
    """Tau-b when candidate i occurs ``counts[r, i]`` times, for each row r; NaN where undefined."""
    agreement, untied_x, untied_y = ((counts @ s * counts).sum(axis=1) for s in sums)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Rounding must not carry a perfect agreement beyond 1.
        taus: NDArray[np.float64] = np.clip(agreement / np.sqrt(untied_x * untied_y), -1, 1)
    return taus


def audit(
    candidates: Sequence[Candidate],
    cost_name: str,
    free: Mapping[int, float],
    held_out: HeldOut,
    *,
    rungs: int,
) -> list[ProxyAudit]:
    """One line for each proxy: the free score, the cost and each rung against full fidelity, then
    the free score and the search's score against the re-trained means.

    Args:
        candidates: of the ledger.
        cost_name: the cost that is an objective.
        free: the free score (NSC) by candidate's number.
        held_out: the re-trainings.
        rungs: number of rungs; the last is full fidelity.
    """
    whole = _sample([c for c in candidates if c.state == COMPLETE and c.number in free])
    costs = [c.figures.get(cost_name) for c in whole]
    scores = {"nsc": [free[c.number] for c in whole], cost_name: costs}
    for rung in range(rungs - 1):
        scores[f"rung {rung + 1}"] = [c.scores[rung].accuracy for c in whole]
    full = [c.scores[-1].accuracy for c in whole]
    lines = _lines(scores, full, "full fidelity", costs, cost_name)

    again = [c for c in whole if held_out.accuracies(c.number)]
    if again:
        means = [statistics.fmean(held_out.accuracies(c.number)) for c in again]
        lines += _lines(
            {
                "nsc": [free[c.number] for c in again],
                "search": [c.scores[-1].accuracy for c in again],
            },
            means, "re-trained", [c.figures.get(cost_name) for c in again], cost_name,
        )  # fmt: skip
    return lines


def audit_document(lines: Sequence[ProxyAudit], candidates: Sequence[Candidate]) -> dict[str, Any]:
    """``lines`` as audit.json, JSON-able, with what the reader must know beside them."""
    complete = sum(c.state == COMPLETE for c in candidates)
    scored = sum(c.alive and c.rung >= 0 for c in candidates)
    return {
        "dilnas_audit": AUDIT_FORMAT,
        "complete": complete,
        "scored": scored,
        "selection": (
            f"{complete} of {scored} scored candidates reached full fidelity, chosen by their "
            "earlier scores: correlations are of this selected sample"
        ),
        "interval": f"95 %, percentile bootstrap over candidates, {RESAMPLES} resamples",
        "near": f"pairs whose costs differ by at most {NEAR - 1:.0%}",
        "lines": [asdict(line) for line in lines],
    }


def _sample(whole: list[Candidate]) -> list[Candidate]:
    """All, or ``MOST`` of them drawn at random, the same ones every time."""
    if len(whole) <= MOST:
        return whole
    kept = np.sort(np.random.default_rng(0).choice(len(whole), MOST, replace=False))
    return [whole[i] for i in kept]


def _lines(
    scores: Mapping[str, Sequence[float]],
    target: Sequence[float],
    name: str,
    costs: Sequence[float],
    cost_name: str,
) -> list[ProxyAudit]:
    logs = np.log(np.asarray(costs, float))
    near = np.abs(logs[:, None] - logs[None, :]) <= np.log(NEAR) + 1e-12
    overall = {proxy: tau_estimate(values, target) for proxy, values in scores.items()}
    at_cost = {proxy: tau_estimate(values, target, near) for proxy, values in scores.items()}
    free = overall["nsc"].tau or 0.0  # undefined: it ranks nothing
    lines = []
    for proxy in scores:
        bar = None if proxy in ("nsc", cost_name) else free
        verdict, why = _verdict(len(target), overall[proxy], at_cost[proxy], bar)
        lines.append(
            ProxyAudit(
                proxy=proxy, target=name, candidates=len(target), overall=overall[proxy],
                near=at_cost[proxy], verdict=verdict, why=why,
            )
        )  # fmt: skip
    return lines


def _verdict(
    count: int, overall: TauEstimate, near: TauEstimate, free: float | None
) -> tuple[str, str]:
    """Verdict and reason, by the thresholds above; ``free`` is the free score's tau, which a
    trained proxy must reach, and None for what is free itself.
    """
    if count < ENOUGH:
        return TOO_FEW, f"{count} candidates, {ENOUGH} needed"
    if overall.tau is None or near.tau is None or near.pairs < NEAR_PAIRS:
        return TOO_FEW, f"{near.pairs} pairs of equal cost, {NEAR_PAIRS} needed"
    if free is None and overall.tau < FREE_TAU:
        return DOUBT, f"{overall.tau:.2f} overall, {FREE_TAU:.2f} needed"
    if free is not None and overall.tau < free:
        return DOUBT, f"{overall.tau:.2f} overall, the free score {free:.2f}"
    least = FREE_NEAR if free is None else PROXY_NEAR
    if near.tau < least:
        return DOUBT, f"{near.tau:.2f} at equal cost, {least:.2f} needed"
    return TRUST, f"{overall.tau:.2f} overall, {near.tau:.2f} at equal cost"
