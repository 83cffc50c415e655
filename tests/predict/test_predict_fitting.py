"""Prices of a roofline, and the smooth rest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from synthetic import PRICES, measured, seconds_of

from dilnas.predict.features import AMOUNTS
from dilnas.predict.fitting import fit_sums, fit_times, nonnegative_fit
from dilnas.predict.residual import fit_residual


@settings(max_examples=60)
@given(st.integers(0, 2**31 - 1), st.integers(1, 9), st.integers(1, 40))
def test_prices_are_those_of_the_best_non_negative_fit(seed, columns, rows):
    """As good as scipy's solver, whatever the matrix; columns may be of very different sizes."""
    rng = np.random.default_rng(seed)
    a = rng.random((rows, columns)) * 10.0 ** rng.integers(-6, 6, columns)
    b = rng.normal(size=rows)
    x = nonnegative_fit(a, b)
    assert (x >= 0).all()
    assert np.linalg.norm(a @ x - b) <= nnls(a, b)[1] * (1 + 1e-6) + 1e-9


def test_a_device_that_is_a_roofline_is_found_exactly():
    """From times without noise every price comes back, and parts never seen are right."""
    found = measured(networks=60, noise=0.0, bend=0.0)
    parts = list(found.pieces)
    half = parts[::2]
    model = fit_times(half, np.array([seconds_of(p, 0.0) for p in half]), smooth=False)
    np.testing.assert_allclose(
        model.seconds(parts), [seconds_of(part, 0.0) for part in parts], rtol=1e-6
    )
    by_name = dict(zip(AMOUNTS["msda"], model.prices["msda"], strict=True))
    assert by_name["gmacs"] == pytest.approx(PRICES["gmacs"], rel=1e-4)
    assert by_name["products"] == pytest.approx(PRICES["products"], rel=1e-4)


def test_whole_networks_give_prices_too():
    """Where no part is seen in a run, sums are enough."""
    found = measured(networks=120, noise=0.0, bend=0.0)
    networks = [found.parts(network) for network in found.networks]
    seconds = np.array([sum(seconds_of(p, 0.0) for p in parts) for parts in networks])
    model = fit_sums(networks[:80], seconds[:80])
    predicted = [model.seconds(parts).sum() for parts in networks[80:]]
    np.testing.assert_allclose(predicted, seconds[80:], rtol=0.02)


def test_a_kind_that_was_never_seen_has_no_price():
    found = measured(networks=10, noise=0.0)
    parts = [part for part in found.pieces if part.kind == "msda"]
    model = fit_times(parts, np.array([seconds_of(part) for part in parts]))
    other = [part for part in found.pieces if part.kind == "head"]
    assert np.isnan(model.seconds(other)).all()


def test_the_rest_is_followed_where_it_was_seen_and_forgotten_far_away():
    """A smooth residual is learned; beyond the data it goes back to nothing."""
    x = np.linspace(0, 1, 40)[:, None]
    y = 0.2 * np.sin(6 * x[:, 0])
    rest = fit_residual(x, y, np.full(40, 5.0))
    between = np.linspace(0.05, 0.95, 17)[:, None]
    np.testing.assert_allclose(rest.at(between), 0.2 * np.sin(6 * between[:, 0]), atol=0.01)
    assert np.abs(rest.at(np.array([[40.0]]))).max() < 1e-6


def test_noise_alone_is_not_learned():
    """Where nothing is left but noise, nothing much is predicted."""
    rng = np.random.default_rng(1)
    x, y = rng.random((60, 3)), rng.normal(0, 0.02, 60)
    rest = fit_residual(x, y, np.ones(60))
    assert np.abs(rest.at(rng.random((30, 3)))).max() < 0.02
