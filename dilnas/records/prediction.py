"""What is estimated, never measured."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Prediction"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A model's estimate with its interval.

    Attributes:
        quantity: what is estimated, the unit in its name ("latency_s": seconds for one batch).
        value: the estimate, in the unit of the quantity.
        low, high: ends of the interval, in the unit of the quantity.
        coverage: probability that the interval is made to have, 0 to 1.
        held_out_error: mean relative error on architectures held out, dimensionless.
        source: what estimated it.
    """

    quantity: str
    value: float
    low: float
    high: float
    coverage: float
    held_out_error: float
    source: str
