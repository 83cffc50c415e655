"""What a search knows after a few dozen scores, and that it goes for the ends of the front too."""

import itertools

import numpy as np
import pytest

from dilnas.bench.simulation import simulate
from dilnas.bench.tables import TableDomain, TableTruth
from dilnas.bench.world import World
from dilnas.search.improvement import worst_error
from dilnas.search.surrogate import Surrogate


def growing(x):
    """Every input raises it, each along an exponential, the first a little more."""
    return (1 - np.exp(-2 * x)) @ np.linspace(1.3, 1.0, x.shape[1])


@pytest.mark.parametrize("seed", range(4))
def test_from_twenty_five_scores_no_axis_is_taken_for_none(seed):
    """All eight matter alike. The likeliest fit of each alone leaves half of them out."""
    rng = np.random.default_rng(seed)
    x, new = rng.random((25, 8)), rng.random((500, 8))
    y = growing(x)
    model = Surrogate(x, y + rng.normal(0, 0.1 * y.std(), 25))
    lengths = model._p.lengths
    assert lengths.max() < 6 * lengths.min()
    error = model.predict(new)[0] - growing(new)
    assert np.sqrt(np.mean(error**2)) < 0.45 * growing(new).std()


def test_an_axis_that_does_nothing_is_seen_with_more_scores():
    """The common length is a beginning: what one axis shows by itself still counts."""
    rng = np.random.default_rng(0)
    x = rng.random((120, 6))
    y = np.sin(5 * x[:, 0]) + np.cos(4 * x[:, 1] + x[:, 2])
    lengths = Surrogate(x, y + rng.normal(0, 0.02, 120))._p.lengths
    assert lengths[3:].min() > 2 * lengths[:2].max()


def test_the_reference_error_lies_beyond_the_cheap_end():
    """A tenth of the range beyond it, or at the worst known error where that is worse."""
    errors = np.array([0.2, 0.3, 0.1])
    assert worst_error(errors, 0.5) == pytest.approx(0.54)
    assert worst_error(errors, 0.15) == 0.3


def test_the_cheapest_architecture_is_trained_however_bad_it_is():
    """It is on the front. All else is far better, so that it lies beyond all that was seen."""
    codes = np.array(list(itertools.product(range(3), repeat=7)))
    layers = codes.sum(axis=1)
    cost = (3 + layers) * (1 + 0.01 * codes[:, 0])
    accuracy = 0.93 - 0.6 * np.exp(-0.4 * layers) - 0.02 * (codes[:, 1] == 0)
    domain = TableDomain("layers", tuple((f"l{i}", 3) for i in range(7)), codes, cost)
    truth = TableTruth(domain, (1.0,), accuracy[:, None], 0.002)
    world = World(name="layers", domain=domain, truth=truth)
    for seed in range(3):
        trained = simulate(world, "ehvi", 30, seed).codes
        assert (trained.sum(axis=1) == 0).any()
