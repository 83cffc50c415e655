"""A world: what a search searches in a benchmark, and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dilnas.cost import hypervolume, pareto_mask
from dilnas.search.domain import Domain, excess
from dilnas.search.moves import redrawn, steps_from

__all__ = ["Truth", "World"]

Array = NDArray[np.float64]

GENERATIONS = 60
OFFSPRING = 15_000
MOST_PARENTS = 3000
MARGIN = 0.1
"""The reference point lies this share of the true front's range beyond its worst error."""


class Truth(Protocol):
    """What training would say."""

    def accuracy(self, codes: Any, share: float = 1.0) -> Array:
        """(N,) expected accuracy (0..1) of codes (N, A) after a share of the full training."""
        ...

    def noise(self, share: float) -> float:
        """Standard deviation of one training's accuracy around it."""
        ...


@dataclass(frozen=True, eq=False)
class World:
    """A domain, the truth about it, and the search's task.

    Attributes:
        name: for tables.
        domain: codes and costs.
        truth: accuracies.
        shares: of the full training at which the rungs are, ascending, the last 1.
        budgets: limits by cost name.
        cost_name: the cost that is an objective.
    """

    name: str
    domain: Domain
    truth: Truth
    shares: tuple[float, ...] = (1.0,)
    budgets: dict[str, float] = field(default_factory=dict)
    cost_name: str = "gflops"

    def values(self, codes: Any) -> Array:
        """(N, 2) noise-free error and logarithm of the cost; both are minimised."""
        cost = self.domain.costs(codes)[self.cost_name]
        return np.stack([1 - self.truth.accuracy(codes), np.log(cost)], axis=1)

    def score(self, code: tuple[int, ...], rung: int, seed: int) -> float:
        """What a training with ``seed`` scores at ``rung``: noise stays with it from rung to rung.

        Two thirds of the variance are the training's own, a third is new at each rung.
        """
        share = self.shares[rung]
        expected = float(self.truth.accuracy(np.array([code]), share)[0])
        own = np.random.default_rng([seed, *code]).standard_normal()
        new = np.random.default_rng([seed, *code, rung + 1]).standard_normal()
        luck = float(own * np.sqrt(2 / 3) + new * np.sqrt(1 / 3))
        return expected + self.truth.noise(share) * luck

    @cached_property
    def front(self) -> Array:
        """(K, 2) true front in ``values``: exact where the domain is few codes, else the best that
        ``GENERATIONS`` of ``OFFSPRING`` noise-free evaluations found.
        """
        lengths = [length for _, length in self.domain.axes]
        rng = np.random.default_rng(0)
        codes = self._fitting(self.domain.sample(100_000, 0))
        if len(self.domain.sample(1, 0)) == 1:  # a small domain gives all that it has
            for generation in range(GENERATIONS):
                parents = codes[pareto_mask(self.values(codes))][:MOST_PARENTS]
                half = OFFSPRING // 2
                more = [steps_from(parents, lengths, half, rng)]
                more += [redrawn(parents, lengths, half, rng)] if generation % 4 == 0 else []
                codes = np.unique(np.concatenate([parents, *map(self._fitting, more)]), axis=0)
        points = self.values(codes)
        points = points[pareto_mask(points)]
        return np.asarray(points[np.argsort(points[:, 1])])

    def _fitting(self, codes: Any) -> Any:
        return codes[excess(self.domain.costs(codes), self.budgets) <= 1]

    @cached_property
    def corner(self) -> tuple[float, float]:
        """Reference point: a little beyond the true front's worst error; the budget, or its
        dearest point."""
        errors, costs = self.front.T
        limit = np.log(self.budgets.get(self.cost_name, float(np.exp(costs.max()))))
        return float(errors.max() + MARGIN * (np.ptp(errors) or 0.01)), float(limit + 1e-9)

    def regret(self, codes: Any) -> float:
        """Per cent of the true front's hypervolume that the true values of ``codes`` lack."""
        whole = hypervolume(self.front, self.corner)
        return 100 * (1 - hypervolume(self.values(codes), self.corner) / whole)

    def distance(self, codes: Any) -> float:
        """IGD+ of the true values of ``codes`` to the true front, objectives scaled to its range.

        The mean distance from the front's points to the nearest value that is not better than them
        (Ishibuchi et al. 2015).
        """
        import moocore

        low = self.front.min(axis=0)
        span = np.where(np.ptp(self.front, axis=0) > 0, np.ptp(self.front, axis=0), 1.0)
        scaled = (self.front - low) / span
        return float(moocore.igd_plus((self.values(codes) - low) / span, ref=scaled))
