"""What is expected of an architecture's error, on the scale on which the axes add up.

The nearer a network comes to what can be reached, the less one more channel brings: along its axes
the error falls like an exponential, and a Gaussian process over codes fits its logarithm better
than itself. How far above zero that exponential ends is learnt from the scores:

    error = low + span · (exp(z) - 1) / bend,        z normal

with ``low`` and ``span`` of the errors seen. A small bend is the straight scale, a large one the
logarithm of the distance from the best error. Output scales of that kind, chosen by likelihood, are
what Snelson et al. ("Warped Gaussian Processes", NeurIPS 2003) proposed and what HEBO (Cowen-Rivers
et al., JAIR 2022) gains by.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from dilnas.search.surrogate import Surrogate

__all__ = ["Belief", "ErrorModel", "Scale"]

Array = NDArray[np.float64]

BENDS = (0.01, 1.5, 4.0, 10.0, 25.0, 60.0)
"""Tried; the first is straight but for a hundredth."""

FIRST_BEND = 6.0
"""The covariance that the bends are compared under is fitted at this one."""

WIDEST = 2.0
"""Standard deviation on the bent scale beyond which nothing is known; its exponential is 7."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The map between an error and z, which rises with it.

    Attributes:
        low: the error that is z = 0, the best seen.
        span: the errors seen, largest less smallest.
        bend: how much finer small errors are told apart than large ones, less one.
    """

    low: float
    span: float
    bend: float

    def of(self, error: Array) -> Array:
        """z of errors not below ``low``."""
        return np.log1p(self.bend * (error - self.low) / self.span)

    def slope(self, error: Array) -> Array:
        """Derivative of z."""
        return self.bend / (self.span + self.bend * (error - self.low))

    def error(self, exponential: Array) -> Array:
        """The error where exp(z) is ``exponential``."""
        return self.low + self.span * (exponential - 1) / self.bend


@dataclass(frozen=True, slots=True)
class Belief:
    """Errors of which z is normal with ``mean`` and ``deviation``, each (N,)."""

    scale: Scale
    mean: Array
    deviation: Array

    @property
    def error(self) -> Array:
        """(N,) expected errors."""
        return self.scale.error(np.exp(self.mean + self.deviation**2 / 2))

    def below(self, levels: Array) -> Array:
        """(N, S) of ``levels`` (S,): how far the error is expected to lie below each, E[max(0, …)].

        The closed form for a lognormal, as of a put option (Black and Scholes 1973).
        """
        reach = 1 + self.scale.bend * (levels - self.scale.low) / self.scale.span
        log_reach = np.log(np.maximum(reach, 1e-300))
        z = (log_reach[None] - self.mean[:, None]) / self.deviation[:, None]
        expected = np.exp(self.mean + self.deviation**2 / 2)[:, None]
        gap = reach[None] * ndtr(z) - expected * ndtr(z - self.deviation[:, None])
        return np.asarray(np.maximum(gap, 0.0) * self.scale.span / self.scale.bend)


class ErrorModel:
    """Learns errors ``error`` (N,) of inputs ``x`` (N, D).

    Args:
        x: inputs, each about 0..1 in scale.
        error: 0..1; less is better.
        extra: (N,) variance of each error beyond the common noise.
    """

    def __init__(self, x: Array, error: Array, extra: Array) -> None:
        low, span = float(error.min()), float(np.ptp(error)) or 1.0

        def fitted(scale: Scale) -> Surrogate:
            return Surrogate(x, scale.of(error), extra * scale.slope(error) ** 2)

        first = fitted(Scale(low, span, FIRST_BEND))

        def likelihood(scale: Scale) -> float:
            """Of the errors themselves, hence the derivative: a scale cannot win by shrinking."""
            slopes = float(np.log(scale.slope(error)).sum())
            return first.log_likelihood(scale.of(error)) + slopes

        self._scale = max((Scale(low, span, bend) for bend in BENDS), key=likelihood)
        self._model = fitted(self._scale)

    @property
    def bend(self) -> float:
        """That of the scale that was chosen."""
        return self._scale.bend

    def of(self, x: Array) -> Belief:
        """What is believed of inputs (M, D), without a training's noise."""
        mean, deviation = self._model.predict(x)
        return Belief(self._scale, mean, np.minimum(deviation, WIDEST))

    def believing(self, x: Array) -> ErrorModel:
        """The same when ``x`` (M, D) had just shown what is expected: less uncertain there."""
        other = object.__new__(ErrorModel)
        other._scale, other._model = self._scale, self._model.believing(x)
        return other
