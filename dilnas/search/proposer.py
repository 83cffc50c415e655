"""Which architecture to try next: designs to start from, then a sampler that learns.

Everything here is a function of (space, budgets, seed) and of the candidates in the ledger, so a
driver that was killed proposes, after the restart, what it would have proposed.

Budgets are exact and cheap to check, so a proposal over one is not trained and not lost either: it
is projected onto the nearest architecture that fits and is new.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dilnas.arch import Architecture
from dilnas.errors import BudgetError
from dilnas.search.candidate import Candidate, Figures, figures
from dilnas.search.sampling import STARTUP, ask
from dilnas.variants import VARIANTS

if TYPE_CHECKING:
    from dilnas.space import SearchSpace

__all__ = ["Proposal", "Proposer"]

POOL = 2048
"""Random architectures of the space that the designs and the projection draw from."""

POOL_FEASIBLE = 1024
MOST_DESIGNS = 12
GP_EVALUATIONS = 200
"""Evaluations up to which a Gaussian process is the better model; beyond, its cost grows as n^3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """An architecture to try, or one that was looked at and rejected for a ``reason``."""

    code: tuple[int, ...]
    architecture: Architecture
    figures: Figures
    origin: str
    reason: str = ""


class Proposer:
    """Proposals for one search.

    Args:
        space: what may vary.
        budgets: limits by cost name.
        cost_name: the cost that is an objective.
        seed: of the search.
        sampler: auto, gp, tpe, nsga2 or random.
    """

    def __init__(
        self,
        space: SearchSpace,
        budgets: dict[str, float],
        cost_name: str,
        seed: int,
        sampler: str = "auto",
    ) -> None:
        self._space = space
        self._budgets = budgets
        self._cost_name = cost_name
        self._seed = seed
        self._sampler = sampler
        self._lengths = [len(axis) for axis in space.axes]
        self._axes = [(axis.name, len(axis)) for axis in space.axes]
        self._pool = self._feasible_pool()

    # --- designs to start from --------------------------------------------------------------

    def designs(self, trials: int) -> list[Proposal]:
        """The paper's variants, those over budget as rejected, then the spectral-score front.

        At most half of ``trials`` and ``MOST_DESIGNS`` to be trained, cheap and dear by turns.
        """
        named = [p for p in map(self._variant, VARIANTS) if p is not None]
        wanted = max(1, min(MOST_DESIGNS, trials // 2)) - sum(not p.reason for p in named)
        return named + self._spectral_designs(wanted, {p.architecture.key for p in named})

    def _variant(self, name: str) -> Proposal | None:
        architecture = VARIANTS[name]
        if self._space.why_not(architecture) is not None:
            return None
        return self._proposal(self._space.encode(architecture), "variant")

    def _spectral_designs(self, wanted: int, taken: set[str]) -> list[Proposal]:
        """``wanted`` architectures off the first non-dominated layers of (-NSC, FLOPs)."""
        import numpy as np

        from dilnas.cost import nsc_many, pareto_ranks

        if wanted < 1:
            return []
        chosen = [self._proposal(code, "nsc") for code in self._pool]
        score = nsc_many([p.architecture for p in chosen])
        cost = np.array([p.figures.get(self._cost_name) for p in chosen])
        ranks = pareto_ranks(np.stack([-score, cost], axis=1))
        new: dict[str, int] = {}
        for i in np.lexsort((cost, ranks)):
            key = chosen[i].architecture.key
            if key not in taken:
                new.setdefault(key, int(i))
            if len(new) >= 2 * wanted and ranks[i] > 0:
                break
        front = sorted(new.values(), key=lambda i: cost[i])
        # Even steps along the layers' logarithm of cost, each taking the nearest that is left.
        picked: list[int] = []
        for target in np.linspace(math.log(cost[front[0]]), math.log(cost[front[-1]]), wanted):
            left = [i for i in front if i not in picked]
            if left:
                picked.append(min(left, key=lambda i: abs(math.log(cost[i]) - target)))
        halves = [picked[i] for i in _far_apart(len(picked))]
        return [chosen[i] for i in halves]

    # --- one more ---------------------------------------------------------------------------

    def propose(self, candidates: Sequence[Candidate], number: int) -> list[Proposal]:
        """Proposals for trial ``number``: those rejected first, the last one to be trained.

        An empty list means that the space holds no further architecture within the budgets.
        """
        origin = self._origin(candidates)
        taken = {c.key for c in candidates}
        code = self._asked(candidates, number, origin)
        asked = self._proposal(code, origin)
        if not asked.reason and asked.architecture.key not in taken:
            return [asked]
        rejected = [asked] if asked.reason and asked.architecture.key not in taken else []
        nearest = self._nearest(code, taken, number, origin)
        return [*rejected, nearest] if nearest is not None else []

    def _origin(self, candidates: Sequence[Candidate]) -> str:
        scored = sum(c.alive and c.rung >= 0 for c in candidates)
        if self._sampler == "random" or scored < STARTUP:
            return "random"
        if self._sampler != "auto":
            return self._sampler
        return "gp" if scored <= GP_EVALUATIONS else "tpe"

    def _asked(self, candidates: Sequence[Candidate], number: int, origin: str) -> tuple[int, ...]:
        rng = self._rng(number, 0)
        if origin == "random":
            return tuple(int(v) for v in self._pool[int(rng.integers(len(self._pool)))])
        seed = int(rng.integers(2**31))
        return ask(candidates, self._axes, self._cost_name, origin, seed)

    # --- what fits --------------------------------------------------------------------------

    def _proposal(self, code: Sequence[int], origin: str) -> Proposal:
        whole = tuple(int(value) for value in code)
        architecture = self._space.decode(whole)
        cost = figures(architecture, self._space.image_size)
        return Proposal(
            code=whole, architecture=architecture, figures=cost, origin=origin,
            reason=cost.over(self._budgets),
        )  # fmt: skip

    def _rng(self, *labels: int) -> Any:
        import numpy as np

        return np.random.default_rng([self._seed, *labels])

    def _excess(self, codes: Any) -> Any:
        """(N,) largest ratio of a cost to its budget; up to 1 fits."""
        import numpy as np

        from dilnas.cost import cost_arrays

        costs = cost_arrays(self._space.columns(codes), self._space.image_size)
        values = {
            "gflops": costs.flops / 1e9, "mparams": costs.params / 1e6,
            "mb": costs.memory_bytes / 1e6,
        }  # fmt: skip
        ratios = [values[name] / limit for name, limit in self._budgets.items()]
        return np.max(ratios, axis=0) if ratios else np.zeros(len(codes))

    def _feasible_pool(self) -> Any:
        """(N, A) random codes that fit. Raises BudgetError when even descending finds none."""
        import numpy as np

        codes = self._space.sample(POOL, self._seed)
        excess = self._excess(codes)
        rng = self._rng(2**32 - 1)
        for _ in range(50):
            if (excess <= 1).sum() >= min(POOL_FEASIBLE, self._space.size // 4):
                break
            # A small feasible corner: walk towards it from the best so far.
            best = codes[np.argsort(excess, kind="stable")[: POOL // 4]]
            codes = np.unique(np.concatenate([best, self._mutants(best, rng, POOL)]), axis=0)
            excess = self._excess(codes)
        codes = codes[excess <= 1][: POOL_FEASIBLE * 2]
        if not len(codes):
            raise BudgetError(
                "no architecture of the space fits the budget", where=self._space.name
            )
        return codes

    def _mutants(self, codes: Any, rng: Any, count: int) -> Any:
        """``count`` copies of rows of ``codes`` with a few axes redrawn."""
        import numpy as np

        rows = codes[rng.integers(len(codes), size=count)]
        share = rng.uniform(1 / len(self._lengths), 0.5, size=(count, 1))
        redrawn = rng.integers(0, np.array(self._lengths), size=rows.shape)
        return np.where(rng.random(rows.shape) < share, redrawn, rows)

    def _nearest(
        self, code: tuple[int, ...], taken: set[str], number: int, origin: str
    ) -> Proposal | None:
        """The new architecture within budget nearest to ``code``, steps counted along the axes."""
        import numpy as np

        centre = np.array([code])
        around = self._mutants(centre, self._rng(number, 1), 2 * POOL)
        codes = np.unique(np.concatenate([around, self._pool]), axis=0)
        codes = codes[self._excess(codes) <= 1]
        scale = np.maximum(np.array(self._lengths) - 1, 1)
        distance = (np.abs(codes - centre) / scale).sum(axis=1)
        for i in np.argsort(distance, kind="stable"):
            proposal = self._proposal(codes[i], origin)
            if proposal.architecture.key not in taken:
                return proposal
        return None


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
