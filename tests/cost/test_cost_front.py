"""What a user of the front functions relies on, against definitions written out by hand."""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dilnas.cost import hypervolume, pareto_mask, pareto_ranks
from dilnas.errors import InputError

NAN, INF = math.nan, math.inf


@st.composite
def tables(draw: st.DrawFn, max_columns: int = 4, special: bool = True) -> list[list[float]]:
    """Points on a coarse grid, so that ties and duplicates abound."""
    columns = draw(st.integers(1, max_columns))
    cell = st.integers(0, 4).map(float)
    if special:
        cell = st.one_of(cell, cell, cell, st.sampled_from([NAN, INF, -INF]))
    row = st.lists(cell, min_size=columns, max_size=columns)
    return draw(st.lists(row, min_size=1, max_size=9))


def dominates(a: list[float], b: list[float]) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and a != b


def brute_ranks(rows: list[list[float]]) -> list[int]:
    left = {i for i, row in enumerate(rows) if all(map(math.isfinite, row))}
    ranks = [-1] * len(rows)
    rank = 0
    while left:
        front = {i for i in left if not any(dominates(rows[j], rows[i]) for j in left)}
        for i in front:
            ranks[i] = rank
        left -= front
        rank += 1
    return [rank if r < 0 else r for r in ranks]


def brute_volume(rows: list[list[float]], reference: list[float]) -> int:
    """Unit cells of the grid whose lower corner a finite row is at or below."""
    finite = [row for row in rows if all(map(math.isfinite, row))]
    cells = product(*(range(int(r)) for r in reference))
    return sum(
        any(all(x <= c for x, c in zip(row, cell, strict=True)) for row in finite) for cell in cells
    )


@given(tables())
def test_mask_and_ranks_equal_the_definition(rows: list[list[float]]) -> None:
    """The front and the ranks of points with ties, duplicates, NaN and infinities."""
    ranks = brute_ranks(rows)
    finite = [all(map(math.isfinite, row)) for row in rows]
    assert pareto_ranks(rows).tolist() == ranks
    assert pareto_mask(rows).tolist() == [
        r == 0 and ok for r, ok in zip(ranks, finite, strict=True)
    ]


@given(tables(max_columns=3), st.integers(1, 5))
def test_hypervolume_equals_counted_cells(rows: list[list[float]], corner: int) -> None:
    """Dominated volume below the reference, points outside or not finite adding nothing."""
    reference = [float(corner)] * len(rows[0])
    assert hypervolume(rows, reference) == pytest.approx(brute_volume(rows, reference), abs=1e-9)


@pytest.mark.parametrize(
    ("rows", "front"),
    [
        ([[1, 2], [2, 1]], [True, True]),
        ([[1, 1], [1, 1]], [True, True]),  # duplicates share their fate
        ([[1, 1], [1, 1], [0, 0]], [False, False, True]),
        ([[1, 2], [1, 1]], [False, True]),  # weakly dominated is dominated
        ([[1, NAN], [2, 2]], [False, True]),
        ([[-INF, 0], [2, 2]], [False, True]),  # -inf is no result either
        ([[NAN, NAN]], [False]),
        ([[3.0], [1.0], [1.0]], [False, True, True]),
    ],
)
def test_front_of_a_drawn_table(rows: list, front: list[bool]) -> None:
    """Small tables whose front can be seen."""
    assert pareto_mask(rows).tolist() == front


def test_ranks_put_results_that_are_none_last() -> None:
    """NaN rows rank behind the last front, and first only where nothing else is."""
    assert pareto_ranks([[0, 0], [1, 1], [NAN, 0]]).tolist() == [0, 1, 2]
    assert pareto_ranks([[NAN, 0]]).tolist() == [0]


def test_no_points_have_no_front() -> None:
    """Empty tables give empty answers and no volume."""
    empty = np.empty((0, 2))
    assert pareto_mask(empty).shape == (0,)
    assert pareto_ranks(empty).shape == (0,)
    assert hypervolume(empty, [1, 1]) == 0.0


def test_hypervolume_of_a_staircase() -> None:
    """Two steps below (3, 3): 2·1 + 1·2 less their overlap of 1."""
    assert hypervolume([[1, 2], [2, 1]], [3, 3]) == pytest.approx(3.0)
    assert hypervolume([[1, 2], [3, 0]], [3, 3]) == pytest.approx(2.0)


@given(tables(special=False))
def test_hypervolume_only_grows_with_points(rows: list[list[float]]) -> None:
    """Another point never takes volume away."""
    reference = [5.0] * len(rows[0])
    volumes = [hypervolume(rows[:n], reference) for n in range(1, len(rows) + 1)]
    assert all(a <= b + 1e-9 for a, b in pairwise(volumes))


def test_points_given_are_left_as_they_were() -> None:
    """None of the functions writes into its argument, nor needs it contiguous."""
    values = np.array([[1.0, 9.0, NAN], [2.0, 1.0, 0.0]]).T[:, ::-1]
    before = values.copy()
    pareto_mask(values)
    pareto_ranks(values)
    hypervolume(values, [10, 10])
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("values", [[1.0, 2.0], [[[1.0]]], [["a", "b"]], [[1.0], [1.0, 2.0]], [[]]])
def test_values_that_are_no_table_are_refused(values: list) -> None:
    """InputError for anything but points by objectives."""
    for function in (pareto_mask, pareto_ranks, lambda v: hypervolume(v, [1, 1])):
        with pytest.raises(InputError, match="objectives"):
            function(values)


@pytest.mark.parametrize("reference", [[1.0], [1.0, NAN], [1.0, INF], 1.0])
def test_references_must_be_finite_and_fit(reference: object) -> None:
    """One finite number an objective."""
    with pytest.raises(InputError, match="reference"):
        hypervolume([[0.0, 0.0]], reference)
