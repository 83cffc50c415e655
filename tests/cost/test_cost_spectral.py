"""What a user of the spectral score relies on: the integral, the matrices, real random matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest
from drawn import architectures
from hypothesis import given
from hypothesis import strategies as st

from dilnas.arch import Architecture, Stage
from dilnas.cost import nsc, nsc_many
from dilnas.cost.spectral import matrix_capacity, weight_matrices
from dilnas.variants import VARIANTS, variant


def quadrature(rows: int, columns: int, points: int = 400) -> float:
    """N ∫ ln(1 + M s² λ) f_MP(λ) dλ by Gauss-Legendre in the angle of λ = 1 + y - 2√y cos t."""
    small, large = sorted((rows, columns))
    y = small / large
    gain = large * 2 / (rows + columns)
    nodes, weights = np.polynomial.legendre.leggauss(points)
    t = (nodes + 1) * math.pi / 2
    lam = 1 + y - 2 * math.sqrt(y) * np.cos(t)
    # sqrt((b - λ)(λ - a)) = 2√y sin t and dλ = 2√y sin t dt: the density's edges disappear.
    integrand = np.log1p(gain * lam) * 2 * np.sin(t) ** 2 / (math.pi * lam)
    return float(small * (weights * integrand).sum() * math.pi / 2)


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_closed_form_equals_the_integral(rows: int, columns: int) -> None:
    """Any shape, thin, square or flat; transposing changes nothing."""
    assert matrix_capacity(rows, columns) == pytest.approx(quadrature(rows, columns), rel=1e-4)
    assert matrix_capacity(rows, columns) == matrix_capacity(columns, rows)


def test_capacity_is_that_of_real_random_matrices() -> None:
    """ln det(1 + W Wᵀ) of Xavier-scaled Gaussian matrices averages to the formula."""
    rng = np.random.default_rng(0)
    rows, columns = 120, 300
    draws = rng.normal(0, math.sqrt(2 / (rows + columns)), (8, rows, columns))
    found = np.mean([np.linalg.slogdet(np.eye(rows) + w @ w.T)[1] for w in draws])
    assert found == pytest.approx(matrix_capacity(rows, columns), rel=5e-3)


def test_matrices_are_those_of_the_network() -> None:
    """Stem, split q k v, projections, MLP, downsampling and classifier, by hand."""
    stages = (
        Stage(dim=8, num_heads=2, msda_depth=1, dilations=(1,), mlp_ratio=3.0),
        Stage(dim=12, num_heads=3, global_depth=2, mlp_ratio=2.0),
    )
    found = weight_matrices(Architecture(stages=stages, stem="nonoverlapping", num_classes=5))
    assert found == {
        (8, 48): 1,
        (4, 8): 6,
        (8, 8): 1,
        (24, 8): 1,
        (8, 24): 1,
        (12, 72): 1,
        (4, 12): 18,
        (12, 12): 2,
        (24, 12): 2,
        (12, 24): 2,
        (5, 12): 1,
    }


@given(architectures())
def test_weights_of_the_score_are_weights_of_the_network(architecture: Architecture) -> None:
    """All its matrices together have no more entries than the network has parameters."""
    from dilnas.cost import cost

    entries = sum(m * n * count for (m, n), count in weight_matrices(architecture).items())
    assert entries <= cost(architecture, architecture.stride).params
    assert nsc(architecture) > 0


def test_larger_variants_score_more() -> None:
    """Tiny, Small, Base in this order; many at once equal one by one."""
    scores = nsc_many(list(VARIANTS.values()))
    assert (np.diff(scores) > 0).all()
    assert scores[0] == nsc(variant("tiny"))
    assert nsc_many([]).shape == (0,)


def test_window_and_dilations_do_not_enter() -> None:
    """The score cannot rank them, and says so by being equal."""
    assert nsc(variant("tiny")) == nsc(
        Architecture.from_official(depths=[2, 2, 6, 2], embed_dim=72, kernel_size=7, dilation=[1])
    )
