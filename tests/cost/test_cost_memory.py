"""The closed form of memory against tensors that are really alive, on random networks; H != W."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from alive import World, cases, fused_msda
from hypothesis import assume, given, settings

from dilnas.arch import Architecture, Stage
from dilnas.cost import cost
from dilnas.cost.memory import inference_peak_bytes, saved_elements, training_peak_bytes
from dilnas.cost.memory_form import memory_form
from dilnas.cost.memory_parts import (
    block_visit,
    downsample_visit,
    fused_attention,
    peak_of,
    probability_rows,
)
from dilnas.errors import InputError
from dilnas.records import Workload
from dilnas.variants import variant

MIXED = Architecture(
    stages=(
        Stage(dim=24, num_heads=4, msda_depth=2, window_size=5, dilations=(1, 3), mlp_ratio=2.0),
        Stage(dim=40, num_heads=4, msda_depth=1, global_depth=3, window_size=3, dilations=(2,)),
    ),
    pos_embed="both",
    num_classes=10,
)


@settings(max_examples=30)
@given(cases())
def test_inference_holds_what_the_closed_form_says(case: tuple) -> None:
    """To the byte, on random architectures, sizes and batches of 1 to 4."""
    architecture, size, batch = case
    assert World(*case).inference() == inference_peak_bytes(architecture, *size, batch)


@settings(max_examples=20)
@given(cases())
def test_training_holds_what_the_closed_form_says(case: tuple) -> None:
    """What is saved and the peak, to the byte, for images of several channels."""
    architecture, size, batch = case
    assume(architecture.in_chans > 1 and all(stage.dim > 1 for stage in architecture.stages))
    world = World(*case)
    assert world.saved() == 4 * saved_elements(architecture, *size, batch)
    assert world.training() == training_peak_bytes(architecture, *size, batch)


@pytest.mark.parametrize("architecture", [MIXED, MIXED.replace(stem="pointconv")])
def test_a_channels_last_workload_needs_no_copies(architecture: Architecture) -> None:
    """With images and weights channels-last both forms hold, and are smaller than without."""
    case = (architecture, (32, 48), 2)
    world = World(*case, memory_format=torch.channels_last)
    found = [f(architecture, 32, 48, 2, channels_last=True) for f in FORMS]
    assert [world.inference(), world.training()] == found
    plain = [f(architecture, 32, 48, 2) for f in FORMS]
    assert found[0] <= plain[0]
    assert found[1] < plain[1]


FORMS = (inference_peak_bytes, training_peak_bytes)


@pytest.mark.parametrize("name", ["tiny", pytest.param("base", marks=pytest.mark.slow)])
def test_the_variants_hold_what_the_closed_form_says(name: str) -> None:
    """Tiny and Base at 64 x 96, two images, to the byte, and in bfloat16 inference too."""
    world = World(variant(name), (64, 96), 2)
    assert world.inference() == inference_peak_bytes(variant(name), 64, 96, 2)
    assert world.training() == training_peak_bytes(variant(name), 64, 96, 2)
    half = World(variant(name), (64, 96), 2, dtype=torch.bfloat16)
    assert half.inference() == inference_peak_bytes(variant(name), 64, 96, 2, 2)


@settings(max_examples=40)
@given(cases())
def test_with_fused_msda_both_hold_what_the_closed_form_says(case: tuple) -> None:
    """As the kernels of a GPU do, to the byte: what is saved, training's and inference's peak."""
    architecture, size, batch = case
    with fused_msda():
        found = World(*case).inference()
        assert found == inference_peak_bytes(architecture, *size, batch, fused=True)
        assume(architecture.in_chans > 1 and all(stage.dim > 1 for stage in architecture.stages))
        world = World(*case)
        assert world.saved() == 4 * saved_elements(architecture, *size, batch, fused=True)
        assert world.training() == training_peak_bytes(architecture, *size, batch, fused=True)


def test_the_fused_form_is_what_a_gpu_held() -> None:
    """Base on an H200, 64 images of 224 x 224 in bf16, by the tally: 550 MiB, to the byte."""
    found = inference_peak_bytes(variant("base"), 224, 224, 64, 2, fused=True)
    assert found == 94_870_624 + 19_267_584 + 462_422_016


def test_images_of_one_channel_are_within_two_percent() -> None:
    """Their maps lie otherwise, and torch copies gradients that are not modelled."""
    architecture = MIXED.replace(in_chans=1)
    world = World(architecture, (32, 48), 2)
    assert world.inference() == inference_peak_bytes(architecture, 32, 48, 2)
    assert world.training() == pytest.approx(training_peak_bytes(architecture, 32, 48, 2), rel=0.02)


def test_taps_outside_of_the_map_share_a_row() -> None:
    """A 7 x 7 window at dilation 3: on a 4 x 20 map three rows of taps touch it."""
    assert probability_rows(7, 3, 20, 20) == (49, 49)
    assert probability_rows(7, 3, 4, 20) == (21, 22)
    assert probability_rows(1, 5, 1, 1) == (1, 1)


def test_the_formulas_take_arrays() -> None:
    """Two networks at once, one of them without the block, give what they give one by one."""
    dims, hidden, heads = [12, 20], [30, 40], [3, 4]
    depth, tokens, batch = [0, 3], 24, 2

    def visits(dim: object, hidden: object, heads: object, depth: object) -> list:
        attention = fused_attention(dim=dim, heads=heads, tokens=tokens, batch=batch)
        block = block_visit(
            dim=dim, hidden=hidden, tokens=tokens, batch=batch, qkv_bias=1, pos_conv=1,
            attention=attention,
        )  # fmt: skip
        block.repeats = depth
        down = downsample_visit(
            dim=dim, out_dim=2 * dim, kernel=3, tokens=tokens, batch=batch, pos_conv=0, copies=1
        )
        return [block, down]

    many = peak_of(visits(*(np.array(column) for column in (dims, hidden, heads, depth))))
    one = [peak_of(visits(*row)) for row in zip(dims, hidden, heads, depth, strict=True)]
    assert many.tolist() == one


def test_memory_grows_with_the_batch_by_a_constant() -> None:
    """Large batches are linear: every image adds what the one before it added."""
    for form in FORMS:
        sizes = [form(MIXED, 64, 96, batch) for batch in (8, 9, 10)]
        assert sizes[2] - sizes[1] == sizes[1] - sizes[0] > 0


def test_the_budgets_form_is_below_the_exact_one_by_little() -> None:
    """``Cost.memory_bytes`` leaves out buffers and MSDA's planes: about 1 % of Tiny's maps."""
    short = inference_peak_bytes(variant("tiny")) - cost(variant("tiny")).memory_bytes()
    assert 0 < short < 0.01 * inference_peak_bytes(variant("tiny"))


@pytest.mark.parametrize("form", [*FORMS, saved_elements])
@pytest.mark.parametrize(
    ("size", "batch"), [((33, 32), 1), ((32, 48), 0), ((32, 48), True), ((0, 32), 1)]
)
def test_sizes_and_batches_out_of_range_are_refused(
    form: Callable, size: tuple[int, int], batch: int
) -> None:
    """One line that names the field."""
    with pytest.raises(InputError) as caught:
        form(MIXED, *size, batch)
    assert "\n" not in str(caught.value)


def test_what_is_not_covered_says_why() -> None:
    """Compiled steps and half types on a CPU have a reason, fp32 and tf32 have none."""

    def why(*, fused: bool = False, **changes: Any) -> str:
        form = memory_form(MIXED, Workload(height=64, width=96, **changes), fused=fused)
        assert (form.peak_bytes is None) == (form.kept_bytes is None) == bool(form.why)
        return form.why

    for dtype in ("fp32", "tf32"):
        assert not why(mode="train", dtype=dtype)
    assert "CPU" in why(mode="train", dtype="bf16", fused=True)
    assert "portable" in why(mode="train", dtype="bf16", device="cuda")
    assert not why(mode="train", dtype="bf16", device="cuda:1", fused=True)
    assert "graph" in why(mode="train", device="cuda", compile="graph", fused=True)
    assert "compile" in why(compile="compile")


def test_a_network_without_msda_has_one_form_whatever_runs_msda() -> None:
    """Nothing in it could be fused, so kernels and portable code hold the same."""
    stages = tuple(replace(stage, msda_depth=0, global_depth=1) for stage in MIXED.stages)
    dense = MIXED.replace(stages=stages)
    for changes in ({"dtype": "bf16", "device": "cuda"}, {}):
        for mode in ("inference", "train"):
            workload = Workload(height=64, width=96, mode=mode, **changes)
            form = memory_form(dense, workload, fused=False)
            assert form == memory_form(dense, workload, fused=True)
            assert form.peak_bytes


def test_the_closed_form_needs_neither_numpy_nor_torch() -> None:
    """A budget can be checked on a machine without torch."""
    script = (
        "import sys; from dilnas.variants import variant;"
        "from dilnas.cost.memory import training_peak_bytes; training_peak_bytes(variant('tiny'));"
        "assert not {'numpy', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
