"""A Gaussian process over codes: what would an architecture score, and how sure is that.

    k(a, b) = amplitude · Matern32(a, b)  +  slope · a·b  +  noise

The Matern part has a length scale for each input. Their prior is hierarchical: the logarithm of
each is a common one plus a little of its own. What all axes tell of the common length is much, what
a few dozen scores tell of one axis is little; with independent wide priors, however centred, the
likeliest fit to them switches half of the axes off and shortens the others. The common length grows
with the root of the number of inputs (Hvarfner et al., ICML 2024), and the amplitude with it: along
long lengths only their ratio can be learnt, a slope. The linear part carries trends.

The fit is the mode of the posterior, from a fixed start: equal data give an equal model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

__all__ = ["Surrogate"]

Array = NDArray[np.float64]

ROOT3 = math.sqrt(3.0)
STEPS = 30
"""Of the optimiser, at most."""

MOST_FITTED = 200
"""Scores that the length scales are fitted to; more change them little and cost n³."""

COMMON, OWN = 1.0, 0.5
"""Standard deviations, in logarithms, of the common length and of each length about it."""


@dataclass(frozen=True, slots=True)
class _Parameters:
    """Natural parameters out of their logarithms."""

    amplitude: float
    slope: float
    noise: float
    lengths: Array

    @classmethod
    def of(cls, logs: Array) -> _Parameters:
        values = np.exp(logs)
        return cls(float(values[0]), float(values[1]), float(values[2]), values[3:])


class Surrogate:
    """Fitted to scores ``y`` (N,) of inputs ``x`` (N, D), each about 0..1 in scale.

    Args:
        x: inputs.
        y: scores.
        extra: (N,) variance of each score beyond the common noise, in the unit of ``y`` squared:
            what is not known of a score that was predicted from a shorter training.
    """

    def __init__(self, x: Array, y: Array, extra: Array | None = None) -> None:
        self._mean = float(np.mean(y))
        self._scale = float(np.std(y)) or 1.0
        self._x = x
        self._y = (y - self._mean) / self._scale
        self._extra = np.zeros(len(y)) if extra is None else extra / self._scale**2
        self._p = _Parameters.of(self._fit())
        self._condition()
        self._doubt = self._left_out()

    @property
    def noise(self) -> float:
        """Standard deviation that a repeated training's score would have."""
        return self._scale * math.sqrt(self._p.noise)

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Mean and standard deviation, each (M,), of what ``x`` (M, D) scores without noise."""
        cross = self._kernel(x, self._x)
        mean = cross @ self._weights
        half = solve_triangular(self._chol, cross.T, lower=True, check_finite=False)
        prior = self._p.amplitude + self._p.slope * (x * x).sum(axis=1)
        variance = np.maximum(prior - (half * half).sum(axis=0), 1e-12)
        return self._mean + self._scale * mean, self._scale * self._doubt * np.sqrt(variance)

    def log_likelihood(self, y: Array) -> float:
        """Of other scores ``y`` (N,) of the same inputs under the fitted covariance, to a constant.

        Their mean and spread are free, as in a fit.
        """
        scale = float(np.std(y)) or 1.0
        scaled = (y - np.mean(y)) / scale
        fit = float(scaled @ cho_solve((self._chol, True), scaled, check_finite=False))
        return -0.5 * fit - len(y) * math.log(scale)

    def believing(self, x: Array) -> Surrogate:
        """The same model when ``x`` (M, D) had just scored what it predicts: less uncertain there.

        That is how candidates in training count ("kriging believer", Ginsbourger et al. 2010).
        """
        if not len(x):
            return self
        mean, _ = self.predict(x)
        other = object.__new__(Surrogate)
        other._mean, other._scale, other._p = self._mean, self._scale, self._p
        other._doubt = self._doubt
        other._x = np.concatenate([self._x, x])
        other._y = np.concatenate([self._y, (mean - self._mean) / self._scale])
        other._extra = np.concatenate([self._extra, np.zeros(len(x))])
        other._condition()
        return other

    # --- the model ----------------------------------------------------------------------------

    def _kernel(self, a: Array, b: Array) -> Array:
        distance = _distances(a / self._p.lengths, b / self._p.lengths)
        matern = (1 + ROOT3 * distance) * np.exp(-ROOT3 * distance)
        return np.asarray(self._p.amplitude * matern + self._p.slope * (a @ b.T))

    def _condition(self) -> None:
        gram = self._kernel(self._x, self._x)
        gram[np.diag_indices_from(gram)] += self._p.noise + self._extra + 1e-8
        self._chol = cholesky(gram, lower=True, check_finite=False)
        self._weights = cho_solve((self._chol, True), self._y, check_finite=False)

    def _left_out(self) -> float:
        """How much farther than it thought each score lies from what the others predict; >= 1.

        Leave-one-out residuals over their standard deviations, in closed form (Rasmussen and
        Williams, Gaussian Processes for Machine Learning, 5.4.2): a fit to few scores is too sure.
        """
        half = solve_triangular(self._chol, np.eye(len(self._y)), lower=True, check_finite=False)
        precision = (half * half).sum(axis=0)
        ratios = self._weights / np.sqrt(precision)
        return max(1.0, math.sqrt(float(np.mean(ratios * ratios))))

    def _fit(self) -> Array:
        """Logarithms of the parameters at the posterior's mode."""
        centre, precision = _prior(self._x.shape[1])
        rows = np.arange(len(self._y))
        if len(rows) > MOST_FITTED:
            rows = np.linspace(0, len(rows) - 1, MOST_FITTED).round().astype(int)
        posterior = _Posterior(self._x[rows], self._y[rows], self._extra[rows], centre, precision)
        found = minimize(
            posterior, centre, jac=True, method="L-BFGS-B", options={"maxiter": STEPS},
            bounds=[(-8, 6), (-12, 3), (-7, 2), *[(-3, 6)] * self._x.shape[1]],
        )  # fmt: skip
        return np.array(found.x, np.float64)


def _prior(inputs: int) -> tuple[Array, Array]:
    """Means (3 + D,) and precision (3 + D, 3 + D) of the parameters' logarithms, normal together.

    Chosen once, by how well fits to 15, 25 and 50 scores predict others: in the worlds
    ``small-…@100`` to ``@109``, in NAS-Bench-Macro and in the PiT slice of ViT-Bench-101.
    """
    length = 0.45 + 0.5 * math.log(inputs)
    centre = np.concatenate([[1.5, -4.0, -3.0], np.full(inputs, length)])
    covariance = np.diag(np.concatenate([[1.0, 1.5**2, 0.5**2], np.full(inputs, OWN**2)]))
    together = np.concatenate([[1.0, 0.0, 0.0], np.ones(inputs)])  # the amplitude goes with them
    covariance += COMMON**2 * np.outer(together, together)
    return centre, np.linalg.inv(covariance)


def _distances(a: Array, b: Array) -> Array:
    square = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None] - 2 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(square, 0.0)))


class _Posterior:
    """Negative logarithm of the posterior of the parameters, up to a constant.

    Args:
        x: (N, D) inputs.
        y: (N,) scores, standardised.
        extra: (N,) known variances.
        centre: (3 + D,) means of the logarithms' normal prior.
        precision: (3 + D, 3 + D) inverse of their covariance.
    """

    def __init__(self, x: Array, y: Array, extra: Array, centre: Array, precision: Array) -> None:
        inputs = x.shape[1]
        self._squares = ((x[:, None] - x[None]) ** 2).transpose(2, 0, 1).reshape(inputs, -1)
        self._linear = x @ x.T
        self._y, self._extra, self._centre, self._precision = y, extra, centre, precision

    def __call__(self, logs: Array) -> tuple[float, Array]:
        """Its value and gradient (3 + D,) at logarithms of the parameters."""
        p = _Parameters.of(logs)
        n = len(self._y)
        weight = p.lengths**-2
        distance = np.sqrt(weight @ self._squares).reshape(n, n)
        decay = np.exp(-ROOT3 * distance)
        matern = (1 + ROOT3 * distance) * decay
        gram = p.amplitude * matern + p.slope * self._linear
        gram[np.diag_indices(n)] += p.noise + self._extra + 1e-8
        try:
            chol = cholesky(gram, lower=True, check_finite=False)
        except np.linalg.LinAlgError:  # so far from sense that rounding shows: no step there
            return 1e10, np.zeros_like(logs)
        alpha = cho_solve((chol, True), self._y, check_finite=False)
        half, _ = dpotri(chol, lower=True)  # the lower triangle of the inverse
        inverse = half + np.tril(half, -1).T
        outer = inverse - np.outer(alpha, alpha)  # dL/dK = outer / 2
        slope = np.empty_like(logs)
        slope[0] = 0.5 * p.amplitude * (outer * matern).sum()
        slope[1] = 0.5 * p.slope * (outer * self._linear).sum()
        slope[2] = 0.5 * p.noise * np.trace(outer)
        # dMatern/dlog l = 3 exp(-√3 d) · (difference / l)²
        pull = 3 * (outer * decay).ravel()
        slope[3:] = 0.5 * p.amplitude * weight * (self._squares @ pull)
        away = logs - self._centre
        pulled = self._precision @ away
        fit = 0.5 * float(self._y @ alpha) + float(np.log(np.diag(chol)).sum())
        return fit + 0.5 * float(away @ pulled), slope + pulled
