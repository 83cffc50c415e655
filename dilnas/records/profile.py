"""The one record of an architecture on a device."""

from __future__ import annotations

from dataclasses import dataclass

from dilnas.arch import Architecture
from dilnas.records.breakdown import Breakdown
from dilnas.records.costs import Cost
from dilnas.records.counters import CounterReport
from dilnas.records.observed import Energy, Measurement, Memory
from dilnas.records.prediction import Prediction
from dilnas.records.workload import Environment, Workload

__all__ = ["Profile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Architecture, workload, exact cost, and what was measured where (None: not measured).

    ``failure`` says in one line why there is no measurement although one was asked for (a batch
    that does not fit); ``missing`` says by quantity why a part of it is None ("energy": "no NVML").
    """

    name: str
    architecture: Architecture
    workload: Workload
    cost: Cost
    environment: Environment | None = None
    measurement: Measurement | None = None
    memory: Memory | None = None
    energy: Energy | None = None
    breakdown: Breakdown | None = None
    counters: tuple[CounterReport, ...] = ()
    predictions: tuple[Prediction, ...] = ()
    failure: str = ""
    missing: dict[str, str] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.missing:  # one way to say that nothing is
            object.__setattr__(self, "missing", None)

    @property
    def msda(self) -> str:
        """The implementation of MSDA that was asked for; "auto" (dilnas chose), "" if not known."""
        facts = self.environment.facts if self.environment else {}
        return str(facts.get("msda_backend", ""))

    @property
    def doubts(self) -> tuple[str, ...]:
        """What makes any part of it doubtful, a sentence each, the quantity named."""
        parts = (
            ("latency", self.measurement),
            ("memory", self.memory),
            ("energy", self.energy),
            ("breakdown", self.breakdown),
        )
        return tuple(f"{name}: {text}" for name, part in parts if part for text in part.doubts)
