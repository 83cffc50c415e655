"""Costs of the shipped search spaces: arrays of codes and single architectures agree."""

from __future__ import annotations

import numpy as np
import pytest

from dilnas.cost import columns_of, cost, cost_arrays, nsc, nsc_many
from dilnas.space import SearchSpace


@pytest.mark.parametrize("name", SearchSpace.names())
def test_columns_of_a_space_cost_what_its_architectures_cost(name: str) -> None:
    """space.columns and cost_arrays equal decode and cost, for 50 points, to the last integer."""
    space = SearchSpace.load(name)
    codes = space.sample(50, 3)
    found = cost_arrays(space.columns(codes), space.image_size)
    decoded = [space.decode([int(c) for c in code]) for code in codes]
    for i, architecture in enumerate(decoded):
        exact = cost(architecture, space.image_size)
        assert int(found.params[i]) == exact.params
        assert int(found.flops[i]) == exact.flops
        assert int(found.macs[i]) == exact.macs
        assert int(found.memory_bytes[i]) == exact.memory_bytes()
    again = cost_arrays(columns_of(decoded), space.image_size)
    assert (again.flops == found.flops).all()
    assert (nsc_many(decoded) == np.array([nsc(a) for a in decoded])).all()
