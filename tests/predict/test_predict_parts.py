"""Networks as parts, one by one and a space at a time."""

from collections import Counter

import numpy as np
import pytest
from drawn import architectures
from hypothesis import given, settings
from hypothesis import strategies as st

from dilnas.cost import cost
from dilnas.errors import InputError
from dilnas.predict.features import AMOUNTS, amounts
from dilnas.predict.parts import parts_of
from dilnas.predict.tables import part_table
from dilnas.space import SearchSpace
from dilnas.variants import variant


@settings(max_examples=60)
@given(architectures(), st.integers(1, 3), st.integers(1, 3))
def test_the_parts_of_a_network_are_those_that_its_cost_counts(architecture, rows, columns):
    """As many as the closed form has rows, of the same kinds, and with the same multiply-adds."""
    height, width = rows * architecture.stride, columns * architecture.stride
    parts = parts_of(architecture, height, width)
    counted = cost(architecture, height, width).rows
    assert [part.kind for part in parts] == [row.kind for row in counted]
    for part, row in zip(parts, counted, strict=True):
        found = dict(zip(AMOUNTS[part.kind], amounts(part), strict=True))
        if part.kind in ("msda", "global", "stem", "downsample"):
            linear = row.operators.get("conv", 0) + row.operators.get("linear", 0)
            assert found["gmacs"] * 1e9 == pytest.approx(linear, rel=1e-9)
        if part.kind == "global":
            assert found["products"] * 1e9 == pytest.approx(row.operators["matmul"], rel=1e-9)
        if part.kind == "msda":  # fvcore counts taps beyond the border too
            assert found["products"] * 1e9 <= row.operators["matmul"] * (1 + 1e-9)


def test_equal_blocks_are_one_part():
    """Tiny has six equal global blocks in its third stage."""
    counts = Counter(parts_of(variant("tiny"), 224, 224))
    assert sorted(counts.values()) == [1, 1, 1, 1, 1, 2, 2, 2, 6]
    assert {part.text for part in counts} >= {
        "msda 56x56, dim 72, window 3, dilations 1 2 3, mlp 288",
        "global 14x14, dim 288, mlp 1152",
        "downsample 28x28, conv3, 144 to 288",
    }


def test_an_image_that_the_strides_do_not_divide_is_refused():
    with pytest.raises(InputError, match="stride 32"):
        parts_of(variant("tiny"), 224, 230)


@pytest.mark.parametrize("name", SearchSpace.names())
def test_a_table_of_codes_has_the_parts_of_each_decoded_network(name):
    """Which and how often; H and W differ."""
    space = SearchSpace.load(name)
    stride = space.decode([0] * len(space.axes)).stride
    codes = space.sample(80, seed=3)
    parts, table = part_table(space, codes, 3 * stride, 2 * stride)
    assert len(set(parts)) == len(parts)
    for row, code in enumerate(codes):
        found = Counter()
        for places, repeats in table:
            if repeats[row]:
                found[parts[places[row]]] += int(repeats[row])
        assert found == Counter(parts_of(space.decode(code), 3 * stride, 2 * stride))


def test_a_table_of_no_code_is_empty():
    space = SearchSpace.load("smoke")
    parts, table = part_table(space, np.empty((0, len(space.axes)), np.int64), 32, 32)
    assert parts == [] and all(len(places) == 0 for places, _ in table)
