"""The numbers of a trial that a report may put on an axis: their columns, units and spreads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dilnas.report.front_data import number

__all__ = ["METRICS", "Metric"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number of a trial.

    Attributes:
        name: column of the tables.
        label: what stands beside an axis, with the unit.
        scale: the axis shows the column times this.
        higher: whether more is better: an accuracy; all others are costs.
        std: column of its standard deviation, if it has one.
        ends: columns of the ends of its interval, if it has one.
    """

    name: str
    label: str
    scale: float = 1.0
    higher: bool = False
    std: str = ""
    ends: tuple[str, str] | None = None

    def spread(self, row: Mapping[str, Any]) -> tuple[float, float] | None:
        """How far below and above its value the bar reaches, in the column's unit."""
        value = number(row.get(self.name))
        if value is None:
            return None
        if self.std and (std := number(row.get(self.std))) is not None:
            return std, std
        if self.ends is not None:
            low, high = (number(row.get(end)) for end in self.ends)
            if low is not None and high is not None:
                return max(0.0, value - low), max(0.0, high - value)
        return None

    def to_dict(self) -> dict[str, Any]:
        """For the page."""
        return {"name": self.name, "label": self.label, "scale": self.scale, "higher": self.higher}


METRICS = (
    Metric(name="val_accuracy", label="validation accuracy (%)", scale=100, higher=True),
    Metric(
        name="final_accuracy", label="validation accuracy, mean of re-trainings (%)", scale=100,
        higher=True, std="final_std",
    ),
    Metric(name="test_accuracy", label="test accuracy (%)", scale=100, higher=True),
    Metric(
        name="final_test_accuracy", label="test accuracy, mean of re-trainings (%)", scale=100,
        higher=True, std="final_test_std",
    ),
    Metric(name="gflops", label="GFLOPs (one multiply-add counts 1)"),
    Metric(name="mparams", label="parameters (10⁶)"),
    Metric(name="memory_mb", label="memory of one image (MB)"),
    Metric(name="predicted_ms", label="predicted latency of a batch (ms)"),
    Metric(
        name="measured_ms", label="measured latency of a batch (ms)",
        ends=("measured_low_ms", "measured_high_ms"),
    ),
)  # fmt: skip
"""What a run's own tables have."""
