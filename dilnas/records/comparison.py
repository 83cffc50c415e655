"""Candidates measured against one another: paired samples, a noise floor and verdicts."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from dilnas.records.workload import Environment, Workload

__all__ = ["VERDICTS", "Comparison", "Contender", "Verdict"]

VERDICTS = ("FASTER", "SLOWER", "SAME", "AMBIGUOUS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One candidate: what was asked for, what it is, and its seconds for one batch by round.

    ``key``, ``gflops`` and ``mparams`` are None where the closed form does not apply (a timm model
    or a factory); ``parameters`` is counted on the model itself.
    """

    name: str
    spec: str
    parameters: int
    samples_s: tuple[float, ...]
    key: str | None = None
    gflops: float | None = None

    @property
    def median_s(self) -> float:
        """Median seconds for one batch."""
        return statistics.median(self.samples_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``name`` against ``baseline``: time ratio with its interval beside the noise floor.

    Attributes:
        ratio: time(name) / time(baseline) over the paired rounds, dimensionless; above 1 is
            slower.
        low, high: 95 % interval of the ratio, dimensionless.
        noise_low, noise_high: the same, dimensionless, of the baseline against itself.
        verdict: FASTER, SLOWER, SAME or AMBIGUOUS.
        why: the rule that gave the verdict, as a sentence.
    """

    name: str
    baseline: str
    ratio: float
    low: float
    high: float
    noise_low: float
    noise_high: float
    verdict: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Candidates run interleaved in random order, the first being the baseline.

    ``control_s`` are the seconds of the baseline's second copy by round: the A/A control.
    """

    workload: Workload
    environment: Environment
    contenders: tuple[Contender, ...]
    control_s: tuple[float, ...]
    verdicts: tuple[Verdict, ...]
    seed: int
    doubts: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
