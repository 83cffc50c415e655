"""The network with MSDA as the fused operator, its memory format, and both under the compiler."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from functorch.compile import make_boxed_func, min_cut_rematerialization_partition
from torch._dynamo.backends.common import aot_autograd
from torch._inductor.decomposition import select_decomp_table
from torch.utils.flop_counter import FlopCounterMode

from dilnas.arch import Architecture, Stage
from dilnas.cost import cost
from dilnas.model import build_model
from dilnas.model.attention import Projection
from dilnas.ops import ENVIRONMENT_VARIABLE

TINY = Architecture(
    stages=(
        Stage(dim=12, num_heads=3, msda_depth=1),
        Stage(dim=24, num_heads=3, msda_depth=1, global_depth=1),
    ),
    num_classes=5,
)
"""Tiny's kinds of block, with head dimensions that the Triton kernels take."""


@pytest.fixture
def fused(interpreter, monkeypatch):
    """MSDA by the kernels, in Triton's interpreter."""
    torch._dynamo.reset()
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "triton")
    yield
    torch._dynamo.reset()


def model_and_images(dtype=torch.float32):
    """Always the same weights and images, (2, 3, 8, 16)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_model(TINY).to(dtype).train(), torch.randn(2, 3, 8, 16, dtype=dtype)


def step(model, call, images):
    """(logits, gradients of all parameters)."""
    out = call(images)
    return out.detach(), torch.autograd.grad(out.square().sum(), list(model.parameters()))


def test_a_training_step_by_the_kernels_equals_the_portable_one(fused, monkeypatch):
    """In float64, logits and the gradient of every parameter."""
    model, images = model_and_images(torch.float64)
    by_kernels = step(model, model, images)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "portable")
    torch.testing.assert_close(by_kernels, step(model, model, images), rtol=1e-9, atol=1e-11)


def test_the_compiler_keeps_one_graph_with_the_kernels_whole(fused):
    """fullgraph: one operator for each MSDA block forward and backward, the numbers of eager."""
    targets = []

    def look(graph, _):
        targets.append([str(node.target) for node in graph.graph.nodes])
        return make_boxed_func(graph.forward)

    model, images = model_and_images()
    backend = aot_autograd(fw_compiler=look, bw_compiler=look)
    got = step(model, torch.compile(model, fullgraph=True, backend=backend), images)
    forward, backward = targets
    assert forward.count("dilnas.msda.default") == 2
    assert backward.count("dilnas.msda_backward.default") == 2
    torch.testing.assert_close(got, step(model, model, images), rtol=1e-4, atol=1e-5)


def test_what_a_compiled_training_step_keeps_lies_as_inductor_wants_it():
    """In four dimensions only images, channels-last: Inductor copies others into that order.

    Of blocks with MSDA: what global attention keeps of SDPA is PyTorch's.
    """
    torch._dynamo.reset()
    kept = []

    def look(graph, _):
        made = [n for n in graph.graph.output_node().args[0] if n.op != "placeholder"]
        kept.extend(n.meta["val"] for n in made[1:] if n.meta["val"].dim() == 4)
        return make_boxed_func(graph.forward)

    _, images = model_and_images()
    model = build_model(
        replace(TINY, stages=(TINY.stages[0], replace(TINY.stages[1], global_depth=0)))
    ).train()
    backend = aot_autograd(
        fw_compiler=look,
        bw_compiler=lambda graph, _: make_boxed_func(graph.forward),
        partition_fn=min_cut_rematerialization_partition,
        decompositions=select_decomp_table(),
    )
    got = step(model, torch.compile(model, fullgraph=True, backend=backend), images)
    torch.testing.assert_close(got, step(model, model, images), rtol=1e-4, atol=1e-5)
    others = [(tuple(x.shape), x.stride()) for x in kept if not lies_channels_last(x)]
    assert len(kept) > 8
    assert others == []


def test_under_autocast_the_kernels_take_bf16_and_every_parameter_gets_a_gradient(fused):
    """bf16 from the projection on; gradients are float32 and finite."""
    model, images = model_and_images()
    with torch.autocast("cpu", torch.bfloat16):
        out = model(images)
    assert out.dtype == torch.bfloat16
    out.float().square().mean().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None and parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()


def test_torchs_counter_on_the_fused_network_gives_the_closed_form(monkeypatch):
    """On meta, where nothing is computed: two operations for each multiply-add of ``cost``."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "triton")
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        build_model(TINY).eval()(torch.zeros(1, 3, 32, 48))
    assert counter.get_total_flops() == 2 * cost(TINY, 32, 48).macs


def lies_channels_last(x):
    """Whether (B, C, H, W) is a view of a contiguous (B, H, W, C)."""
    return x.permute(0, 2, 3, 1).is_contiguous()


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_maps_stay_channels_last_from_the_stem_to_the_head(train, dtype):
    """Between blocks nothing is copied: every map, and every gradient of one, lies alike."""
    model, images = model_and_images(dtype)
    model.train(train)
    seen = []

    def look(module, inputs, out):
        maps = [*inputs, out]
        if isinstance(module, torch.nn.LayerNorm | torch.nn.Linear):  # they see channels last
            seen.extend(x.is_contiguous() for x in maps)
            return
        seen.extend(lies_channels_last(x) for x in maps if x.shape[1] != 3)
        if train:
            out.register_hook(lambda slope: seen.append(lies_channels_last(slope)))

    parts = [model.patch_embed, *(b for s in model.stages for b in s.blocks)]
    parts += [s.downsample for s in model.stages]
    parts += [m for m in model.modules() if isinstance(m, Projection)]
    for block in (b for s in model.stages for b in s.blocks):
        parts += [m for m in block.modules() if isinstance(m, torch.nn.LayerNorm | torch.nn.Linear)]
    for part in parts:
        part.register_forward_hook(look)
    out = model(images)
    if train:
        out.sum().backward()
    assert len(seen) > 2 * len(parts) - 2
    assert all(seen)


@pytest.mark.parametrize("bias", [True, False])
def test_the_projection_is_a_convolution_and_as_a_linear_layer_the_same(bias):
    """Its weights load from a 1x1 convolution; what CUDA runs gives the convolution's numbers."""
    projection, conv = Projection(6, 18, bias=bias), torch.nn.Conv2d(6, 18, 1, bias=bias)
    projection.load_state_dict(conv.state_dict())
    x = torch.randn(2, 6, 3, 5).to(memory_format=torch.channels_last)
    assert torch.equal(projection(x), conv(x))
    weight = projection.weight.flatten(1)
    as_linear = torch.nn.functional.linear(x.permute(0, 2, 3, 1), weight, projection.bias)
    torch.testing.assert_close(as_linear.permute(0, 3, 1, 2), conv(x))
    assert lies_channels_last(projection(x))
