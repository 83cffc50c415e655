"""A Gaussian process on what a roofline leaves: smooth where parts are alike, shrunk to 0 far off.

Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, algorithm 2.1. Inputs are
scaled to a range of 1, so that one length-scale serves all of them; it, the spread and the noise
are those of highest marginal likelihood on a grid. numpy alone: calibration runs where no scipy is.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Residual", "fit_residual"]

Array = npt.NDArray[np.float64]

SPREADS = (0.0, 0.03, 0.1, 0.3)
LENGTHS = (0.25, 0.5, 1.0, 2.0)
NOISES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)


@dataclass(frozen=True, slots=True, eq=False)
class Residual:
    """Log residuals as a function of coordinates.

    Attributes:
        spread, length, noise: standard deviation, length-scale (in ranges of an input) and noise
            of one observation.
        low, scale: of the inputs, (D,).
        points: inputs that were seen, scaled, (N, D).
        weights: (N,), from the residuals seen there.
    """

    spread: float
    length: float
    noise: float
    low: Array
    scale: Array
    points: Array
    weights: Array

    def at(self, inputs: Array) -> Array:
        """Expected log residuals (M,) at inputs (M, D)."""
        if not self.spread or not len(inputs):
            return np.zeros(len(inputs))
        scaled = (inputs - self.low) / self.scale
        return _kernel(scaled, self.points, self.spread, self.length) @ self.weights


def fit_residual(
    inputs: Array, residuals: Array, counts: Array, chosen: tuple[float, float, float] | None = None
) -> Residual:
    """From log residuals (N,) at inputs (N, D), each a mean of ``counts`` observations.

    ``chosen``: spread, length-scale and noise, where they are known.
    """
    low = inputs.min(axis=0)
    span = np.ptp(inputs, axis=0)
    scale = np.where(span > 0, span, 1.0)
    points = (inputs - low) / scale
    if chosen is None:
        grid = itertools.product(SPREADS, LENGTHS, NOISES)
        chosen = max(grid, key=lambda three: _evidence(points, residuals, counts, *three))
    spread, length, noise = chosen
    weights = np.zeros(len(points))
    if spread:
        weights[:] = np.linalg.solve(_covariance(points, counts, *chosen), residuals)
    return Residual(spread, length, noise, low, scale, points, weights)


def _kernel(a: Array, b: Array, spread: float, length: float) -> Array:
    square = ((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2)
    return np.asarray(spread**2 * np.exp(-0.5 * square / length**2))


def _covariance(points: Array, counts: Array, spread: float, length: float, noise: float) -> Array:
    return _kernel(points, points, spread, length) + np.diag(noise**2 / counts)


def _evidence(  # noqa: PLR0917
    points: Array, residuals: Array, counts: Array, spread: float, length: float, noise: float
) -> float:
    """Log marginal likelihood, without its constant."""
    if not spread:
        variance = noise**2 / counts
        return float(-0.5 * (residuals**2 / variance + np.log(variance)).sum())
    lower = np.linalg.cholesky(_covariance(points, counts, spread, length, noise))
    whitened = np.linalg.solve(lower, residuals)
    return float(-0.5 * whitened @ whitened - np.log(np.diag(lower)).sum())
