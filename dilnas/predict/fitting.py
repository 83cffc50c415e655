"""Seconds of a part from what was measured: a roofline for each kind, and what it leaves.

    seconds of a part = Σ price · amount              the roofline: work of each sort has a price
                        · exp(r(coordinates))         what a roofline cannot say, where it is known

The prices minimise relative errors: a part of a millisecond counts as much as one of a hundred.
Where a run is seen as a whole only (compiled), the prices of all kinds are found together from the
sums, and there is no second factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dilnas.predict.features import AMOUNTS, amounts, coordinates
from dilnas.predict.parts import KINDS, Part
from dilnas.predict.residual import Residual, fit_residual

__all__ = ["PartModel", "fit_sums", "fit_times", "nonnegative_fit"]

Array = npt.NDArray[np.float64]
Hyper = tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class PartModel:
    """Seconds of parts.

    Attributes:
        prices: by kind, seconds for each amount of ``AMOUNTS``.
        residuals: by kind, where there is one.
    """

    prices: dict[str, Array]
    residuals: dict[str, Residual] = field(default_factory=dict)

    def seconds(self, parts: Sequence[Part]) -> Array:
        """(N,) seconds of one batch in each of ``parts``; NaN for a kind that was never seen."""
        out = np.full(len(parts), np.nan)
        for kind in KINDS:
            places = [i for i, part in enumerate(parts) if part.kind == kind]
            if not places or kind not in self.prices:
                continue
            mine = [parts[i] for i in places]
            found = _rows(mine) @ self.prices[kind]
            if kind in self.residuals:
                found = found * np.exp(self.residuals[kind].at(_places(mine)))
            out[places] = found
        return out

    def hyper(self) -> dict[str, Hyper]:
        """Spread, length-scale and noise of each kind's residual."""
        return {k: (r.spread, r.length, r.noise) for k, r in self.residuals.items()}


def fit_times(
    parts: Sequence[Part],
    seconds: Array,
    *,
    smooth: bool = True,
    hyper: dict[str, Hyper] | None = None,
) -> PartModel:
    """From seconds (N,) of ``parts``, the same part in several networks several times.

    ``smooth``: with residuals; ``hyper``: theirs, where they are known.
    """
    prices: dict[str, Array] = {}
    residuals: dict[str, Residual] = {}
    for kind in KINDS:
        places = [i for i, part in enumerate(parts) if part.kind == kind]
        if not places:
            continue
        mine, times = [parts[i] for i in places], seconds[places]
        rows = _rows(mine)
        prices[kind] = nonnegative_fit(rows / times[:, None], np.ones(len(times)))
        left = np.log(times / (rows @ prices[kind]))
        distinct = sorted(set(mine))
        if smooth and len(distinct) > 2:
            index = {part: i for i, part in enumerate(distinct)}
            groups = [index[part] for part in mine]
            counts = np.bincount(groups).astype(float)
            means = np.bincount(groups, weights=left) / counts
            known = None if hyper is None else hyper.get(kind)
            residuals[kind] = fit_residual(_places(distinct), means, counts, known)
    return PartModel(prices, residuals)


def fit_sums(networks: Sequence[Sequence[Part]], seconds: Array) -> PartModel:
    """From seconds (N,) of whole networks, each a list of parts."""
    rows = np.array([_summed(parts) for parts in networks])
    found = nonnegative_fit(rows / seconds[:, None], np.ones(len(seconds)))
    prices, at = {}, 0
    seen = {part.kind for parts in networks for part in parts}
    for kind in KINDS:
        width = len(AMOUNTS[kind])
        if kind in seen:
            prices[kind] = found[at : at + width]
        at += width
    return PartModel(prices)


def _summed(parts: Sequence[Part]) -> list[float]:
    """Amounts of all kinds, one after another, summed over the parts."""
    total = {kind: np.zeros(len(AMOUNTS[kind])) for kind in KINDS}
    for part in parts:
        total[part.kind] += amounts(part)
    return [value for kind in KINDS for value in total[kind].tolist()]


def _rows(parts: Sequence[Part]) -> Array:
    return np.array([amounts(part) for part in parts])


def _places(parts: Sequence[Part]) -> Array:
    return np.array([coordinates(part) for part in parts])


def nonnegative_fit(rows: Array, wanted: Array) -> Array:
    """Non-negative ``x`` (F,) that minimises |rows · x - wanted|², rows (N, F).

    The active-set method of Lawson and Hanson, "Solving Least Squares Problems", 1974, chapter 23,
    on columns of equal length.
    """
    length = np.sqrt((rows**2).sum(axis=0))
    scale = np.where(length > 0, length, 1.0)
    a = rows / scale
    x = np.zeros(a.shape[1])
    free = np.zeros(a.shape[1], dtype=bool)
    for _ in range(10 * a.shape[1]):  # each adds a column; a few are taken back
        slope = np.where(free, -np.inf, a.T @ (wanted - a @ x))
        if slope.max(initial=-np.inf) <= 1e-10 * len(wanted):
            break
        free[int(np.argmax(slope))] = True
        while free.any():
            best = np.zeros_like(x)
            best[free] = np.linalg.lstsq(a[:, free], wanted, rcond=None)[0]
            bad = free & (best <= 0)
            if not bad.any():
                x = best
                break
            step = (x[bad] / (x[bad] - best[bad])).min()
            x = x + step * (best - x)
            free &= x > 1e-12
            x[~free] = 0.0
    return np.asarray(x / scale)
