"""The guard: what a counter does not see in a module as it stands, with its multiply-adds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dilnas.arch import Architecture, Stage
from dilnas.cost import cost
from dilnas.count import blind_spots, count_module, torch_count
from dilnas.count.blind import BlindSpot, multiplies
from dilnas.model import build_model
from dilnas.ops import ENVIRONMENT_VARIABLE

BOTH = ("ptflops", "torch")


class Fused(nn.Module):
    """Fused attention of (B, heads, S, d), the values twice as wide."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(x, x[..., ::2, :], x[..., ::2, :])


class Batched(nn.Module):
    """An operator that torch has a formula for and ptflops has not."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(x.new_zeros(()), x, x.transpose(1, 2))


class Dot(nn.Module):
    """A matrix times a vector, which no counter has a formula for."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.mv(x[0], x[0, 0])


@pytest.mark.parametrize("counter", BOTH)
def test_fused_attention_on_a_cpu_is_named_with_its_multiply_adds(counter: str) -> None:
    """2·S·L·d a head: 2 heads, 6 queries, 3 keys of 8 channels; on meta it is seen."""
    (spot,) = blind_spots(Fused(), (2, 6, 8), counter)
    assert "scaled_dot_product" in spot.operator
    assert (spot.calls, spot.macs) == (1, 2 * 6 * 3 * (8 + 8))
    assert spot.sentence.startswith("576 multiply-adds in 1 call of fused attention, aten::")
    assert blind_spots(Fused(), (2, 6, 8), counter, device="meta") == ()


def test_fvcore_does_not_see_fused_attention_either() -> None:
    """Its trace tells the operator, not its sizes."""
    (spot,) = blind_spots(Fused(), (2, 6, 8), "fvcore")
    assert spot == BlindSpot(operator="aten::scaled_dot_product_attention", calls=1, macs=None)
    assert spot.sentence.startswith("unknown multiply-adds in 1 call of fused attention")


@pytest.mark.parametrize("counter", BOTH)
def test_portable_msda_is_named_with_the_multiply_adds_of_the_closed_form(
    counter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elementwise products and sums: all MSDA blocks, those of fused attention beside them."""
    stage = Stage(dim=12, num_heads=3, msda_depth=2, window_size=5, dilations=(1, 2, 3))
    deep = Stage(dim=24, num_heads=3, msda_depth=1, global_depth=2, dilations=(2,))
    architecture = Architecture(stages=(stage, deep))
    rows = cost(architecture, 32, 24).rows
    exact = {
        kind: sum(row.operators.get("matmul", 0) for row in rows if row.kind == kind)
        for kind in ("msda", "global")
    }
    model = build_model(architecture)
    spots = {spot.operator: spot for spot in blind_spots(model, (3, 32, 24), counter)}
    dilated = spots.pop("dilated attention")
    (fused,) = spots.values()
    assert (dilated.macs, dilated.calls) == (exact["msda"], 3)
    assert (fused.macs, fused.calls) == (exact["global"], 2)
    assert "elementwise" in dilated.sentence
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "matmul")
    assert len(blind_spots(model, (3, 32, 24), counter)) == 1


FUSED = Architecture(
    stages=(
        Stage(dim=12, num_heads=3, msda_depth=2, dilations=(1, 2, 3)),
        Stage(dim=24, num_heads=3, msda_depth=1, dilations=(2,)),
    )
)
"""Head dimensions that the Triton kernels take, and no global attention."""


def test_fused_msda_is_counted_by_torch_and_by_its_name_alone_in_ptflops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on CUDA, here on meta: torch has the operator's formula, ptflops has none."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "triton")
    exact = cost(FUSED, 8, 16)
    assert blind_spots(build_model(FUSED), (3, 8, 16), "torch", device="meta") == ()
    with FlopCounterMode(display=False) as counted, torch.device("meta"):
        build_model(FUSED)(torch.zeros(1, 3, 8, 16))
    assert counted.get_total_flops() == 2 * exact.macs
    (spot,) = blind_spots(build_model(FUSED), (3, 8, 16), "ptflops", device="meta")
    assert spot == BlindSpot(operator="dilnas::msda", calls=3, macs=exact.by_operator["matmul"])
    assert spot.sentence.endswith("in 3 calls of fused dilated attention, dilnas::msda")


@pytest.mark.usefixtures("interpreter")
def test_fused_msda_in_a_trace_is_named_with_its_multiply_adds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only where it is forced: else a trace holds matrix products, which fvcore counts."""
    matmul = cost(FUSED, 8, 16).by_operator["matmul"]
    for backend, operator in (("triton", "dilnas::msda"), ("portable", "dilated attention")):
        monkeypatch.setenv(ENVIRONMENT_VARIABLE, backend)
        spots = blind_spots(build_model(FUSED), (3, 8, 16), "fvcore")
        assert spots == (BlindSpot(operator=operator, calls=3, macs=matmul),)


def test_fvcore_sees_all_of_a_dilateformer() -> None:
    """While torch.jit traces, both attentions are written as matrix products."""
    stage = Stage(dim=12, num_heads=3, msda_depth=1, global_depth=1)
    assert blind_spots(build_model(Architecture(stages=(stage,))), (3, 8, 16), "fvcore") == ()


@pytest.mark.parametrize("counter", ["fvcore", *BOTH])
def test_a_fused_encoder_layer_is_named(counter: str) -> None:
    """torch's fast path does a whole layer in one operator, while it traces its attention."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    (spot,) = blind_spots(layer, (5, 16), counter)
    fused = (
        "_native_multi_head_attention" if counter == "fvcore" else "_transformer_encoder_layer_fwd"
    )
    assert spot.operator == f"aten::{fused}"
    assert spot.macs is None
    assert "unknown" in spot.sentence


@pytest.mark.parametrize("counter", ["fvcore", *BOTH])
def test_a_custom_operator_is_named(counter: str) -> None:
    """What it does is anybody's guess, so its multiply-adds are unknown."""
    with torch.library._scoped_library("dilnas_test", "FRAGMENT") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: 2 * x, "CPU")

        class Custom(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return torch.ops.dilnas_test.twice(torch.ops.dilnas_test.twice(x))

        (spot,) = blind_spots(Custom(), (3, 4), counter)
    assert spot == BlindSpot(operator="dilnas_test::twice", calls=2, macs=None)
    assert "2 calls of the custom operator dilnas_test::twice" in spot.sentence


def test_what_one_counter_has_a_formula_for_another_may_not() -> None:
    """baddbmm by torch's formula; a matrix-vector product by nobody's."""
    assert blind_spots(Batched(), (4, 6), "torch") == ()
    (spot,) = blind_spots(Batched(), (4, 6), "ptflops")
    assert spot == BlindSpot(operator="aten::baddbmm", calls=1, macs=4 * 4 * 6)
    for counter in BOTH:
        (spot,) = blind_spots(Dot(), (4, 6), counter)
        assert spot.operator == "aten::mv"


class Inferring(nn.Module):
    """Switches to inference mode by itself, where operators reach counters whole."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.inference_mode():
            return (x + 1) @ (x + 1).mT


def test_inference_mode_inside_of_a_module_hides_products_from_ptflops_only() -> None:
    """torch's counter takes matmul apart; ptflops has no formula for what arrives."""
    sample = (4, 6)
    assert blind_spots(Inferring(), sample, "torch") == ()
    spots = blind_spots(Inferring(), sample, "ptflops")
    counted = count_module(Inferring(), sample, "ptflops")[0].total
    assert (counted == 4 * 4 * 6) is (spots == ())


class Strided(nn.Module):
    """A linear layer on a map that does not lie contiguous."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.permute(0, 2, 3, 1))


def test_biases_that_ptflops_does_not_see_are_named() -> None:
    """torch runs it as a product and a sum; only in one operator does ptflops count the bias."""
    (spot,) = blind_spots(Strided(), (3, 4, 6), "ptflops")
    assert spot.sentence.startswith(f"{4 * 6 * 5} additions of biases in 1 call of linear layers")
    assert blind_spots(Strided(), (3, 4, 6), "torch") == ()
    assert blind_spots(nn.Linear(3, 5), (4, 6, 3), "ptflops") == ()


@pytest.mark.parametrize("counter", ["fvcore", *BOTH])
def test_nothing_is_named_where_everything_is_counted(counter: str) -> None:
    """A convolutional network with norms, activations, resizing and a head."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.Upsample(scale_factor=2.0),
        nn.Upsample(scale_factor=2.0, mode="bilinear"), nn.Conv2d(4, 4, 3, groups=4), nn.Flatten(),
        nn.LazyLinear(5),
    )  # fmt: skip
    model(torch.zeros(2, 3, 8, 10))
    assert blind_spots(model, (3, 8, 10), counter) == ()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("aten::mm", True), ("aten::_int_mm", True), ("aten::mkldnn_rnn_layer", True),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", True), ("aten::einsum", True),
        ("natten::na2d_forward", True), ("dilnas::msda", True), ("torchvision::nms", True),
        ("higher_order::flex_attention", True), ("aten::_native_multi_head_attention", True),
        ("aten::upsample_bilinear2d", False), ("aten::mul", False), ("aten::gelu", False),
        ("aten::native_layer_norm", False), ("aten::_thnn_fused_lstm_cell", False),
        ("prim::PythonOp", False), ("aten::addcmul_", False), ("aten::softmax", False),
    ],
)  # fmt: skip
def test_operators_are_told_by_name(name: str, expected: bool) -> None:
    """Matrix and attention words, and every namespace that is not torch's own."""
    assert multiplies(name) is expected


def test_the_network_that_is_reconciled_hides_nothing() -> None:
    """What is counted has one matrix product for each of the closed form's."""
    stage = Stage(dim=12, num_heads=3, msda_depth=1, global_depth=1)
    architecture = Architecture(stages=(stage,))
    matmul = cost(architecture, 8, 16).by_operator["matmul"]
    assert torch_count(architecture, 8, 16)["bmm"] == 2 * matmul
