"""Budgets, and the architectures of a space at their edge: the cheapest, and random ones within."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dilnas.arch import Architecture
from dilnas.cost import cost, cost_arrays
from dilnas.errors import BudgetError, InputError
from dilnas.sizes import ImageSize, sides_of
from dilnas.space import SearchSpace

__all__ = ["Budgets", "Candidate", "cheapest_within", "costs_of", "described", "sample_within"]

UNITS = {"gflops": 1e9, "mparams": 1e6, "mb": 1e6}
"""What a unit of each counted cost is of the closed form's; milliseconds are predicted."""

DRAWS, MAX_DRAWS = 20_000, 1_000_000
OPTIONS = {
    "gflops": "--budget-gflops", "mparams": "--budget-mparams", "mb": "--budget-mb",
    "ms": "--budget-ms",
}  # fmt: skip


Costs = dict[str, npt.NDArray[np.float64]]

Latency = Callable[[SearchSpace, npt.NDArray[np.int64]], npt.NDArray[np.float64]]
"""Seconds (N,) of codes (N, A), as ``LatencyPredictor.seconds`` predicts them; infinite: unknown.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """Upper limits, each for one image but the last; None means no limit.

    Attributes:
        gflops: 10^9 FLOPs in the paper's convention.
        mparams: 10^6 parameters.
        mb: 10^6 bytes of weights and largest live activations in fp32 (``memory_bytes``).
        ms: predicted milliseconds of a batch.
    """

    gflops: float | None = None
    mparams: float | None = None
    mb: float | None = None
    ms: float | None = None

    def __post_init__(self) -> None:
        for name, limit in self.limits.items():
            if isinstance(limit, bool) or not (math.isfinite(limit) and limit > 0):
                raise InputError(
                    "a budget must be a positive number", where=OPTIONS[name], got=limit
                )

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set, by name."""
        every = {"gflops": self.gflops, "mparams": self.mparams, "mb": self.mb, "ms": self.ms}
        return {name: limit for name, limit in every.items() if limit is not None}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One architecture with its costs; ``ms`` None where no latency is predicted."""

    code: tuple[int, ...]
    architecture: Architecture
    gflops: float
    mparams: float
    mb: float
    ms: float | None = None


def sample_within(
    space: SearchSpace,
    n: int,
    seed: int,
    budgets: Budgets | None = None,
    *,
    image_size: ImageSize | None = None,
    latency: Latency | None = None,
) -> npt.NDArray[np.int64]:
    """``n`` uniform codes (n, A) within the budgets, by rejection.

    Raises BudgetError where nothing fits, or where too few of a million draws do.
    """
    limits = {} if budgets is None else budgets.limits
    if budgets is None or not limits:
        return space.sample(n, seed)
    size = sides_of(space.image_size if image_size is None else image_size)
    kept: list[npt.NDArray[np.int64]] = []
    for attempt in range(MAX_DRAWS // DRAWS):
        codes = space.sample(DRAWS, seed + (attempt << 32))
        costs = costs_of(space, codes, size, latency)
        if attempt == 0:
            cheapest_within(space, budgets, codes, costs, size, latency)
        kept.append(codes[np.all([costs[k] <= limit for k, limit in limits.items()], axis=0)])
        if sum(map(len, kept)) >= n:
            return np.concatenate(kept)[:n]
    raise BudgetError(
        f"too few architectures of {space.name} fit", where=_options(limits),
        expected=f"{n} within {MAX_DRAWS:,} draws", got=sum(map(len, kept)),
    )  # fmt: skip


def _options(limits: dict[str, float]) -> str:
    return " and ".join(OPTIONS[name] for name in limits)


def costs_of(
    space: SearchSpace,
    codes: npt.NDArray[np.int64],
    size: ImageSize,
    latency: Latency | None = None,
) -> Costs:
    """Costs (N,) in the units of the budgets, of one image of ``size``.

    In chunks, so that memory stays small. With ``ms`` where a ``latency`` is given.
    """
    parts, sides = [], sides_of(size)
    for start in range(0, len(codes), 50_000):
        found = cost_arrays(space.columns(codes[start : start + 50_000]), *sides)
        parts.append((found.flops, found.params, found.memory_bytes))
    rows = (np.concatenate(column) for column in zip(*parts, strict=True))
    out = {name: row / UNITS[name] for name, row in zip(UNITS, rows, strict=True)}
    if latency is not None:
        out["ms"] = 1e3 * latency(space, codes)
    return out


def candidate(
    space: SearchSpace, code: npt.NDArray[np.int64], size: ImageSize, latency: Latency | None = None
) -> Candidate:
    architecture = space.decode(code)
    found = cost(architecture, *sides_of(size))
    return Candidate(
        tuple(int(index) for index in code), architecture,
        found.flops / UNITS["gflops"], found.params / UNITS["mparams"],
        found.memory_bytes() / UNITS["mb"],
        None if latency is None else 1e3 * float(latency(space, code[None])[0]),
    )  # fmt: skip


def cheapest_within(  # noqa: PLR0917
    space: SearchSpace,
    budgets: Budgets,
    codes: npt.NDArray[np.int64],
    costs: Costs,
    size: ImageSize,
    latency: Latency | None = None,
) -> Candidate:
    """The architecture with the fewest FLOPs. Raises BudgetError where nothing fits."""

    def lowest(score: Callable[[Costs], npt.NDArray[np.float64]]) -> Candidate:
        start = codes[int(np.argmin(score(costs)))]
        return candidate(space, descend(space, start, score, size, latency), size, latency)

    cheapest = lowest(lambda c: c["gflops"])
    for name, limit in budgets.limits.items():
        least = lowest(lambda c, name=name: c[name])  # type: ignore[misc]
        if getattr(least, name) > limit:
            raise BudgetError(
                f"no architecture of {space.name} is that small", where=OPTIONS[name],
                expected=f">= {_up(getattr(least, name))} (the cheapest: {described(least)})",
                got=f"{limit:g}",
            )  # fmt: skip
    if limits := budgets.limits:
        nearest = lowest(lambda c: np.max([c[n] / limit for n, limit in limits.items()], axis=0))
        if any(getattr(nearest, name) > limit for name, limit in limits.items()):
            raise BudgetError(
                f"no architecture of {space.name} was found within all budgets together",
                where=_options(limits),
                got=f"the nearest: {described(nearest)}",
            )
    return cheapest


def descend(
    space: SearchSpace,
    start: npt.NDArray[np.int64],
    score: Callable[[Costs], npt.NDArray[np.float64]],
    size: ImageSize,
    latency: Latency | None = None,
) -> npt.NDArray[np.int64]:
    """A code whose score no change of one axis lowers, from ``start``.

    FLOPs and parameters add up over the stages and each axis moves them one way whatever the
    others are, so that this is their minimum over the space.
    """
    code, best = start.copy(), math.inf
    while True:
        rows = np.repeat(code[None], sum(len(axis) for axis in space.axes), axis=0)
        places = [(i, index) for i, axis in enumerate(space.axes) for index in range(len(axis))]
        for row, (i, index) in zip(rows, places, strict=True):
            row[i] = index
        scores = score(costs_of(space, rows, size, latency))
        lowest = int(np.argmin(scores))
        if scores[lowest] >= best:
            return code
        code, best = rows[lowest], float(scores[lowest])


def _up(value: float) -> str:
    """Three decimals, rounded up: a budget of that much is enough."""
    return f"{math.ceil(value * 1000) / 1000:.3f}"


def described(found: Candidate) -> str:
    """One candidate on one line: layout, widths, costs."""
    a = found.architecture
    dims = "-".join(str(stage.dim) for stage in a.stages)
    text = (
        f"{a.layout}, dims {dims}: {found.gflops:.3f} GFLOPs, {found.mparams:.2f} M parameters, "
        f"{found.mb:.1f} MB"
    )
    if found.ms is None:
        return text
    known = math.isfinite(found.ms)
    return f"{text}, {found.ms:.1f} ms predicted" if known else f"{text}, latency not known"
