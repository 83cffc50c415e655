"""Space files: what is refused, and with which words."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dilnas.errors import SpaceError
from dilnas.space import SearchSpace

GOOD = {
    "dilnas_space": 1,
    "name": "good",
    "image_size": 64,
    "stages": 2,
    "fixed": {"num_heads": [3, 6], "depth": [1, None], "msda_share": 1},
    "axes": {
        "dim": {"field": "dim", "stages": [1, 2], "times": [1, 2], "values": [12, 24]},
        "depth2": {"field": "depth", "stage": 2, "values": [1, 2]},
        "dilations": {"field": "dilations", "stages": [1, 2], "values": [[1], [1, 2, 3]]},
    },
}


def changed(path, value):
    """GOOD with one place changed."""
    data = copy.deepcopy(GOOD)
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return data


def axis(**values):
    """GOOD with one more axis."""
    return changed(("axes", "more"), values)


BAD = {
    "not a mapping": ([1], "must be a mapping"),
    "version": (changed(("dilnas_space",), 2), "dilnas_space: unknown format"),
    "misspelt top": (changed(("axis",), {}), "axis: unknown field"),
    "misspelt axis key": (changed(("axes", "dim", "value"), [1]), "axes.dim.value: unknown field"),
    "misspelt field": (axis(field="dims", stage=1, values=[1]), "axes.more.field: unknown field"),
    "misspelt fixed": (changed(("fixed", "stems"), "x"), "fixed.stems: unknown field"),
    "no axes": (changed(("axes",), {}), "axes: must be a mapping"),
    "empty axis": (axis(field="stem", values=[]), "axes.more.values: must be a non-empty list"),
    "duplicate": (axis(field="stem", values=["pointconv"] * 2), "a value stands twice"),
    "equal numbers": (axis(field="mlp_ratio", stage=1, values=[4, 4.0]), "a value stands twice"),
    "equal dilations": (changed(("axes", "dilations", "values"), [[1], [1, 1]]), "stands twice"),
    "unordered": (
        axis(field="window_size", stage=1, values=[5, 3]),
        "axes.more.values[1]: values must be ordered (expected ascending, got 3 after 5)",
    ),
    "unordered reach": (changed(("axes", "dilations", "values"), [[1, 2, 3], [2]]), "reach"),
    "two axes": (axis(field="depth", stage=2, values=[3]), "axis depth2 sets it too"),
    "fixed too": (changed(("fixed", "depth"), 1), "depth of stage 2 is fixed and also varies"),
    "nobody sets": (changed(("fixed", "depth"), [None, None]), "depth of stage 1 is neither fixed"),
    "no stage": (axis(field="mlp_ratio", values=[4]), "needs either stage or stages"),
    "stage of stem": (axis(field="stem", stage=1, values=["pointconv"]), "network-wide"),
    "stage 3 of 2": (axis(field="mlp_ratio", stage=3, values=[4]), "expected 1..2, got 3"),
    "stages turned": (axis(field="mlp_ratio", stages=[2, 1], values=[4]), "must ascend"),
    "even window": (axis(field="window_size", stage=1, values=[4]), "window_size must be odd"),
    "share": (axis(field="msda_share", stage=1, values=[2]), "0..1"),
    "boolean": (axis(field="mlp_ratio", stage=1, values=[True]), "must be a number"),
    "nan": (axis(field="mlp_ratio", stage=1, values=[float("nan")]), "out of range"),
    "bad stem": (axis(field="stem", values=["x"]), "unknown choice"),
    "times": (axis(field="mlp_ratio", stages=[1, 2], times=[1, 2], values=[4]), "cannot be scaled"),
    "short times": (changed(("axes", "dim", "times"), [1]), "2 entries"),
    "short fixed": (changed(("fixed", "num_heads"), [3]), "2 entries"),
    "image": (changed(("image_size",), 60), "a multiple of 8"),
    "heads of width": (
        changed(("axes", "dim", "values"), [12, 14]),
        "axes.dim and fixed.num_heads: contradiction in stage 1: num_heads must divide dim "
        "(expected a divisor of 14, got dim 14, num_heads 3)",
    ),
    "dilations of heads": (
        changed(("axes", "dilations", "values"), [[1], [1, 2]]),
        "fixed.num_heads and axes.dilations: contradiction in stage 1",
    ),
    "no hidden channel": (
        axis(field="mlp_ratio", stage=1, values=[0.01]),
        "axes.dim and axes.more: contradiction in stage 1",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_space_that_is_wrong_is_refused_in_one_line(case):
    """The line names the place and the values at fault."""
    data, words = BAD[case]
    with pytest.raises(SpaceError) as caught:
        SearchSpace.from_dict(data)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_good_space_of_these_tests_is_good():
    """The file that the others spoil is valid, with 2 x 2 x 2 codes."""
    assert SearchSpace.from_dict(GOOD).size == 8
    assert SearchSpace.from_yaml(yaml.safe_dump(GOOD)).size == 8


def test_dilations_need_not_suit_a_stage_that_has_no_msda_block():
    """The default dilations of three do not bar a stage of four global heads."""
    data = changed(("fixed",), {"num_heads": 4, "depth": [1, None], "msda_share": 0})
    del data["axes"]["dilations"]
    assert SearchSpace.from_dict(data).decode((0, 0)).layout == "G1 G1"


def ordered(values, key=None):
    """Lists of distinct values, in order."""
    return st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True).map(
        lambda chosen: sorted(chosen, key=key)
    )


@settings(max_examples=150, deadline=None)
@given(
    dims=ordered([6, 8, 12, 18, 24]),
    heads=ordered([1, 2, 3, 4, 6]),
    dilations=ordered([(1,), (1, 2), (1, 2, 3), (3,)], key=lambda d: (max(d), sum(d) / len(d))),
    shares=ordered([0, 0.5, 1]),
    ratios=ordered([0.1, 0.5, 4]),
)
def test_a_space_that_loads_has_only_valid_codes(dims, heads, dilations, shares, ratios):
    """The check by pairs is complete: a space is refused exactly if some code is invalid."""
    lists = {"dim": dims, "num_heads": heads, "dilations": [list(d) for d in dilations],
             "msda_share": shares, "mlp_ratio": ratios}  # fmt: skip
    axes = {name: {"field": name, "stage": 1, "values": list(v)} for name, v in lists.items()}
    data = {"dilnas_space": 1, "name": "x", "stages": 1, "fixed": {"depth": 2}, "axes": axes}
    msda = any(share > 0 for share in shares)
    valid = all(d % h == 0 for d in dims for h in heads)
    valid &= not msda or all(h % len(d) == 0 for h in heads for d in dilations)
    valid &= all(int(d * r) >= 1 for d in dims for r in ratios)
    if not valid:
        with pytest.raises(SpaceError, match="contradiction in stage 1"):
            SearchSpace.from_dict(data)
        return
    space = SearchSpace.from_dict(data)
    keys = {space.decode(code).key for code in space.enumerate()}
    assert len(keys) == space.unique_count().count


HOSTILE = [
    "",
    "a: [",
    "a: &x [1]\nb: *x\n",
    "!!python/object/apply:os.system ['true']",
    "dilnas_space: 1\ndilnas_space: 1\n",
    "[" * 5000,
    yaml.safe_dump(GOOD).replace("depth2:", "dim:"),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_yaml_is_refused_in_one_line(text, tmp_path):
    """Aliases, tags, repeated keys (two axes of one name) and depth end in one SpaceError line."""
    file = tmp_path / "hostile.yaml"
    file.write_text(text)
    with pytest.raises(SpaceError) as caught:
        SearchSpace.load(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nope", "missing.yaml", "."])
def test_a_space_that_is_not_there_is_refused(name):
    """An unknown name lists the names; a missing file or a folder says so."""
    with pytest.raises(SpaceError):
        SearchSpace.load(name)


def test_spaces_are_found_from_any_directory_and_without_torch(tmp_path):
    """Loading by name works from an empty directory and does not import torch."""
    script = (
        "import sys; from dilnas.space import SearchSpace; SearchSpace.load('smoke');"
        "print([m for m in ('torch',) if m in sys.modules])"
    )
    root = str(Path(__file__).parents[2])
    out = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    assert out.stdout.strip() == "[]"
