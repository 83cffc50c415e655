"""What a user of ``cost_arrays`` relies on: the same integers as ``cost``, and clear refusals."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import architectures
from hypothesis import given, settings
from hypothesis import strategies as st

from dilnas.arch import Architecture
from dilnas.cost import CostArrays, columns_of, cost, cost_arrays
from dilnas.cost.arrays import CHUNK
from dilnas.errors import InputError
from dilnas.variants import VARIANTS, variant

TOTALS = ("params", "flops", "macs", "activation_elements", "peak_activation_elements")


def assert_equal_to_cost(
    found: CostArrays, given: list[Architecture], height: int, width: int | None
) -> None:
    assert len(found) == len(given)
    for i, architecture in enumerate(given):
        exact = cost(architecture, height, width)
        for name in TOTALS:
            assert int(getattr(found, name)[i]) == getattr(exact, name), name
        assert int(found.memory_bytes[i]) == exact.memory_bytes()


@settings(max_examples=150)
@given(st.data())
def test_arrays_equal_cost_to_the_last_integer(data: st.DataObject) -> None:
    """Any mix of stems, downsamplings, embeddings, splits and widths, at any size."""
    stages = data.draw(st.integers(1, 5))
    drawn = data.draw(
        st.lists(architectures(min_stages=stages, max_stages=stages, max_dim=400), max_size=5)
    )
    stride = 4 << ((stages if drawn else 1) - 1)
    height, width = (stride * data.draw(st.integers(1, 9)) for _ in range(2))
    assert_equal_to_cost(cost_arrays(columns_of(drawn), height, width), drawn, height, width)


def test_variants_together_cost_what_they_cost_alone() -> None:
    """Tiny, Small and Base in one call; results are int64."""
    listed = list(VARIANTS.values())
    found = cost_arrays(columns_of(listed))
    assert_equal_to_cost(found, listed, 224, None)
    assert found.flops.dtype == np.int64


def test_more_architectures_than_a_chunk_keep_their_order() -> None:
    """Row i of the result is that of row i of the columns, across chunk borders."""
    kinds = [variant("tiny"), variant("base", stem="pointconv", num_classes=0)]
    columns = columns_of(kinds)
    pick = np.arange(2 * CHUNK + 1) % 2
    found = cost_arrays({k: v[pick] for k, v in columns.items()}, 64, 96)
    exact = np.array([cost(a, 64, 96).flops for a in kinds])
    assert (found.flops == exact[pick]).all()


def test_no_architectures_cost_nothing() -> None:
    """Empty columns give empty arrays."""
    assert cost_arrays(columns_of([]), 32).flops.shape == (0,)


def test_numbers_of_stages_must_agree() -> None:
    """Architectures with different numbers of stages have no common columns."""
    with pytest.raises(InputError, match="equally many stages"):
        columns_of([variant("tiny"), Architecture(stages=variant("tiny").stages[:2])])


def broken(**changes: object) -> dict:
    columns = columns_of([variant("tiny"), variant("base")])
    for name, value in changes.items():
        if value is None:
            del columns[name]
        else:
            columns[name] = np.asarray(value)
    return columns


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"stem": None}, "stem: missing column"),
        ({"stem": [0, 9]}, "stem: no such choice"),
        ({"pos_embed": [0, -1]}, "pos_embed: no such choice"),
        ({"dim": [1, 2]}, "dim: must be"),
        ({"mlp_hidden": [[1, 2], [3, 4]]}, "mlp_hidden: must be"),
        ({"num_classes": [1.5, 2.0]}, "num_classes: must be"),
    ],
)
def test_wrong_columns_are_named(changes: dict, match: str) -> None:
    """A missing, misshapen, fractional or unknown column raises InputError naming it."""
    with pytest.raises(InputError, match=match):
        cost_arrays(broken(**changes))


@pytest.mark.parametrize("size", [(225, 224), (224, 16), (0, 32), (True, 32)])
def test_sizes_that_the_strides_forbid_are_refused(size: tuple) -> None:
    """As for one architecture."""
    with pytest.raises(InputError, match="stride"):
        cost_arrays(columns_of([variant("tiny")]), *size)


def test_counts_beyond_64_bits_are_refused_not_wrapped() -> None:
    """An image so large that int64 could overflow raises; a large one is still exact."""
    columns = columns_of([variant("base")])
    with pytest.raises(InputError, match="64 bits"):
        cost_arrays(columns, 1 << 20)
    assert cost_arrays(columns, 1 << 13).flops[0] == cost(variant("base"), 1 << 13).flops
