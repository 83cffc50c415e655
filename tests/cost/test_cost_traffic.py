"""Bytes by operator: what a real forward pass touches, and sums that agree with ``cost``."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
import torch
from drawn import architectures, sides
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from dilnas.arch import Architecture
from dilnas.cost import cost
from dilnas.cost.traffic import TRAFFIC_OPERATORS, TrafficRow, traffic
from dilnas.errors import InputError
from dilnas.model import build_model
from dilnas.records import Workload
from dilnas.variants import variant

aten: Any = torch.ops.aten

ONE_TO_ONE = {
    aten.convolution: "conv",
    aten.addmm: "linear",
    aten.mm: "linear",
    aten.linear: "linear",
    aten.native_layer_norm: "layer_norm",
    aten.native_batch_norm: "batch_norm",
    aten._native_batch_norm_legit_no_training: "batch_norm",
    aten.gelu: "gelu",
    aten.add: "add",
    aten.add_: "add",
    aten.mean: "pool",
}
"""Operators of torch that are one operator of ours."""


class Tally(TorchDispatchMode):
    """Bytes of the tensors that go into and come out of each operator; of a norm's outputs the
    first, because the others are statistics for the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = ONE_TO_ONE.get(func.overloadpacket)
        if name is not None:
            first = out[0] if isinstance(out, tuple) else out
            tensors = [t for t in tree_leaves((args, first)) if isinstance(t, torch.Tensor)]
            if name == "add" and tensors[1].dim() == 1:
                # Where a linear layer's input does not lie in a row, torch adds the bias in a
                # second pass over its output: of that pass only the bias must be read.
                name, tensors = "linear", tensors[1:2]
            self.bytes[name] += sum(t.numel() * t.element_size() for t in tensors)
        return out


def on_meta(architecture: Architecture, workload: Workload) -> tuple[torch.nn.Module, torch.Tensor]:
    """The network and a batch, without data."""
    shape = (workload.batch_size, architecture.in_chans, workload.height, workload.width)
    with torch.device("meta"):
        model = build_model(architecture).train(workload.mode == "train")
        images = torch.empty(shape)
    if workload.dtype in ("fp16", "bf16"):
        model, images = model.to(torch.bfloat16), images.to(torch.bfloat16)
    return model, images


def by_operator(rows: tuple[TrafficRow, ...], field: str) -> dict[str, int]:
    """Sums over parts; operators that count nothing are left out."""
    sums: Counter[str] = Counter()
    for row in rows:
        sums[row.operator] += getattr(row, field)
    return {name: count for name, count in sums.items() if count}


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_bytes_are_those_of_a_real_forward_pass(data: st.DataObject) -> None:
    """Inputs, weights and outputs of each operator, counted while torch runs it, fp32 and half."""
    architecture = data.draw(architectures(max_stages=3, max_dim=24))
    height, width = data.draw(sides(architecture))
    workload = Workload(
        batch_size=data.draw(st.integers(1, 3)), height=height, width=width,
        dtype=data.draw(st.sampled_from(["fp32", "bf16"])),
    )  # fmt: skip
    model, images = on_meta(architecture, workload)
    with torch.no_grad(), Tally() as tally:
        model(images)
    found = by_operator(traffic(architecture, workload), "moved_bytes")
    found = {name: count for name, count in found.items() if name in ONE_TO_ONE.values()}
    assert found == dict(tally.bytes)


@given(st.data())
def test_inference_multiplies_as_cost_says(data: st.DataObject) -> None:
    """MACs by operator and by part are those of ``cost``, times the batch; rows are unique."""
    architecture = data.draw(architectures())
    height, width = data.draw(sides(architecture))
    batch = data.draw(st.integers(1, 9))
    rows = traffic(architecture, Workload(batch_size=batch, height=height, width=width))
    exact = cost(architecture, height, width)
    macs = by_operator(rows, "macs")
    for name in ("conv", "linear"):
        assert macs.get(name, 0) == batch * exact.by_operator.get(name, 0)
    products = macs.get("msda", 0) + macs.get("attention", 0)
    assert products == batch * exact.by_operator.get("matmul", 0)
    for part in exact.stage_rows():
        assert sum(r.macs for r in rows if r.part == part.name) == batch * part.macs
    assert len({(r.part, r.operator) for r in rows}) == len(rows)
    assert {r.operator for r in rows} <= set(TRAFFIC_OPERATORS)


@given(st.data())
@settings(max_examples=15, deadline=None)
def test_training_multiplies_as_torch_counts(data: st.DataObject) -> None:
    """Convolutions and linear layers, forward and backward; the image gets no gradient.

    Without depthwise convolutions: torch 2.13 counts their weights' gradient as if they had as
    many inputs as channels.
    """
    architecture = data.draw(architectures(max_stages=2, max_dim=24)).replace(pos_embed="none")
    height, width = data.draw(sides(architecture))
    workload = Workload(batch_size=2, height=height, width=width, mode="train")
    model, images = on_meta(architecture, workload)
    counter = FlopCounterMode(display=False)
    with counter:
        model(images).square().mean().backward()
    seen = {str(op): flops // 2 for op, flops in counter.get_flop_counts()["Global"].items()}
    macs = by_operator(traffic(architecture, workload), "macs")
    assert macs["conv"] == seen["aten.convolution"] + seen["aten.convolution_backward"]
    assert macs["linear"] == sum(seen.get(name, 0) for name in ("aten.addmm", "aten.mm"))


def test_global_attention_trains_as_torchs_own_formula_says() -> None:
    """Two products forward and five backward, for 8 x 12 tokens of 3 heads."""
    architecture = Architecture.from_dict(
        {"stages": [{"dim": 24, "num_heads": 3, "global_depth": 1}]}
    )
    shape = (2, 3, 8 * 12, 8)
    forward = sdpa_flop_count(shape, shape, shape) // 2
    backward = sdpa_backward_flop_count(shape, shape, shape, shape) // 2
    for mode, count in (("inference", forward), ("train", forward + backward)):
        rows = traffic(architecture, Workload(batch_size=2, height=32, width=48, mode=mode))
        assert by_operator(rows, "macs")["attention"] == count


def test_training_moves_what_its_rules_say() -> None:
    """A block worked out by hand: 4 x 6 tokens, 8 channels, 16 hidden ones, a batch of 2."""
    architecture = Architecture.from_dict(
        {
            "stages": [
                {"dim": 8, "num_heads": 1, "msda_depth": 1, "dilations": [1], "mlp_ratio": 2}
            ],
            "pos_embed": "none", "qkv_bias": False, "num_classes": 0,
        }
    )  # fmt: skip
    rows = traffic(architecture, Workload(batch_size=2, height=16, width=24, mode="train"))
    found = {r.operator: (r.read_bytes, r.written_bytes) for r in rows if r.part == "stage 1"}
    size = 2 * 24 * 8  # elements of one map of the batch
    # Forward, then the gradient of the input, then that of the weights.
    assert found["conv"] == (
        4 * ((size + 192) + (3 * size + 192) + (3 * size + size)),
        4 * (3 * size + size + 192),
    )
    assert found["msda"] == (4 * (3 * size + 5 * size), 4 * (size + 3 * size))
    assert found["layer_norm"] == (
        2 * 4 * ((size + 16) + (2 * size + 8)),
        2 * 4 * (size + size + 16),
    )
    assert found["gelu"] == (4 * (2 * size + 4 * size), 4 * (2 * size + 2 * size))
    assert found["add"] == (2 * 4 * (2 * size + 2 * size), 2 * 4 * (size + size))


def test_half_types_move_half_of_what_inference_moves() -> None:
    """Exactly half of fp32, tf32 moves as much as fp32; training keeps weights whole."""
    sizes = {"height": 64, "width": 96}
    moved = {
        dtype: sum(by_operator(traffic(variant("tiny"), w), "moved_bytes").values())
        for dtype in ("fp32", "tf32", "fp16", "bf16")
        for w in [Workload(**sizes, dtype=dtype)]
    }
    assert moved["fp32"] == moved["tf32"] == 2 * moved["fp16"] == 2 * moved["bf16"]
    train = traffic(variant("tiny"), Workload(**sizes, mode="train"))
    mixed = traffic(variant("tiny"), Workload(**sizes, mode="train", dtype="bf16"))
    for whole, half in zip(train, mixed, strict=True):
        assert whole.moved_bytes / 2 <= half.moved_bytes < whole.moved_bytes


def test_a_side_that_the_strides_forbid_is_refused() -> None:
    """One line, as everywhere."""
    with pytest.raises(InputError, match="multiples of the network's stride 32"):
        traffic(variant("tiny"), Workload(height=224, width=225))


def test_traffic_needs_neither_numpy_nor_torch() -> None:
    """It is asked for before a device is touched."""
    script = (
        "import sys; from dilnas.variants import variant; from dilnas.records import Workload;"
        "from dilnas.cost.traffic import traffic; traffic(variant('tiny'), Workload());"
        "heavy = {'numpy', 'torch'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
