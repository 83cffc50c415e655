"""The networks against numbers of the official code, and what one may do with them."""

from __future__ import annotations

import copy
import json
import math
import pickle
import zlib
from pathlib import Path

import pytest
import torch

from dilnas.arch import Architecture, Stage
from dilnas.cost import cost
from dilnas.errors import InputError
from dilnas.model import build_model
from dilnas.ops import ENVIRONMENT_VARIABLE
from dilnas.variants import VARIANTS, variant

REFERENCE = Path(__file__).parents[1] / "reference"
FORWARD = json.loads((REFERENCE / "forward_cases.json").read_text())
FLOPS = json.loads((REFERENCE / "flops_cases.json").read_text())
EMBED = {"tiny": ([2, 2, 6, 2], 72), "small": ([3, 5, 8, 3], 72), "base": ([4, 8, 10, 3], 96)}
SMALL = Architecture(
    stages=(
        Stage(dim=12, num_heads=3, msda_depth=1),
        Stage(dim=24, num_heads=6, msda_depth=1, global_depth=1),
    ),
    num_classes=5,
)


def fraction(x):
    return x - torch.floor(x)


def reference_weights(model):
    """Weights by the formula of the reference: a sine's fractional part, by name."""
    state = model.state_dict()
    for name, tensor in state.items():
        count = tensor.numel()
        i = torch.arange(1, count + 1, dtype=torch.float64)
        seed = zlib.crc32(name.encode()) % 1000
        u = 2 * fraction(torch.sin(12.9898 * i + seed) * 43758.5453) - 1
        if name.endswith("num_batches_tracked"):
            u = torch.zeros(count, dtype=torch.float64)
        elif name.endswith("running_var"):
            u = 1 + 0.5 * u.abs()
        elif name.endswith("running_mean"):
            u = 0.1 * u
        elif tensor.dim() == 1:
            u = 1 + 0.1 * u if name.endswith("weight") else 0.05 * u
        else:
            u = u * math.sqrt(3 / (count / tensor.shape[0]))
        state[name] = u.reshape(tensor.shape).to(tensor.dtype)
    model.load_state_dict(state)
    return model


def case_id(case):
    return "-".join(str(v) for k, v in case.items() if k not in {"stages", "logits", "logits_norm"})


BACKENDS = (
    "auto", "matmul", "oracle", pytest.param("portable", marks=pytest.mark.slow),
    pytest.param("triton", marks=pytest.mark.slow),
)  # fmt: skip
"""On a CPU "auto" is "portable". The interpreter takes minutes over maps of 56 x 56."""


@pytest.mark.parametrize("case", FORWARD, ids=case_id)
@pytest.mark.parametrize("backend", BACKENDS)
def test_forward_reproduces_the_official_numbers(case, backend, monkeypatch, request):
    """Every stage's map and the logits equal the official code's to 1e-8 in float64, whoever
    computes MSDA."""
    if backend == "triton":
        request.getfixturevalue("interpreter")
    if backend != "auto":
        monkeypatch.setenv(ENVIRONMENT_VARIABLE, backend)
    case = dict(case)
    stages, logits, norms = (case.pop(k) for k in ("stages", "logits", "logits_norm"))
    params, size = case.pop("params"), case.pop("img_size")
    depths, embed = EMBED[case.pop("variant")]
    architecture = Architecture.from_official(**{"depths": depths, "embed_dim": embed, **case})
    model = reference_weights(build_model(architecture).double().eval())
    assert sum(p.numel() for p in model.parameters()) == params
    height, width = (size, size) if isinstance(size, int) else size
    i = torch.arange(1, 2 * 3 * height * width + 1, dtype=torch.float64)
    x = (4 * fraction(torch.sin(78.233 * i) * 43758.5453) - 2).reshape(2, 3, height, width)
    maps = []
    model.patch_embed.register_forward_hook(lambda _m, _i, out: maps.append(out))
    for stage in model.stages:
        stage.register_forward_hook(lambda _m, _i, out: maps.append(out))
    with torch.no_grad():
        out = model(x)
    for got, expected in zip(maps, stages, strict=True):
        assert list(got.shape) == expected["shape"]
        assert got.mean().item() == pytest.approx(expected["mean"], rel=1e-8, abs=1e-8)
        assert got.std().item() == pytest.approx(expected["std"], rel=1e-8)
        first = got.contiguous().flatten()[:4].tolist()
        assert first == pytest.approx(expected["first"], rel=1e-8, abs=1e-8)
    torch.testing.assert_close(
        out[:, :16], torch.tensor(logits, dtype=torch.float64), rtol=0, atol=1e-8
    )
    assert out.norm(dim=1).tolist() == pytest.approx(norms, rel=1e-9)


@pytest.mark.parametrize("name", VARIANTS)
def test_names_and_shapes_are_those_of_official_checkpoints(name):
    """Every tensor of tiny, small and base has the official name and shape, in order."""
    expected = json.loads((REFERENCE / "state_dict_shapes.json").read_text())[name]
    with torch.device("meta"):
        model = build_model(variant(name))
    assert {n: list(t.shape) for n, t in model.state_dict().items()} == expected


def fvcore_by_operator(architecture, side):
    """What a user's own FlopCountAnalysis says, without handles."""
    from fvcore.nn import FlopCountAnalysis

    x = torch.zeros(1, architecture.in_chans, side, side)
    analysis = FlopCountAnalysis(build_model(architecture).eval(), x)
    analysis.unsupported_ops_warnings(False).tracer_warnings("none")
    return {k: v for k, v in analysis.by_operator().items() if v}


@pytest.mark.parametrize("case", FLOPS, ids=lambda c: str(c["fvcore_flops"]))
def test_fvcore_counts_our_network_as_the_closed_form(case):
    """At 64 pixels its count by operator equals ``cost``, which tests/cost holds to the file."""
    architecture = Architecture.from_official(**case["config"])
    assert fvcore_by_operator(architecture, 64) == cost(architecture, 64).by_operator


@pytest.mark.slow
@pytest.mark.parametrize("case", FLOPS, ids=lambda c: str(c["fvcore_flops"]))
def test_fvcore_counts_our_network_as_the_official_one(case):
    """At full size its count by operator equals the one on the official code."""
    architecture = Architecture.from_official(**case["config"])
    assert fvcore_by_operator(architecture, case["config"]["img_size"]) == case["by_operator"]


@pytest.mark.parametrize("autocast", [False, True])
def test_training_lowers_the_loss(autocast):
    """A few AdamW steps in fp32 or CPU bf16 autocast learn one batch by heart."""
    torch.manual_seed(0)
    model = build_model(SMALL, drop_path_rate=0.1).train()
    x, y = torch.randn(8, 3, 16, 24), torch.arange(8) % 5
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_the_pyramid_has_one_map_a_stage_at_strides_4_8_16_32():
    """Maps have their stage's own width and are what the classifier sees, before downsampling."""
    tiny = variant("tiny")
    pyramid = build_model(tiny, features_only=True).eval()
    assert (pyramid.channels, pyramid.strides) == ((72, 144, 288, 576), (4, 8, 16, 32))
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        shapes = [tuple(m.shape) for m in pyramid(x)]
    assert shapes == [(1, 72, 16, 24), (1, 144, 8, 12), (1, 288, 4, 6), (1, 576, 2, 3)]


def test_features_are_pooled_and_a_network_without_classes_returns_them():
    """forward_features gives (B, C); with num_classes=0 forward gives the same."""
    model = build_model(SMALL, num_classes=0).eval()
    x = torch.randn(2, 3, 16, 8)
    assert model.forward_features(x).shape == (2, 24)
    assert torch.equal(model(x), model.forward_features(x))


def test_a_size_that_the_strides_forbid_is_named():
    """Wrong sizes and channels raise InputError, and so does an impossible drop path."""
    model = build_model(SMALL)
    with pytest.raises(InputError, match="multiples"):
        model(torch.zeros(1, 3, 16, 12))
    with pytest.raises(InputError, match="images"):
        model(torch.zeros(1, 1, 16, 16))
    with pytest.raises(InputError, match="drop_path_rate"):
        build_model(SMALL, drop_path_rate=1.5)


def test_drop_path_grows_linearly_from_none_at_the_first_block():
    """Rates are linspace(0, rate, depth) over all blocks, as in the official code."""
    model = build_model(SMALL, drop_path_rate=0.2)
    rates = [getattr(b.drop_path, "rate", 0.0) for s in model.stages for b in s.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2])


def test_the_meta_device_runs_a_forward_without_memory():
    """Shapes flow through a network on the meta device."""
    with torch.device("meta"):
        model = build_model(variant("base")).eval()
        assert model(torch.zeros(2, 3, 224, 224)).shape == (2, 1000)


def test_export_keeps_the_outputs():
    """torch.export of the network gives a program with the same outputs."""
    model = build_model(SMALL).eval()
    x = torch.randn(2, 3, 16, 24)
    program = torch.export.export(model, (x,))
    torch.testing.assert_close(program.module()(x), model(x), rtol=1e-4, atol=1e-5)


def test_a_traced_network_keeps_the_outputs():
    """torch.jit.trace takes the matrix-product forms, which compute the same."""
    model = build_model(SMALL).eval()
    x = torch.randn(2, 3, 16, 24)
    torch.testing.assert_close(torch.jit.trace(model, x)(x), model(x), rtol=1e-4, atol=1e-5)


def compiled_and_eager(backend):
    """(outputs, gradients) of one training step, compiled and not, on a small network."""
    architecture = Architecture(
        stages=(Stage(dim=12, num_heads=3, msda_depth=1, global_depth=1),), num_classes=5
    )
    model, x = build_model(architecture).train(), torch.randn(2, 3, 8, 12)
    results = []
    for call in (torch.compile(model, fullgraph=True, backend=backend), model):
        out = call(x)
        results.append((out, torch.autograd.grad(out.square().sum(), list(model.parameters()))))
    return results


def test_the_compiler_captures_the_whole_graph():
    """torch.compile(fullgraph=True) captures forward and backward; a step equals the eager one."""
    compiled, eager = compiled_and_eager("aot_eager")
    torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_compiled_code_trains_as_eager_code_does():
    """The same with the kernels that Inductor generates."""
    compiled, eager = compiled_and_eager("inductor")
    torch.testing.assert_close(compiled, eager, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_network_can_be_converted_copied_and_pickled(dtype):
    """.to(dtype), deepcopy and pickle keep a network's outputs to the bit."""
    model = build_model(SMALL).to(dtype).eval()
    x = torch.randn(2, 3, 16, 24, dtype=dtype)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301
        assert torch.equal(other(x), model(x))
    assert model(x).dtype == dtype


def test_the_memory_format_of_the_images_does_not_matter():
    """Contiguous, channels-last and transposed images give the same outputs; no image, none."""
    model = build_model(SMALL).double().eval()
    x = torch.randn(2, 3, 16, 24, dtype=torch.float64)
    transposed = x.transpose(2, 3).contiguous().transpose(2, 3)
    for other in (x.to(memory_format=torch.channels_last), transposed):
        torch.testing.assert_close(model(other), model(x), rtol=0, atol=1e-12)
    assert model(x[:0]).shape == (0, 5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_gives_every_parameter_a_finite_gradient(dtype):
    """Under CPU autocast outputs are of the half type, gradients float32 and finite."""
    model = build_model(SMALL).train()
    with torch.autocast("cpu", dtype):
        out = model(torch.randn(4, 3, 16, 24))
    assert out.dtype == dtype
    out.float().square().mean().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None and parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()
