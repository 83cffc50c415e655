"""The pre-search report: ranges, shares, budgets."""

import numpy as np
import pytest

from dilnas.cost import cost, cost_arrays
from dilnas.errors import BudgetError, InputError
from dilnas.space import SearchSpace
from dilnas.space_costs import Budgets, sample_within
from dilnas.space_report import presearch_report

RANGES = {
    "dilateformer": (0.5, 14),
    "dilateformer-mobile": (0.2, 1.5),
    "paper-ablations": (2, 7),
    "smoke": (0, 0.1),
}


def test_a_space_that_is_small_is_evaluated_in_full():
    """Ranges, share and edges of an enumerated space are exact, with no standard error."""
    space = SearchSpace.load("paper-ablations")
    found = cost_arrays(space.columns(space.enumerate()), 224)
    report = presearch_report(space, Budgets(gflops=4))
    assert report.exact and report.evaluated == space.size and report.standard_error == 0
    assert report.share == float((found.flops <= 4e9).mean())
    assert report.ranges["gflops"].minimum == found.flops.min() / 1e9
    assert report.cheapest.gflops == found.flops.min() / 1e9
    assert report.largest.gflops == found.flops[found.flops <= 4e9].max() / 1e9
    assert report.binding == "gflops"
    assert "all evaluated" in report.share_text()


@pytest.mark.parametrize("name", RANGES)
def test_the_costs_of_a_shipped_space_are_as_its_description_says(name):
    """No sampled architecture is outside the range, and none is below the cheapest."""
    space = SearchSpace.load(name)
    report = presearch_report(space, samples=20_000)
    low, high = RANGES[name]
    assert low <= report.cheapest.gflops <= report.ranges["gflops"].minimum
    assert report.ranges["gflops"].maximum <= high


@pytest.mark.parametrize("name", ["smoke", "paper-ablations"])
@pytest.mark.parametrize("budget", ["gflops", "mparams", "mb"])
def test_a_budget_below_the_cheapest_names_the_cheapest(name, budget):
    """Just below the true minimum nothing fits, and the error says what would; at it, it fits."""
    space = SearchSpace.load(name)
    found = cost_arrays(space.columns(space.enumerate()), space.image_size)
    values = {"gflops": found.flops / 1e9, "mparams": found.params / 1e6,
              "mb": found.memory_bytes / 1e6}[budget]  # fmt: skip
    least = float(values.min())
    with pytest.raises(BudgetError, match=f"--budget-{budget}.*the cheapest") as caught:
        presearch_report(space, Budgets(**{budget: least * 0.999}))
    assert "\n" not in str(caught.value)
    assert presearch_report(space, Budgets(**{budget: least})).share > 0


def test_the_sampled_share_agrees_with_the_exact_one():
    """A sample's share is within four of its standard errors of the enumerated share."""
    space = SearchSpace.load("dilateformer")
    one, two = (presearch_report(space, Budgets(gflops=4), s, 20_000) for s in (0, 1))
    assert not one.exact and 0 < one.standard_error < 0.005
    assert abs(one.share - two.share) < 6 * one.standard_error
    assert "standard error" in one.share_text()


def test_the_binding_limit_is_the_one_that_rejects_most():
    """Of three limits the one with the smallest share binds; without rejection none does."""
    space = SearchSpace.load("smoke")
    report = presearch_report(space, Budgets(gflops=1, mparams=0.5, mb=100))
    assert report.binding == "mparams"
    assert presearch_report(space, Budgets(gflops=1)).binding is None


def test_a_sample_within_a_budget_fits_it():
    """sample_within keeps to the budget, is repeatable, and is plain sampling without one."""
    space = SearchSpace.load("dilateformer")
    codes = sample_within(space, 50, 7, Budgets(gflops=2))
    assert codes.shape == (50, len(space.axes))
    assert all(cost(space.decode(code)).flops <= 2e9 for code in codes)
    np.testing.assert_array_equal(codes, sample_within(space, 50, 7, Budgets(gflops=2)))
    np.testing.assert_array_equal(sample_within(space, 5, 7), space.sample(5, 7))


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf")])
def test_a_budget_must_be_a_positive_number(limit):
    """Zero, negative and infinite budgets are input errors."""
    with pytest.raises(InputError, match="--budget-gflops"):
        Budgets(gflops=limit)


def test_an_image_size_that_the_strides_forbid_is_refused():
    """The report can be made at another size, if the network takes it."""
    space = SearchSpace.load("smoke")
    assert presearch_report(space, image_size=64).ranges["gflops"].maximum <= 0.1
    with pytest.raises(InputError, match="multiples"):
        presearch_report(space, image_size=50)
