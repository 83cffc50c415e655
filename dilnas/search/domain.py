"""What a search may propose: codes, their exact costs, and what they stand for.

The proposer sees a ``Domain``; a search space is one, and so is a table of results that somebody
measured (``dilnas.bench.tables``), which has codes and costs but no architectures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dilnas.arch import Architecture
from dilnas.search.candidate import Figures, figures
from dilnas.sizes import ImageSize
from dilnas.variants import VARIANTS

if TYPE_CHECKING:
    from dilnas.predict import LatencyPredictor
    from dilnas.space import SearchSpace

__all__ = ["FEW", "Domain", "Member", "SpaceDomain", "excess"]

Codes = NDArray[np.int64]
Array = NDArray[np.float64]

FEW = 20_000
"""Codes up to which a domain is looked at whole instead of sampled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What one code stands for.

    Attributes:
        code: ordinal integers, one an axis.
        key: equal for codes that are the same network.
        layout: for tables.
        figures: exact cost.
        architecture: None where there is none, in a table of results.
    """

    code: tuple[int, ...]
    key: str
    layout: str
    figures: Figures
    architecture: Architecture | None


class Domain(Protocol):
    """Codes and their costs."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def axes(self) -> tuple[tuple[str, int], ...]:
        """(name, number of values) of each axis, in the order of a code."""
        ...

    def sample(self, count: int, seed: int) -> Codes:
        """Random codes (``count``, A), or all there are, each once, where they are ``FEW``."""
        ...

    def costs(self, codes: Any) -> dict[str, Array]:
        """(N,) costs of codes (N, A) by ``COST_NAMES``, as far as they are known here; infinite
        where a code is no member."""
        ...

    def member(self, code: Any) -> Member:
        """What ``code`` (A,) stands for."""
        ...

    def variants(self) -> list[tuple[int, ...]]:
        """Codes of known designs to begin with."""
        ...

    def free_score(self, codes: Any) -> Array | None:
        """(N,) a score that costs no training, more is better; None where there is none."""
        ...


class SpaceDomain:
    """A search space as a domain: the paper's variants are its designs, NSC its free score.

    Costs are of one image of ``size``, the space's own if none is given.
    """

    def __init__(
        self,
        space: SearchSpace,
        predictor: LatencyPredictor | None = None,
        size: ImageSize | None = None,
    ) -> None:
        self._space = space
        self._predictor = predictor
        self._size = space.image_size if size is None else size

    @property
    def name(self) -> str:
        """Of the space."""
        return self._space.name

    @property
    def axes(self) -> tuple[tuple[str, int], ...]:
        """(name, number of values) of each axis."""
        return tuple((axis.name, len(axis)) for axis in self._space.axes)

    def sample(self, count: int, seed: int) -> Codes:
        """Uniform random codes, or the whole space."""
        if self._space.size <= FEW:
            return self._space.enumerate()
        return self._space.sample(count, seed)

    def costs(self, codes: Any) -> dict[str, Array]:
        """Closed-form costs of one image at the search's size, and predicted latency."""
        from dilnas.space_costs import costs_of

        latency = None if self._predictor is None else self._predictor.seconds
        return costs_of(self._space, np.asarray(codes), self._size, latency)

    def member(self, code: Any) -> Member:
        """Decoded, with its cost."""
        whole = tuple(int(value) for value in code)
        architecture = self._space.decode(whole)
        return Member(
            code=whole, key=architecture.key, layout=architecture.layout,
            figures=self.figures(architecture), architecture=architecture,
        )  # fmt: skip

    def figures(self, architecture: Architecture) -> Figures:
        """Of any architecture, in the space or not."""
        latency = None if self._predictor is None else self._predictor.seconds_of
        return figures(architecture, self._size, latency)

    def choices(self, code: Sequence[int]) -> dict[str, int | float | str]:
        """What a code sets, by axis: numbers as numbers, anything else as the text of tables."""
        return {
            axis.name: axis.labels[i] if isinstance(axis.values[i], bool | str | tuple)
            else axis.values[i]
            for axis, i in zip(self._space.axes, code, strict=True)
        }  # fmt: skip

    def variants(self) -> list[tuple[int, ...]]:
        """The paper's variants that lie in the space."""
        inside = (a for a in VARIANTS.values() if self._space.why_not(a) is None)
        return [self._space.encode(architecture) for architecture in inside]

    def free_score(self, codes: Any) -> Array | None:
        """Neural Spectral Capacity."""
        from dilnas.cost import nsc_many

        return nsc_many([self._space.decode(code) for code in codes])


def excess(costs: dict[str, Array], budgets: dict[str, float]) -> Array:
    """(N,) largest ratio of a cost to its budget; up to 1 fits, infinite is no member."""
    there = np.max([np.where(np.isfinite(v), 0.0, np.inf) for v in costs.values()], axis=0)
    return np.asarray(np.max([there, *(costs[k] / v for k, v in budgets.items())], axis=0))
