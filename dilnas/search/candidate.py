"""A candidate: one architecture of a search with all that the ledger knows about it, as plain data.

No torch, no Optuna: the scheduler and the proposer are functions of lists of these.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dilnas.arch import Architecture
from dilnas.sizes import ImageSize, sides_of

__all__ = [
    "COST_NAMES",
    "Attempt",
    "Candidate",
    "Figures",
    "Lost",
    "RungScore",
    "Session",
    "figures",
    "front",
]

COST_NAMES = ("gflops", "mparams", "mb", "ms")
"""Costs that may be budgets and objectives: 10^9 fvcore FLOPs, 10^6 parameters, 10^6 bytes of
weights and live activations of one image in fp32; with a calibration, predicted milliseconds of a
batch."""

COMPLETE, PRUNED, FAILED, REJECTED, RUNNING = (
    "complete", "pruned", "failed", "rejected", "running",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Cost of one architecture in the units of ``COST_NAMES``: exact, of one image, but for ``ms``.

    That is predicted, of a batch; None without a calibration, infinite where it has nothing to say.
    """

    gflops: float
    mparams: float
    mb: float
    ms: float | None = None

    def get(self, name: str) -> float:
        """The cost called ``name`` in ``COST_NAMES``."""
        return float(getattr(self, name))

    def over(self, budgets: dict[str, float]) -> str:
        """Which budget is exceeded and by what; empty if none is."""
        units = {"gflops": "GFLOPs", "mparams": "MParams", "mb": "MB", "ms": "ms predicted"}
        for name, limit in budgets.items():
            if math.isinf(self.get(name)):
                return "over budget: unlike what was calibrated, no latency is predicted"
            if self.get(name) > limit:
                return f"over budget: {self.get(name):.3f} > {limit:g} {units[name]}"
        return ""


def figures(
    architecture: Architecture,
    image_size: ImageSize,
    latency: Callable[[Architecture], float] | None,
) -> Figures:
    """Cost of ``architecture`` for one image of ``image_size``: a side, or (height, width).

    ``latency``: predicted seconds of a batch.
    """
    from dilnas.cost import cost

    total = cost(architecture, *sides_of(image_size))
    return Figures(
        gflops=total.flops / 1e9, mparams=total.params / 1e6, mb=total.memory_bytes() / 1e6,
        ms=None if latency is None else 1e3 * latency(architecture),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RungScore:
    """What training up to one rung gave: validation accuracy (0..1), seconds and images so far.

    ``at`` is when it was known, in seconds of the search; None in ledgers that did not keep it.
    """

    accuracy: float
    seconds: float
    images: int
    at: float | None = None

    @property
    def usable(self) -> bool:
        """Whether the accuracy is a number; a diverged training has none."""
        return math.isfinite(self.accuracy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A training to ``rung`` that ended with its worker, ``at`` seconds of the search, through no
    known fault of the candidate's, and was begun again.
    """

    rung: int
    reason: str
    at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One driver's time with a search, from ``at`` seconds of the search on; ``gpus`` a worker."""

    at: float
    gpus: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A unit of work that was begun: to train to ``rung``, from ``at`` seconds of the search on, in
    the search's ``session``-th session, from 0.
    """

    rung: int
    at: float
    session: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One architecture of a search.

    Attributes:
        number: its number in the ledger and in ``trials/``.
        code: ordinal integers, one an axis of the space.
        key: the architecture's key.
        layout: the architecture's layout, for tables.
        origin: variant, nsc, spread, ehvi, gp, tpe, nsga2 or random.
        state: running (in training or paused between rungs), complete (all rungs), pruned
            (stopped at a rung), failed, or rejected (never trained).
        reason: why it failed, was pruned or rejected.
        figures: exact cost.
        scores: one a finished rung, ascending.
        target: the highest rung it was sent to; -1 for none.
        lost: trainings that were begun again because their worker died.
        attempts: every time that it was sent, in order.
        failed_at: seconds of the search when it failed.
    """

    number: int
    code: tuple[int, ...]
    key: str
    layout: str
    origin: str
    figures: Figures
    state: str = RUNNING
    reason: str = ""
    scores: tuple[RungScore, ...] = ()
    target: int = -1
    lost: tuple[Lost, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    failed_at: float | None = None

    @property
    def rung(self) -> int:
        """Highest finished rung, -1 for none."""
        return len(self.scores) - 1

    @property
    def accuracy(self) -> float | None:
        """Validation accuracy at the highest finished rung."""
        return self.scores[-1].accuracy if self.scores else None

    @property
    def waits(self) -> bool:
        """Paused: its rung is done and nothing more was asked of it yet."""
        return self.state == RUNNING and self.target <= self.rung and self.rung >= 0

    @property
    def alive(self) -> bool:
        """Neither failed nor rejected: its scores count."""
        return self.state not in (FAILED, REJECTED)


def front(candidates: list[Candidate], cost_name: str) -> list[Candidate]:
    """Non-dominated full-fidelity candidates, cheapest first; partial scores never enter."""
    from dilnas.cost import pareto_mask

    whole = [c for c in candidates if c.state == COMPLETE]
    if not whole:
        return []
    keep = pareto_mask(points(whole, cost_name))
    chosen = [c for c, kept in zip(whole, keep, strict=True) if kept]
    return sorted(chosen, key=lambda c: (c.figures.get(cost_name), c.number))


def points(candidates: list[Candidate], cost_name: str, rung: int = -1) -> Any:
    """(N, 2) float array of (error, cost), both minimised, at ``rung`` (-1: the highest)."""
    import numpy as np

    rows = [(1.0 - c.scores[rung].accuracy, c.figures.get(cost_name)) for c in candidates]
    return np.array(rows, dtype=float).reshape(-1, 2)
