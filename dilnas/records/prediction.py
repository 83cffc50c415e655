"""What is estimated, never measured."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Prediction"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A model's estimate: value and interval [low, high] at ``coverage``, held-out error beside.

    ``quantity`` names the unit ("latency_s").
    """

    quantity: str
    value: float
    low: float
    high: float
    coverage: float
    held_out_error: float
    source: str
