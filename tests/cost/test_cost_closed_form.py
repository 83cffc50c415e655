"""What a user of ``cost`` relies on: published figures, fvcore's integers, rows that add up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from drawn import architectures, sides
from hypothesis import given
from hypothesis import strategies as st

from dilnas.arch import Architecture
from dilnas.cost import cost
from dilnas.errors import InputError
from dilnas.variants import variant

CASES = json.loads((Path(__file__).parents[1] / "reference" / "flops_cases.json").read_text())
TINY = {"depths": [2, 2, 6, 2], "embed_dim": 72}


def tiny(**official: object) -> Architecture:
    """Tiny with some of the official arguments changed."""
    return Architecture.from_official(**{**TINY, **official})


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_cost_equals_fvcore_on_the_official_code(case: dict) -> None:
    """Parameters, total and every operator equal fvcore's on the official network."""
    config = dict(case["config"])
    size = config.pop("img_size")
    found = cost(Architecture.from_official(**config), size)
    assert found.params == case["params"]
    assert found.flops == case["fvcore_flops"]
    assert found.by_operator == {k: v for k, v in case["by_operator"].items() if v}


@pytest.mark.parametrize(
    ("name", "params", "gflops", "gflops_384"),
    [
        ("tiny", 17_238_744, 3.177, 10.124),
        ("small", 24_057_504, 4.613, 14.613),
        ("base", 47_432_376, 9.962, 31.018),
    ],
)
def test_variants_cost_what_the_official_code_costs(
    name: str, params: int, gflops: float, gflops_384: float
) -> None:
    """Tiny, Small and Base have the known parameters and GFLOPs at 224 and 384 pixels."""
    architecture = variant(name)
    assert cost(architecture).params == params
    assert round(cost(architecture).flops / 1e9, 3) == gflops
    assert round(cost(architecture, 384).flops / 1e9, 3) == gflops_384


@pytest.mark.parametrize(
    ("name", "height", "width", "attention", "rest"),
    [
        ("small", 800, 1280, 77.6, 89.4),
        ("base", 800, 1280, 128.4, 195.4),
        ("small", 512, 2048, 81.4, 91.6),
    ],
)
def test_dense_sizes_cost_what_was_measured(
    name: str, height: int, width: int, attention: float, rest: float
) -> None:
    """At detection and segmentation sizes attention products and weights count separately."""
    found = cost(variant(name, num_classes=0), height, width).by_operator
    assert round(found["matmul"] / 1e9, 1) == attention
    assert round((found["conv"] + found["linear"]) / 1e9, 1) == rest


LAYOUTS = {
    "GGGG": 6.351, "DGGG": 3.527, "DDGG": 3.177, "DDDG": 3.051, "DDDD": 3.046,
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_cost_what_the_paper_compares(layout: str) -> None:
    """Each D/G layout of Tiny has its GFLOPs, and all have the same parameters."""
    found = cost(tiny(dilate_attention=[c == "D" for c in layout]))
    assert round(found.flops / 1e9, 3) == LAYOUTS[layout]
    assert found.params == 17_238_744


def test_the_papers_two_differences_hold() -> None:
    """GGGG costs 2.00 times DDGG, and DGGG 0.350 G more."""
    flops = {
        layout: cost(tiny(dilate_attention=[c == "D" for c in layout])).flops for layout in LAYOUTS
    }
    assert round(flops["GGGG"] / flops["DDGG"], 2) == 2.00
    assert round((flops["DGGG"] - flops["DDGG"]) / 1e9, 3) == 0.350


@pytest.mark.parametrize(
    ("changes", "mparams", "gflops"),
    [
        ({"patch_way": "nonoverlaping"}, 17.177, 2.743),
        ({"merging_way": "conv2_2"}, 16.150, 3.055),
        ({"patch_way": "nonoverlaping", "merging_way": "conv2_2"}, 16.088, 2.621),
        ({"cpe_per_block": False}, 17.206, 3.168),
        ({"cpe_per_block": False, "cpe_per_satge": True}, 17.216, 3.169),
        ({"kernel_size": 5}, 17.239, 3.199),
        ({"kernel_size": 7}, 17.239, 3.231),
        ({"dilation": [1]}, 17.239, 3.177),
    ],
)
def test_ablations_of_tiny_cost_what_was_measured(
    changes: dict, mparams: float, gflops: float
) -> None:
    """Tokenizer, downsampling, position embedding, window and dilation ablations."""
    found = cost(tiny(**changes))
    assert (round(found.params / 1e6, 3), round(found.flops / 1e9, 3)) == (mparams, gflops)


def test_attention_products_of_tiny_are_the_known_integer() -> None:
    """Multiply-adds split into 3,011,455,872 of weights and 150,490,368 of attention."""
    found = cost(variant("tiny"))
    assert found.by_operator["matmul"] == 150_490_368
    assert found.macs == 3_011_455_872 + 150_490_368


@given(st.data())
def test_rows_sum_to_every_total(data: st.DataObject) -> None:
    """Rows, rows by stage and totals say the same, and there is a row a block."""
    architecture = data.draw(architectures())
    found = cost(architecture, *data.draw(sides(architecture)))
    for rows in (found.rows, found.stage_rows()):
        assert sum(r.params for r in rows) == found.params
        assert sum(r.flops for r in rows) == found.flops
        assert sum(r.macs for r in rows) == found.macs
        assert sum(r.activation_elements for r in rows) == found.activation_elements
    assert sum(found.by_operator.values()) == found.flops
    kinds = [r.kind for r in found.rows]
    assert kinds.count("msda") == sum(s.msda_depth for s in architecture.stages)
    assert kinds.count("global") == sum(s.global_depth for s in architecture.stages)
    assert found.peak_activation_elements > architecture.in_chans * found.height * found.width


def test_rows_are_named_after_modules() -> None:
    """Names are module paths in the order of the forward pass, with each output's size."""
    rows = cost(variant("tiny"), 64, 96).rows
    assert [r.name for r in rows[:6]] == [
        "patch_embed", "stages.0.blocks.0", "stages.0.blocks.1", "stages.0.downsample",
        "stages.1.blocks.0", "stages.1.blocks.1",
    ]  # fmt: skip
    assert rows[-1].name == "head"
    assert len({r.name for r in rows}) == len(rows)
    assert (rows[0].height, rows[0].width) == (16, 24)
    assert (rows[3].height, rows[3].width) == (8, 12)


def test_blocks_of_a_mixed_stage_are_numbered_through() -> None:
    """Global blocks follow a stage's MSDA blocks with the numbers that follow."""
    from dilnas.arch import Stage

    stage = Stage(dim=24, num_heads=3, msda_depth=1, global_depth=2)
    rows = cost(Architecture(stages=(stage,)), 32).rows
    assert [(r.name, r.kind) for r in rows[1:-1]] == [
        ("stages.0.blocks.0", "msda"),
        ("stages.0.blocks.1", "global"),
        ("stages.0.blocks.2", "global"),
    ]


@given(st.data())
def test_height_and_width_may_change_places(data: st.DataObject) -> None:
    """Every total of (h, w) equals that of (w, h)."""
    architecture = data.draw(architectures())
    height, width = data.draw(sides(architecture))
    one, other = cost(architecture, height, width), cost(architecture, width, height)
    assert one.by_operator == other.by_operator
    assert one.activation_elements == other.activation_elements
    assert one.memory_bytes() == other.memory_bytes()


@pytest.mark.parametrize(
    "size", [(225, 224), (224, 16), (0, 32), (-32, 32), (True, 32), (32.0, 32)]
)
def test_sizes_that_the_strides_forbid_are_refused(size: tuple) -> None:
    """A side that is no positive multiple of 32 raises InputError, one line long."""
    with pytest.raises(InputError) as caught:
        cost(variant("tiny"), *size)
    assert "\n" not in str(caught.value)


def test_counts_are_plain_integers_of_any_size() -> None:
    """A huge image gives exact integers beyond 64 bits, not floats or wrapped ones."""
    found = cost(variant("base"), 1 << 20, 1 << 20)
    assert isinstance(found.flops, int)
    assert found.flops > 1 << 64


def test_cost_needs_neither_numpy_nor_torch() -> None:
    """Importing and calling cost loads no heavy package."""
    script = (
        "import sys; from dilnas.variants import variant; from dilnas.cost import cost;"
        "cost(variant('tiny')); heavy = {'numpy', 'torch', 'moocore', 'fvcore'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
