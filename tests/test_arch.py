"""What everybody relies on in an Architecture: valid or not there, one form, one key."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import yaml
from drawn import architectures, stages
from hypothesis import given
from hypothesis import strategies as st

from dilnas.arch import Architecture, Stage
from dilnas.errors import ArchitectureError, InputError
from dilnas.variants import VARIANTS, variant

KEYS = {"tiny": "5418d877c1da3740", "small": "3bfe356877571e74", "base": "784f3da6dfc2e9f7"}


def stage(**changes: Any) -> Stage:
    return Stage(**{"dim": 24, "num_heads": 6, "msda_depth": 1, **changes})


def network(**changes: Any) -> Architecture:
    return Architecture(**{"stages": (stage(), stage(dim=48)), **changes})


@given(architectures())
def test_every_form_gives_the_same_network_back(architecture: Architecture) -> None:
    """dict, JSON, YAML and pickle round trips; YAML is what any YAML reader reads."""
    assert Architecture.from_dict(architecture.to_dict()) == architecture
    assert Architecture.from_json(architecture.to_json()) == architecture
    assert Architecture.from_yaml(architecture.to_yaml()) == architecture
    assert pickle.loads(pickle.dumps(architecture)) == architecture  # noqa: S301 - our own bytes
    assert yaml.safe_load(architecture.to_yaml()) == architecture.to_dict()
    assert json.loads(architecture.to_json()) == architecture.to_dict()


@given(architectures(), architectures())
def test_keys_are_equal_exactly_for_equal_networks(a: Architecture, b: Architecture) -> None:
    """Key, equality and hash agree, and a key is 16 hexadecimal digits."""
    assert (a.key == b.key) == (a == b)
    assert a.key == Architecture.from_yaml(a.to_yaml()).key
    assert hash(a) == hash(Architecture.from_json(a.to_json()))
    assert len(a.key) == 16
    assert int(a.key, 16) >= 0


@pytest.mark.parametrize("name", KEYS)
def test_keys_of_the_variants_never_change(name: str) -> None:
    """A key in an old run directory means the same network in every later version."""
    assert variant(name).key == KEYS[name]


def test_keys_do_not_depend_on_the_process() -> None:
    """Another interpreter with another hash seed gives the same key."""
    script = "from dilnas.variants import variant; print(variant('tiny').key)"
    out = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True,
        env={"PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert out.stdout.strip() == KEYS["tiny"]


def test_arch_needs_no_heavy_package() -> None:
    """Architectures and variants come without torch, numpy or yaml."""
    script = (
        "import sys, dilnas.arch, dilnas.variants, dilnas.records;"
        "assert not {'torch', 'numpy', 'yaml'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@given(stages())
def test_stages_are_in_canonical_form(drawn: Stage) -> None:
    """No window without MSDA, and the shortest list of dilations that says the same."""
    assert drawn.depth == drawn.msda_depth + drawn.global_depth
    assert drawn.head_dim * drawn.num_heads == drawn.dim
    assert drawn.mlp_hidden == int(drawn.dim * drawn.mlp_ratio) >= 1
    if not drawn.msda_depth:
        assert (drawn.window_size, drawn.dilations) == (None, ())
    elif drawn.window_size == 1:
        assert drawn.dilations == (1,)
    else:
        assert drawn.num_heads % len(drawn.dilations) == 0


@given(st.lists(st.integers(1, 3), min_size=1, max_size=6).filter(lambda d: 6 % len(d) == 0))
def test_dilations_mean_what_they_meant(given_dilations: list[int]) -> None:
    """Canonical dilations give every head the dilation that the list given gave it."""
    kept = stage(dilations=given_dilations).dilations
    heads = lambda d: [d[h * len(d) // 6] for h in range(6)]  # noqa: E731
    assert heads(kept) == heads(given_dilations)
    assert not any(
        heads(kept[::n]) == heads(kept) for n in range(2, len(kept) + 1) if len(kept) % n == 0
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"dilations": (1, 1, 2, 2, 3, 3)}, {"dilations": (1, 2, 3)}),
        ({"dilations": (2, 2)}, {"dilations": [2]}),
        ({"dilations": (1, 5), "window_size": 1}, {"dilations": (1,), "window_size": 1}),
        ({"mlp_ratio": 4}, {"mlp_ratio": 4.0}),
        ({"dim": np.int64(24)}, {"dim": 24}),
        ({"msda_depth": 0, "global_depth": 1, "window_size": 7, "dilations": (9,)},
         {"msda_depth": 0, "global_depth": 1}),
    ],
)  # fmt: skip
def test_two_ways_to_write_a_stage_are_one_stage(one: dict, other: dict) -> None:
    """Equal, with one hash and, as a network, one key."""
    assert stage(**one) == stage(**other)
    a, b = network(stages=[stage(**one)]), network(stages=(stage(**other),))
    assert (a, a.key, hash(a)) == (b, b.key, hash(b))


WRONG_STAGES: list[tuple[dict, str, str]] = [
    ({"dim": 0}, "dim", "out of range"),
    ({"dim": 24.0}, "dim", "must be an integer"),
    ({"dim": True}, "dim", "must be an integer"),
    ({"dim": 1 << 20}, "dim", "out of range"),
    ({"dim": 10**5000}, "dim", "out of range"),
    ({"num_heads": 5}, "num_heads", "must divide dim"),
    ({"num_heads": 48}, "num_heads", "out of range"),
    ({"num_heads": None}, "num_heads", "must be an integer"),
    ({"msda_depth": -1}, "msda_depth", "out of range"),
    ({"global_depth": 1e3}, "global_depth", "must be an integer"),
    ({"msda_depth": 0}, "msda_depth", "must have a block"),
    ({"window_size": 4}, "window_size", "must be odd"),
    ({"window_size": 0}, "window_size", "out of range"),
    ({"window_size": None}, "window_size", "must be an integer"),
    ({"dilations": ()}, "dilations", "non-empty list"),
    ({"dilations": "123"}, "dilations", "non-empty list"),
    ({"dilations": 3}, "dilations", "non-empty list"),
    ({"dilations": (1, 0)}, "dilations[1]", "out of range"),
    ({"dilations": (1, "x")}, "dilations[1]", "must be an integer"),
    ({"dilations": (1, 2, 3, 4)}, "dilations", "must divide num_heads"),
    ({"mlp_ratio": 0}, "mlp_ratio", "out of range"),
    ({"mlp_ratio": 0.01}, "mlp_ratio", "out of range"),
    ({"mlp_ratio": float("nan")}, "mlp_ratio", "out of range"),
    ({"mlp_ratio": float("inf")}, "mlp_ratio", "out of range"),
    ({"mlp_ratio": 10**400}, "mlp_ratio", "out of range"),
    ({"mlp_ratio": "4"}, "mlp_ratio", "must be a number"),
]


@pytest.mark.parametrize(
    ("changes", "where", "rule"),
    WRONG_STAGES,
    ids=[f"{w}-{i}" for i, (_, w, _) in enumerate(WRONG_STAGES)],
)
def test_an_invalid_stage_cannot_be_made(changes: dict, where: str, rule: str) -> None:
    """The error names rule and field and shows what was got, on one short line."""
    with pytest.raises(ArchitectureError) as caught:
        stage(**changes)
    assert (caught.value.where, rule in caught.value.rule) == (where, True)
    line = str(caught.value)
    assert line.startswith(f"{where}: ")
    assert "(expected" in line or "got" in line
    assert "\n" not in line
    assert len(line) < 300


WRONG_NETWORKS: list[tuple[dict, str, str]] = [
    ({"stages": ()}, "stages", "wrong number"),
    ({"stages": (stage(),) * 9}, "stages", "wrong number"),
    ({"stages": "abc"}, "stages", "must be a list"),
    ({"stages": None}, "stages", "must be a list"),
    ({"stages": [{"dim": 24}]}, "stages[0]", "must be a Stage"),
    ({"stem": "overlaping"}, "stem", "unknown choice"),
    ({"downsample": ["conv3"]}, "downsample", "unknown choice"),
    ({"pos_embed": None}, "pos_embed", "unknown choice"),
    ({"qkv_bias": 1}, "qkv_bias", "true or false"),
    ({"num_classes": -1}, "num_classes", "out of range"),
    ({"in_chans": 0}, "in_chans", "out of range"),
    ({"in_chans": 3.0}, "in_chans", "must be an integer"),
]


@pytest.mark.parametrize(
    ("changes", "where", "rule"),
    WRONG_NETWORKS,
    ids=[f"{w}-{i}" for i, (_, w, _) in enumerate(WRONG_NETWORKS)],
)
def test_an_invalid_network_cannot_be_made(changes: dict, where: str, rule: str) -> None:
    """As for a stage."""
    with pytest.raises(ArchitectureError) as caught:
        network(**changes)
    assert (caught.value.where, rule in caught.value.rule) == (where, True)


def test_an_error_shows_rule_field_expected_and_got() -> None:
    """The whole line, as a user sees it."""
    with pytest.raises(ArchitectureError) as caught:
        stage(num_heads=5)
    assert str(caught.value) == (
        "num_heads: num_heads must divide dim (expected a divisor of 24, got 5)"
    )
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301


def test_fields_cannot_be_changed() -> None:
    """Frozen: a change makes a new, checked network."""
    with pytest.raises(AttributeError):
        network().stem = "pointconv"  # type: ignore[misc]
    assert network().replace(num_classes=3).num_classes == 3
    with pytest.raises(ArchitectureError, match="num_classes: out of range"):
        network().replace(num_classes=-3)
    with pytest.raises(ArchitectureError, match="classes: unknown field"):
        network().replace(classes=3)


def edited(**changes: Any) -> dict:
    data = network().to_dict()
    for name, value in changes.items():
        data["stages"][1][name] = value
    return data


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (None, "must be a mapping"),
        ([], "must be a mapping"),
        ({}, "stages: must be a list"),
        ({"stages": {}}, "stages: must be a list"),
        ({"stages": []}, "stages: wrong number"),
        ({"stages": [3]}, r"stages\[0\]: a stage must be a mapping"),
        ({"stages": [{}] * 100}, "stages: too many"),
        ({"stages": [{"dim": 24}]}, r"stages\[0\].num_heads: missing field"),
        ({"stages": [], "stemm": "pointconv"}, "stemm: unknown field"),
        ({"stages": [], 3: 4}, "3: unknown field"),
        ({"dilnas_architecture": 2, "stages": []}, "dilnas_architecture: unknown format"),
        (edited(num_heads=5), r"stages\[1\].num_heads: num_heads must divide dim"),
        (edited(dilations=[1, None]), r"stages\[1\].dilations\[1\]: must be an integer"),
        (edited(mlp=2), r"stages\[1\].mlp: unknown field"),
    ],
)
def test_data_that_is_no_network_is_answered_with_its_path(data: object, match: str) -> None:
    """ArchitectureError with the path of the field at fault."""
    with pytest.raises(ArchitectureError, match=match):
        Architecture.from_dict(data)


@pytest.mark.parametrize(
    "text",
    ["", "{", "nul", "[1", "NaN", '{"stages": [{"dim": 1e999, "num_heads": 1}]}', "[" * 100_000,
     b"\xff\xfe", '{"stages": [], "stem": "\\ud800"}', "9" * 5000],
    ids=lambda t: str(t[:20]),
)  # fmt: skip
def test_broken_json_is_an_architecture_error(text: str | bytes) -> None:
    """One printable line, whatever the text."""
    with pytest.raises(ArchitectureError) as caught:
        Architecture.from_json(text)
    assert str(caught.value).isprintable()


SIZES = st.one_of(st.integers(-64, 640), st.sampled_from([True, 32.0, "224", None]))


@given(architectures(), SIZES, SIZES)
def test_sizes_are_checked_against_the_stride(architecture: Architecture, h: Any, w: Any) -> None:
    """Positive multiples of the stride pass; anything else raises InputError."""
    good = all(
        type(side) is int and side > 0 and side % architecture.stride == 0 for side in (h, w)
    )
    if good:
        architecture.check_input(h, w)
    else:
        with pytest.raises(InputError, match="img_size"):
            architecture.check_input(h, w)


def test_a_refused_size_names_the_nearest_ones() -> None:
    """225 at stride 32: 224 or 256."""
    with pytest.raises(InputError, match=r"stride 32 .expected 224 or 256, got 225"):
        VARIANTS["tiny"].check_input(224, 225)


def test_layouts_read_as_in_the_paper() -> None:
    """D for MSDA and G for global blocks, a stage a word."""
    assert variant("tiny").layout == "D2 D2 G6 G2"
    mixed = Stage(dim=24, num_heads=3, msda_depth=1, global_depth=2)
    assert Architecture(stages=(mixed,)).layout == "D1G2"
    assert (variant("tiny").stride, variant("tiny").depth) == (32, 12)
