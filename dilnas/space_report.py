"""What a space holds and how much of it a budget allows, before anything is trained.

Costs are exact; shares are exact where the space is small enough to enumerate, and otherwise come
from a uniform sample of codes and carry a standard error.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dilnas.errors import InputError
from dilnas.sizes import ImageSize, plain_size, sides_of, size_text
from dilnas.space import SearchSpace
from dilnas.space_costs import (
    Budgets,
    Candidate,
    Costs,
    Latency,
    candidate,
    cheapest_within,
    costs_of,
    described,
    sample_within,
)

__all__ = [
    "Budgets",
    "Candidate",
    "Limit",
    "Range",
    "SpaceReport",
    "described",
    "presearch_report",
    "rank_correlation",
    "sample_within",
]

UNITS = {"gflops": "GFLOPs", "mparams": "M parameters", "mb": "MB", "ms": "ms"}

ENUMERATE = 200_000
"""Spaces of at most so many codes are enumerated."""


@dataclass(frozen=True, slots=True)
class Range:
    """Cost over the evaluated codes."""

    minimum: float
    median: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Limit:
    """One budget: the share of codes within it, and the share that it alone turns away."""

    name: str
    limit: float
    share: float
    standard_error: float
    alone_rejects: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceReport:
    """What ``dilnas space show`` and ``dilnas search`` print.

    Attributes:
        size: codes; ``unique`` of them are distinct networks, estimated unless ``unique_exact``.
        image_size: height and width that costs are of; ``own_image_size``: those of the space.
        exact: every code was evaluated; else ``evaluated`` uniform ones.
        ranges: by "gflops", "mparams", "mb".
        share: share of codes within all budgets, 1 without any; ``standard_error`` is 0 if exact.
        binding: the budget that turns most codes away; None if all fit.
        cheapest: fewest FLOPs in the whole space, found by descent along the axes.
        largest: most FLOPs among the evaluated codes that fit; None if none of them does.
        agreement: rank correlation of GFLOPs and predicted latency, over all evaluated codes and
            within 10 % of the median GFLOPs; None where no latency is predicted.
        unknown: share of codes whose latency cannot be predicted: unlike what was calibrated.
    """

    space: str
    fingerprint: str
    size: int
    unique: int
    unique_exact: bool
    image_size: tuple[int, int]
    own_image_size: tuple[int, int]
    exact: bool
    evaluated: int
    ranges: dict[str, Range]
    limits: tuple[Limit, ...]
    share: float
    standard_error: float
    binding: str | None
    cheapest: Candidate
    largest: Candidate | None
    agreement: tuple[float | None, float | None] | None = None
    unknown: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        out = asdict(self)
        for name in ("image_size", "own_image_size"):
            out[name] = plain_size(out[name])
        for name in ("cheapest", "largest"):
            found: Candidate | None = getattr(self, name)
            if found is not None:
                out[name]["architecture"] = found.architecture.to_dict()
                if found.ms is not None and math.isinf(found.ms):
                    out[name]["ms"] = None
        return out

    def share_text(self) -> str:
        """The share in words that say how it is known."""
        if self.exact:
            return f"{self.share:.1%} of {self.size:,} codes fit (all evaluated)"
        if self.share == 0:
            # The "rule of three": with 0 hits in n draws, 3/n is the upper 95 % bound.
            return f"none of {self.evaluated:,} sampled codes fit: below {3 / self.evaluated:.1g}"
        error = f"± {self.standard_error:.1%} standard error"
        return f"{self.share:.1%} {error} of codes fit ({self.evaluated:,} sampled)"

    def summary_lines(self) -> list[str]:
        """What ``dilnas search`` says first: how many, what share fits, what they cost."""
        about = "" if self.unique_exact else "about "
        lines = [f"space   {self.space}: {about}{_count(self.unique)} distinct architectures"]
        if self.image_size != self.own_image_size:
            lines[0] += f", costs at {size_text(self.image_size)} px"
        how = "all counted" if self.exact else f"of {self.evaluated:,} drawn at random"
        if self.limits:
            shown = ", ".join(f"{limit.limit:g} {UNITS[limit.name]}" for limit in self.limits)
            binds = f"; {UNITS[self.binding]} bind" if self.binding and self.limits[1:] else ""
            share = (
                f"{self.share:.1%}" if self.share else f"fewer than 1 in {self.evaluated // 3:,}"
            )
            lines.append(f"budget  at most {shown}: {share} fit ({how}){binds}")
        for name, span in self.ranges.items():
            label = "cost" if name == "gflops" else ""
            text = f"{span.minimum:.3g} to {span.maximum:.3g} {UNITS[name]}, half below "
            lines.append(f"{label:<8}{text}{span.median:.3g}")
            if label and not self.exact:  # an architecture below the range is no contradiction
                least = f"the cheapest of all {self.cheapest.gflops:.3g}"
                lines[-1] += f" (of {self.evaluated:,} drawn; {least})"
        return lines


def presearch_report(
    space: SearchSpace,
    budgets: Budgets | None = None,
    seed: int = 0,
    samples: int = 100_000,
    *,
    image_size: ImageSize | None = None,
    latency: Latency | None = None,
) -> SpaceReport:
    """Size, cost ranges and the share within ``budgets`` at ``image_size`` (the space's own).

    With a ``latency`` the predicted milliseconds of a batch are one of the costs.

    Raises BudgetError naming the cheapest architecture if a budget is below it, or if no
    architecture is found within all budgets together.
    """
    if isinstance(samples, bool) or samples < 1:
        raise InputError("must be a positive integer", where="samples", got=samples)
    budgets = Budgets() if budgets is None else budgets
    own = sides_of(space.image_size)
    size = own if image_size is None else sides_of(image_size)
    space.decode([0] * len(space.axes)).check_input(*size, where="--img-size")
    exact = space.size <= max(ENUMERATE, samples)
    codes = space.enumerate() if exact else space.sample(samples, seed)
    costs = costs_of(space, codes, size, latency)
    if latency is not None and not np.isfinite(costs["ms"]).any():
        raise InputError(
            f"no architecture of {space.name} is like those that were calibrated",
            where="--profile", expected="a calibration of this space",
        )  # fmt: skip
    cheapest = cheapest_within(space, budgets, codes, costs, size, latency)
    within = {name: costs[name] <= limit for name, limit in budgets.limits.items()}
    fits = np.all([np.ones(len(codes), dtype=bool), *within.values()], axis=0)
    limits = tuple(_limit(name, budgets.limits[name], within, exact) for name in within)
    binding = min(limits, key=lambda limit: (limit.share, -limit.alone_rejects), default=None)
    largest = int(np.argmax(np.where(fits, costs["gflops"], -1.0)))
    unique = space.unique_count()
    return SpaceReport(
        space=space.name,
        fingerprint=space.fingerprint,
        size=space.size,
        unique=unique.count,
        unique_exact=unique.exact,
        image_size=size,
        own_image_size=own,
        exact=exact,
        evaluated=len(codes),
        ranges={name: _range(values) for name, values in costs.items()},
        limits=limits,
        share=float(fits.mean()),
        standard_error=_standard_error(fits, exact),
        binding=binding.name if binding is not None and binding.share < 1 else None,
        cheapest=cheapest,
        largest=candidate(space, codes[largest], size, latency) if fits.any() else None,
        agreement=_agreement(costs) if latency is not None else None,
        unknown=float(np.isinf(costs["ms"]).mean()) if latency is not None else 0.0,
    )


def _count(number: int) -> str:
    """A number of architectures as people say it: 96, 12,345, 210 billion, 3.2e+15."""
    for size, word in ((10**12, "trillion"), (10**9, "billion"), (10**6, "million")):
        if size <= number < 1000 * size:
            return f"{number / size:.3g} {word}"
    return f"{number:,}" if number < 10**6 else f"{number:.2g}"


def _agreement(costs: Costs) -> tuple[float | None, float | None]:
    """Rank correlation of GFLOPs and latency: of all, and of codes of about median GFLOPs."""
    known = np.isfinite(costs["ms"])
    gflops, ms = costs["gflops"][known], costs["ms"][known]
    middle = np.abs(gflops / np.median(gflops) - 1) <= 0.1
    found = [rank_correlation(gflops[keep], ms[keep]) for keep in (slice(None), middle)]
    return found[0], found[1]


def rank_correlation(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float | None:
    """Rank correlation; equal values are ranked by their order. None of fewer than three."""
    if len(a) < 3:
        return None
    ranks = [np.argsort(np.argsort(values, kind="stable"), kind="stable") for values in (a, b)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _range(values: npt.NDArray[np.float64]) -> Range:
    values = values[np.isfinite(values)]
    return Range(float(values.min()), float(np.median(values)), float(values.max()))


def _standard_error(hits: npt.NDArray[np.bool_], exact: bool) -> float:
    """Binomial standard error of the mean of ``hits``; 0 for a whole population."""
    share = float(hits.mean())
    return 0.0 if exact else math.sqrt(share * (1 - share) / len(hits))


def _limit(name: str, limit: float, within: dict[str, npt.NDArray[np.bool_]], exact: bool) -> Limit:
    others = [hits for other, hits in within.items() if other != name]
    alone = np.all([~within[name], *others], axis=0)
    return Limit(
        name, limit, float(within[name].mean()), _standard_error(within[name], exact),
        float(alone.mean()),
    )  # fmt: skip
