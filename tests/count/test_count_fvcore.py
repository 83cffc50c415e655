"""fvcore on the built model says what the closed form says, operator by operator."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
import torch
from drawn import architectures, sides
from hypothesis import given, settings
from hypothesis import strategies as st

from dilnas.arch import Architecture, Stage
from dilnas.cost import cost
from dilnas.count import fvcore_count
from dilnas.count.by_fvcore import fvcore_count_module
from dilnas.errors import InputError
from dilnas.model import build_model
from dilnas.space import SearchSpace
from dilnas.variants import variant


def check(data: st.DataObject) -> None:
    architecture = data.draw(architectures(max_dim=24))
    height, width = data.draw(sides(architecture, most=2))
    exact = cost(architecture, height, width)
    assert fvcore_count(architecture, height, width) == exact.by_operator
    built = build_model(architecture)
    assert sum(p.numel() for p in built.parameters()) == exact.params


@settings(max_examples=8)
@given(st.data())
def test_cost_equals_fvcore_on_any_architecture(data: st.DataObject) -> None:
    """Random stages, splits, stems, downsamplings and embeddings, with H and W apart."""
    check(data)


@pytest.mark.slow
@settings(max_examples=100)
@given(st.data())
def test_cost_equals_fvcore_on_a_hundred_architectures(data: st.DataObject) -> None:
    """The same, for longer."""
    check(data)


@pytest.mark.parametrize("name", ["tiny", "small", "base"])
def test_cost_equals_fvcore_on_the_variants(name: str) -> None:
    """The paper's networks, at a size that is not square."""
    assert fvcore_count(variant(name), 64, 96) == cost(variant(name), 64, 96).by_operator


def test_fvcores_total_of_tiny_is_the_published_one() -> None:
    """3,177,221,696 at 224 pixels."""
    assert sum(fvcore_count(variant("tiny")).values()) == 3_177_221_696


def test_cost_equals_fvcore_on_points_of_every_shipped_space() -> None:
    """A random point of each space."""
    for name in SearchSpace.names():
        space = SearchSpace.load(name)
        for code in space.sample(1, 7):
            architecture = space.decode([int(c) for c in code])
            height, width = 2 * architecture.stride, architecture.stride
            exact = cost(architecture, height, width)
            assert fvcore_count(architecture, height, width) == exact.by_operator, name
            built = build_model(architecture)
            assert sum(p.numel() for p in built.parameters()) == exact.params


def test_counting_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    """No warning, nothing printed, whatever torch and fvcore think of a trace."""
    stage = Stage(dim=12, num_heads=3, msda_depth=1, global_depth=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fvcore_count(Architecture(stages=(stage, stage)), 8, 16)
    assert capfd.readouterr() == ("", "")


def test_counting_leaves_a_model_as_it_was() -> None:
    """State, hooks and training mode of a counted model are those of before."""
    stage = Stage(dim=12, num_heads=3, msda_depth=1, global_depth=1)
    model = build_model(Architecture(stages=(stage,), num_classes=3)).eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    fvcore_count_module(model, (3, 8, 8))
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert not any(m._forward_hooks or m._forward_pre_hooks or m.training for m in model.modules())


def test_an_operator_that_fvcore_cannot_see_is_no_silent_zero() -> None:
    """Fused attention would be counted as nothing: that raises."""

    class Blind(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.scaled_dot_product_attention(x, x, x)

    with pytest.raises(RuntimeError, match="scaled_dot_product_attention"):
        fvcore_count_module(Blind(), (2, 4, 8))


def test_sizes_that_the_strides_forbid_are_refused() -> None:
    """InputError before anything is built."""
    with pytest.raises(InputError, match="stride"):
        fvcore_count(variant("tiny"), 225)


def test_importing_the_room_imports_no_counter() -> None:
    """fvcore and torch come with the first count."""
    script = "import sys, dilnas.count; assert not {'fvcore', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
