"""Which architecture to try next: designs to start from, then a sampler that learns.

Everything here is a function of (space, budgets, seed) and of the candidates in the ledger, so a
driver that was killed proposes, after the restart, what it would have proposed.

Budgets are exact and cheap to check: dilnas' own sampler looks at nothing that exceeds one. What
Optuna's samplers propose over a budget is not trained and not lost either: it is projected onto the
nearest architecture that fits and is new.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dilnas.arch import Architecture
from dilnas.errors import BudgetError
from dilnas.search.candidate import Candidate, Figures
from dilnas.search.domain import Domain, excess
from dilnas.search.forecast import Forecast, Forecaster
from dilnas.search.moves import redrawn
from dilnas.search.sampling import STARTUP, ask

__all__ = ["Proposal", "Proposer"]

POOL = 2048
"""Random codes that the designs, the model and the projection draw from."""

POOL_FEASIBLE = 1024
MOST_DESIGNS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A candidate to try, or one that was looked at and rejected for a ``reason``.

    ``architecture`` is None only where a domain has none: in a table of results.
    """

    code: tuple[int, ...]
    key: str
    layout: str
    figures: Figures
    origin: str
    architecture: Architecture | None
    reason: str = ""


class Proposer:
    """Proposals for one search.

    Args:
        domain: what may be proposed.
        budgets: limits by cost name.
        cost_name: the cost that is an objective.
        seed: of the search.
        sampler: auto, ehvi, gp, tpe, nsga2 or random.
    """

    def __init__(
        self,
        domain: Domain,
        budgets: dict[str, float],
        cost_name: str,
        seed: int,
        sampler: str = "auto",
    ) -> None:
        self._domain = domain
        self._budgets = budgets
        self._cost_name = cost_name
        self._seed = seed
        self._sampler = sampler
        self._axes = domain.axes
        self._lengths = [length for _, length in domain.axes]
        self._pool = self._feasible_pool()
        self._forecaster = Forecaster(domain, self._pool, budgets, cost_name)

    # --- designs to start from --------------------------------------------------------------

    def designs(self, trials: int) -> list[Proposal]:
        """The paper's variants, those over budget as rejected, then the spectral-score front.

        At most half of ``trials`` and ``MOST_DESIGNS`` to be trained, cheap and dear by turns.
        """
        named = [self._proposal(code, "variant") for code in self._domain.variants()]
        wanted = max(1, min(MOST_DESIGNS, trials // 2)) - sum(not p.reason for p in named)
        return named + self._free_designs(wanted, {p.key for p in named})

    def _free_designs(self, wanted: int, taken: set[str]) -> list[Proposal]:
        """``wanted`` new designs: off the first layers of (-NSC, cost), or far from one another."""
        from dilnas.cost import pareto_ranks

        if wanted < 1:
            return []
        codes = self._pool[self._rng(2).permutation(len(self._pool))[:POOL_FEASIBLE]]
        score = self._domain.free_score(codes)
        if score is None:
            return [self._proposal(code, "spread") for code in self._spread(codes, wanted)]
        cost = self._domain.costs(codes)[self._cost_name]
        ranks = pareto_ranks(np.stack([-score, cost], axis=1))
        new: dict[str, int] = {}
        for i in np.lexsort((cost, ranks)):
            key = self._domain.member(codes[i]).key
            if key not in taken:
                new.setdefault(key, int(i))
            if len(new) >= 2 * wanted and ranks[i] > 0:
                break
        front = sorted(new.values(), key=lambda i: cost[i])
        if not front:
            return []
        # Even steps along the layers' logarithm of cost, each taking the nearest that is left.
        picked: list[int] = []
        for target in np.linspace(math.log(cost[front[0]]), math.log(cost[front[-1]]), wanted):
            left = [i for i in front if i not in picked]
            if left:
                picked.append(min(left, key=lambda i: abs(math.log(cost[i]) - target)))
        return [self._proposal(codes[picked[i]], "nsc") for i in _far_apart(len(picked))]

    def _spread(self, codes: Any, wanted: int) -> Any:
        """``wanted`` rows of ``codes``, each farthest from those before, along axes and cost."""
        places = codes / np.maximum(np.array(self._lengths) - 1, 1)
        logs = np.log(self._domain.costs(codes)[self._cost_name])
        cost = (logs - logs.min()) / (float(np.ptp(logs)) or 1.0) * math.sqrt(len(self._lengths))
        rows = np.concatenate([places, cost[:, None]], axis=1)
        gap = np.full(len(rows), np.inf)
        chosen = [0]
        while len(chosen) < min(wanted, len(rows)):
            gap = np.minimum(gap, ((rows - rows[chosen[-1]]) ** 2).sum(axis=1))
            chosen.append(int(gap.argmax()))
        return codes[chosen]

    # --- one more ---------------------------------------------------------------------------

    def propose(self, candidates: Sequence[Candidate], number: int) -> list[Proposal]:
        """Proposals for trial ``number``: those rejected first, the last one to be trained.

        An empty list means that the space holds no further architecture within the budgets.
        """
        origin = self._origin(candidates)
        taken = {c.key for c in candidates}
        if origin == "ehvi":
            for code in self._promising(candidates, number):
                found = self._proposal(code, origin)
                if found.key not in taken:
                    return [found]
            return self._nearest_new(self._random(number), taken, number, origin)
        code = self._asked(candidates, number, origin)
        asked = self._proposal(code, origin)
        if not asked.reason and asked.key not in taken:
            return [asked]
        rejected = [asked] if asked.reason and asked.key not in taken else []
        nearest = self._nearest_new(code, taken, number, origin)
        return rejected + nearest if nearest else []

    def forecast(self, candidates: Sequence[Candidate]) -> Forecast | None:
        """What the scores say of every code; None with fewer than ``STARTUP`` of them."""
        enough = sum(c.alive and c.rung >= 0 for c in candidates) >= STARTUP
        return self._forecaster.forecast(candidates) if enough else None

    def _origin(self, candidates: Sequence[Candidate]) -> str:
        scored = sum(c.alive and c.rung >= 0 for c in candidates)
        if self._sampler == "random" or scored < STARTUP:
            return "random"
        return "ehvi" if self._sampler == "auto" else self._sampler

    def _promising(self, candidates: Sequence[Candidate], number: int) -> Iterator[tuple[int, ...]]:
        from dilnas.search.ehvi import promising

        forecast = self._forecaster.forecast(candidates)
        return promising(forecast, self._pool, self._lengths, self._rng(number, 0))

    def _random(self, number: int) -> tuple[int, ...]:
        place = int(self._rng(number, 0).integers(len(self._pool)))
        return tuple(int(value) for value in self._pool[place])

    def _asked(self, candidates: Sequence[Candidate], number: int, origin: str) -> tuple[int, ...]:
        if origin == "random":
            return self._random(number)
        seed = int(self._rng(number, 0).integers(2**31))
        return ask(candidates, self._axes, self._cost_name, origin, seed)

    # --- what fits --------------------------------------------------------------------------

    def _proposal(self, code: Sequence[int], origin: str) -> Proposal:
        found = self._domain.member(code)
        return Proposal(
            code=found.code, key=found.key, layout=found.layout, figures=found.figures,
            origin=origin, architecture=found.architecture,
            reason=found.figures.over(self._budgets),
        )  # fmt: skip

    def _rng(self, *labels: int) -> Any:
        return np.random.default_rng([self._seed, *labels])

    def _excess(self, codes: Any) -> Any:
        return excess(self._domain.costs(codes), self._budgets)

    def _feasible_pool(self) -> Any:
        """(N, A) codes that fit: random ones, or all of a small domain.

        Raises BudgetError when even descending finds none.
        """
        codes = self._domain.sample(POOL, self._seed)
        over = self._excess(codes)
        rng = self._rng(2**32 - 1)
        for _ in range(50):
            # A small feasible corner: walk towards it from the best so far.
            if (over <= 1).sum() >= min(POOL_FEASIBLE, math.prod(self._lengths) // 4):
                break
            best = codes[np.argsort(over, kind="stable")[: POOL // 4]]
            best = best[np.isfinite(over[np.argsort(over, kind="stable")[: POOL // 4]])]
            if not len(best):
                break
            more = redrawn(best, self._lengths, POOL, rng)
            codes = np.unique(np.concatenate([best, more]), axis=0)
            over = self._excess(codes)
        codes = codes[over <= 1]
        if not len(codes):
            raise BudgetError(
                "no architecture of the space fits the budget", where=self._domain.name
            )
        return codes

    def _nearest_new(
        self, code: tuple[int, ...], taken: set[str], number: int, origin: str
    ) -> list[Proposal]:
        """The new candidate within budget nearest to ``code``, steps counted along the axes."""
        centre = np.array([code])
        around = redrawn(centre, self._lengths, 2 * POOL, self._rng(number, 1))
        codes = np.unique(np.concatenate([around, self._pool]), axis=0)
        codes = codes[self._excess(codes) <= 1]
        scale = np.maximum(np.array(self._lengths) - 1, 1)
        distance = (np.abs(codes - centre) / scale).sum(axis=1)
        for i in np.argsort(distance, kind="stable"):
            proposal = self._proposal(codes[i], origin)
            if proposal.key not in taken:
                return [proposal]
        return []


def _far_apart(count: int) -> list[int]:
    """0..count-1 so that every beginning of it is spread out: both ends, then middles."""
    order: list[int] = []
    left = list(range(count))
    while left:
        if not order:
            pick = left[-1]
        else:
            pick = max(left, key=lambda i: (min(abs(i - j) for j in order), -i))
        order.append(pick)
        left.remove(pick)
    return order
