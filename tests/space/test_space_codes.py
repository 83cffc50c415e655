"""Codes, architectures and columns of the shipped spaces."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilnas.arch import Architecture
from dilnas.cost import cost, cost_arrays
from dilnas.cost.arrays import columns_of
from dilnas.errors import SpaceError
from dilnas.space import SearchSpace
from dilnas.variants import VARIANTS, variant

SPACES = {name: SearchSpace.load(name) for name in SearchSpace.names()}


@st.composite
def coded(draw):
    """A shipped space and one of its codes."""
    space = SPACES[draw(st.sampled_from(sorted(SPACES)))]
    return space, tuple(draw(st.integers(0, len(axis) - 1)) for axis in space.axes)


def test_the_shipped_spaces_are_these():
    """Four spaces are shipped, and names() lists them."""
    assert SearchSpace.names() == [
        "dilateformer",
        "dilateformer-mobile",
        "paper-ablations",
        "smoke",
    ]


@pytest.mark.parametrize("name", VARIANTS)
def test_the_default_space_contains_the_papers_variants_exactly(name):
    """Tiny, Small and Base are points of the default space."""
    space = SPACES["dilateformer"]
    assert space.why_not(variant(name)) is None
    assert space.decode(space.encode(variant(name))) == variant(name)


@pytest.mark.parametrize("layout", ["GGGG", "DGGG", "DDGG", "DDDG", "DDDD"])
def test_the_ablation_space_contains_the_papers_layouts(layout):
    """Each D/G layout of Tiny is a point of paper-ablations."""
    tiny = Architecture.from_official(
        depths=[2, 2, 6, 2], embed_dim=72, dilate_attention=[c == "D" for c in layout]
    )
    assert SPACES["paper-ablations"].why_not(tiny) is None


@settings(max_examples=200, deadline=None)
@given(coded())
def test_every_code_decodes_and_encodes_back_to_the_same_network(pair):
    """encode is the inverse of decode up to the canonical form, and never above the code."""
    space, code = pair
    architecture = space.decode(code)
    back = space.encode(architecture)
    assert space.decode(back).key == architecture.key
    assert back <= code and all(a <= b for a, b in zip(back, code, strict=True))
    assert space.multiplicity(architecture) >= 1
    assert Architecture.from_json(architecture.to_json()) == architecture


@settings(max_examples=100, deadline=None)
@given(coded())
def test_columns_and_their_cost_equal_those_of_the_decoded_architecture(pair):
    """columns is a fast decode: equal arrays, hence equal cost."""
    space, code = pair
    architecture = space.decode(code)
    columns, oracle = space.columns([code]), columns_of([architecture])
    assert columns.keys() == oracle.keys()
    for name, expected in oracle.items():
        assert columns[name].dtype == np.int64
        np.testing.assert_array_equal(columns[name], expected, err_msg=name)
    found = cost_arrays(columns, space.image_size)
    assert int(found.flops[0]) == cost(architecture, space.image_size).flops
    assert int(found.params[0]) == cost(architecture, space.image_size).params


def test_codes_are_drawn_uniformly_and_repeatably():
    """sample is the same for the same seed and reaches every value of every axis."""
    space = SPACES["dilateformer"]
    codes = space.sample(20_000, seed=3)
    assert codes.dtype == np.int64 and codes.shape == (20_000, len(space.axes))
    np.testing.assert_array_equal(codes, space.sample(20_000, seed=3))
    assert (codes != space.sample(20_000, seed=4)).any()
    for column, axis in zip(codes.T, space.axes, strict=True):
        counts = np.bincount(column, minlength=len(axis))
        assert counts.shape == (len(axis),)
        assert abs(counts / 20_000 - 1 / len(axis)).max() < 0.03


@pytest.mark.parametrize("name", ["smoke", "paper-ablations"])
def test_distinct_networks_are_counted_exactly(name):
    """unique_count equals the number of keys over all codes."""
    space = SPACES[name]
    codes = space.enumerate()
    assert len(codes) == space.size == len(set(map(tuple, codes.tolist())))
    assert space.unique_count().exact
    assert space.unique_count().count == len({space.decode(code).key for code in codes})


def test_the_count_of_distinct_networks_is_estimated_where_enumeration_is_too_long():
    """With a low limit unique_count says that it estimates, and is near the exact count."""
    space = SPACES["paper-ablations"]
    found = space.unique_count(limit=10)
    assert not found.exact
    assert found.count == pytest.approx(space.unique_count().count, rel=0.05)


def test_multiplicity_is_the_number_of_equal_codes():
    """GGGG of the ablations is 4 dilation sets x 3 windows = 12 codes of one network."""
    space = SPACES["paper-ablations"]
    tiny = Architecture.from_official(
        depths=[2, 2, 6, 2], embed_dim=72, dilate_attention=[False] * 4
    )
    assert space.multiplicity(tiny) == 12
    assert space.encode(tiny)[4:6] == (0, 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"embed_dim": 66}, ["stages[0].dim", "axes.dim1", "got 66"]),
        ({"kernel_size": 9}, ["stages[0].window_size", "3, 5, 7", "got 9"]),
        ({"depths": [2, 2, 7, 2]}, ["stages[2].depth", "axes.depth3", "got 7"]),
        ({"dilate_attention": [False] * 4}, ["stages[0].msda_depth", "fixed.msda_share", "got 0"]),
        ({"patch_way": "pointconv"}, ["stem", "fixed.stem", "got pointconv"]),
        ({"depths": [2, 2, 6]}, ["stages", "4", "got 3"]),
    ],
)
def test_the_reason_for_being_outside_names_the_field(changes, words):
    """why_not gives the path, what is allowed and what was found; encode raises it."""
    architecture = Architecture.from_official(
        **{"depths": [2, 2, 6, 2], "embed_dim": 72, **changes}
    )
    reason = SPACES["dilateformer"].why_not(architecture)
    assert reason is not None
    assert all(word in reason for word in words), reason
    with pytest.raises(SpaceError, match="not in the space dilateformer"):
        SPACES["dilateformer"].encode(architecture)


def test_stages_that_a_tie_makes_differ_are_a_reason():
    """Where one axis sets two stages, an architecture whose stages differ is outside."""
    space = SPACES["smoke"]
    data = space.decode((0,) * 5).to_dict()
    data["stages"][1]["window_size"] = 5
    reason = space.why_not(Architecture.from_dict(data))
    assert reason == "axis window12 ties window_size of stages 1, 2: these do not agree"


def test_classes_and_channels_are_left_to_the_data():
    """An architecture with 10 classes is in a space that does not set them."""
    assert SPACES["dilateformer"].why_not(variant("tiny", num_classes=10, in_chans=1)) is None


@pytest.mark.parametrize("code", [(), (0,) * 4, (0,) * 6, (0, 0, 0, 0, 9), (-1, 0, 0, 0, 0), "0"])
def test_what_is_no_code_is_refused(code):
    """A code of the wrong length or out of range raises SpaceError, not an index error."""
    with pytest.raises(SpaceError):
        SPACES["smoke"].decode(code)


def test_no_codes_give_empty_columns():
    """columns of no codes are arrays of length 0."""
    columns = SPACES["smoke"].columns([])
    assert columns["dim"].shape == (0, 4) and columns["stem"].shape == (0,)


@pytest.mark.parametrize("name", SPACES)
def test_a_space_survives_its_own_dictionary(name):
    """from_dict(to_dict()) is the same space; a changed value changes the fingerprint."""
    space = SPACES[name]
    data = space.to_dict()
    assert SearchSpace.from_dict(data).to_dict() == data
    assert SearchSpace.from_dict({**data, "name": "x"}).fingerprint == space.fingerprint
    first = next(iter(data["axes"]))
    del data["axes"][first]["values"][-1]
    assert SearchSpace.from_dict(data).fingerprint != space.fingerprint


def test_the_order_of_axes_is_part_of_the_fingerprint():
    """Codes of a space with its axes in another order mean something else."""
    data = SPACES["smoke"].to_dict()
    turned = {**data, "axes": dict(reversed(data["axes"].items()))}
    assert SearchSpace.from_dict(turned).fingerprint != SPACES["smoke"].fingerprint


def test_all_codes_of_the_smoke_space_are_listed_in_order():
    """enumerate is the lexicographic product of the axes."""
    space = SPACES["smoke"]
    expected = list(itertools.product(*(range(len(axis)) for axis in space.axes)))
    assert [tuple(row) for row in space.enumerate().tolist()] == expected
