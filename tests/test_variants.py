"""The paper's networks and numbers as data."""

from __future__ import annotations

import pytest

from dilnas.arch import Architecture
from dilnas.errors import ArchitectureError
from dilnas.variants import PUBLISHED, VARIANTS, variant

DEPTHS = {"tiny": (2, 2, 6, 2), "small": (3, 5, 8, 3), "base": (4, 8, 10, 3)}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_those_of_the_paper(name: str) -> None:
    """Depths, widths, heads, windows, dilations and MSDA in the first two stages."""
    found = variant(name)
    width = 96 if name == "base" else 72
    assert tuple(s.depth for s in found.stages) == DEPTHS[name]
    assert [s.dim for s in found.stages] == [width << i for i in range(4)]
    assert [s.num_heads for s in found.stages] == [3, 6, 12, 24]
    assert [bool(s.msda_depth) for s in found.stages] == [True, True, False, False]
    assert {(s.window_size, s.dilations) for s in found.stages[:2]} == {(3, (1, 2, 3))}
    assert {s.mlp_ratio for s in found.stages} == {4.0}
    assert (found.stem, found.downsample, found.pos_embed) == ("overlapping", "conv3", "block")
    assert (found.qkv_bias, found.num_classes, found.in_chans) == (True, 1000, 3)


def test_a_variant_takes_changes() -> None:
    """Network-wide fields by name; the table itself is left alone."""
    assert variant("tiny", num_classes=10) == VARIANTS["tiny"].replace(num_classes=10)
    assert VARIANTS["tiny"].num_classes == 1000
    with pytest.raises(ArchitectureError, match="clases: unknown field"):
        variant("tiny", clases=10)


@pytest.mark.parametrize("name", ["huge", "", "Tiny", "../tiny", "tiny\x1b[31m"])
def test_an_unknown_variant_is_answered_with_the_known_ones(name: str) -> None:
    """One printable line that lists tiny, small and base."""
    with pytest.raises(ArchitectureError, match=r"tiny \| small \| base") as caught:
        variant(name)
    assert str(caught.value).isprintable()


def test_published_rows_belong_to_variants() -> None:
    """Each names a variant and a layout of four letters, with sane numbers and a source."""
    for row in PUBLISHED:
        assert row.variant in VARIANTS
        assert len(row.layout) == 4
        assert set(row.layout) <= set("DG")
        assert row.top1_percent is None or 80 < row.top1_percent < 86
        assert row.gflops is None or 3 < row.gflops <= 10
        assert row.source


def test_published_figures_are_the_certain_ones() -> None:
    """Rows marked as read in the abstract or the note; nothing from memory."""
    assert {
        (r.variant, r.layout, r.top1_percent, r.gflops, r.token_labeling) for r in PUBLISHED
    } == {
        ("tiny", "DDGG", 82.1, 3.2, False),
        ("small", "DDGG", 83.3, 4.8, False),
        ("small", "DDGG", 83.9, 4.9, True),
        ("base", "DDGG", 84.9, 10.0, True),
        ("tiny", "DGGG", 82.2, None, False),
        ("tiny", "DDDD", 80.5, None, False),
    }


def test_published_flops_agree_with_the_code_except_small() -> None:
    """The paper prints 4.8 G for Small; the official code costs 4.6 G."""
    from dilnas.cost import cost

    printed = {r.variant: r.gflops for r in PUBLISHED if r.gflops and r.layout == "DDGG"}
    agree = {
        name: abs(cost(VARIANTS[name]).flops / 1e9 - gflops) < 0.05
        for name, gflops in printed.items()
    }
    assert agree == {"tiny": True, "small": False, "base": True}
    assert isinstance(VARIANTS["small"], Architecture)
