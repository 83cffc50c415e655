"""The operator ``dilnas::msda`` under everything that PyTorch does with operators.

Each holds for both of its arithmetics: the portable one, and the kernels in Triton's interpreter.
"""

from __future__ import annotations

import pytest
import torch
from functorch.compile import make_boxed_func
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from dilnas.ops import msda
from dilnas.ops.operator import msda_operator
from dilnas.ops.portable import msda_portable

SHAPE, ARGUMENTS = (2, 3, 4, 24), (2, 3, (1, 2))
MACS = 2 * 3 * 4 * 8 * 9
"""Of one product between a map of that shape and its neighbourhoods."""


@pytest.fixture(params=["portable", "interpreter"])
def arithmetic(request):
    """What computes the operator within the test."""
    torch._dynamo.reset()
    if request.param == "interpreter":
        request.getfixturevalue("interpreter")
    yield request.param
    torch._dynamo.reset()


def operator(qkv):
    """The operator, whatever computes it."""
    return msda_operator(qkv, *ARGUMENTS)


def drawn(shape=SHAPE, **options):
    """Normal numbers, always the same."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), **options)


def step(function, qkv):
    """(value, gradient) of a function of qkv."""
    out = function(qkv)
    return out.detach(), torch.autograd.grad(out.square().sum(), qkv)[0]


def test_the_operator_obeys_the_rules_of_torch_library(arithmetic):
    """opcheck: schema, fake tensors, autograd, tracing with static and symbolic shapes."""
    types = (torch.bfloat16, torch.float64) if arithmetic == "portable" else (torch.float32,)
    for dtype in types:
        leaf = drawn((1, 2, 3, 24), dtype=dtype, requires_grad=True)
        for qkv, keep in ((leaf, True), (leaf.detach(), False)):
            torch.library.opcheck(torch.ops.dilnas.msda.default, (qkv, 2, 3, [1, 2], keep))
        qkv = leaf.detach()
        out, kept = torch.ops.dilnas.msda(qkv, 2, 3, [1, 2], True)
        apart = (qkv.unflatten(3, (3, -1)), out.unflatten(3, (2, -1)))
        arguments = (torch.ones_like(out), *apart, kept, 2, 3, [1, 2])
        torch.library.opcheck(torch.ops.dilnas.msda_backward.default, arguments)


def test_on_a_cpu_the_operator_is_the_portable_form():
    """To the bit, in value and gradient: a program made on CUDA runs where there is none."""
    qkv = drawn(requires_grad=True)
    wanted = step(lambda x: msda(x, *ARGUMENTS, backend="portable"), qkv)
    assert all(torch.equal(a, b) for a, b in zip(step(operator, qkv), wanted, strict=True))


def test_compiled_it_is_one_graph_with_one_node_each_way(arithmetic):
    """torch.compile keeps the operator and its backward whole, and computes what eager does."""
    graphs = []

    def look(graph, _):
        graphs.append([str(node.target) for node in graph.graph.nodes])
        return make_boxed_func(graph.forward)

    qkv = drawn(requires_grad=True)
    compiled = torch.compile(
        operator, fullgraph=True, backend=aot_autograd(fw_compiler=look, bw_compiler=look)
    )
    got, wanted = step(compiled, qkv), step(operator, qkv)
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
    forward, backward = graphs
    assert forward.count("dilnas.msda.default") == 1
    assert backward.count("dilnas.msda_backward.default") == 1
    assert "dilnas.msda.default" not in backward


def test_compiled_the_door_takes_the_kernels_where_they_are_asked_for(interpreter):
    """backend="triton" through the door, checks and choice included, is one graph."""
    torch._dynamo.reset()
    door = torch.compile(
        lambda x: msda(x, *ARGUMENTS, backend="triton"), fullgraph=True, backend="aot_eager"
    )
    qkv = drawn(requires_grad=True)
    assert all(torch.equal(a, b) for a, b in zip(step(door, qkv), step(operator, qkv), strict=True))


def test_compiled_for_any_batch_it_is_compiled_once(arithmetic):
    """With dynamic shapes batches of 2, 3 and 5 share one program."""
    count = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(operator, fullgraph=True, backend=count, dynamic=True)
    for batch in (2, 3, 5):
        qkv = drawn((batch, 3, 4, 24))
        torch._dynamo.mark_dynamic(qkv, 0)
        torch.testing.assert_close(compiled(qkv), operator(qkv))
    assert count.frame_count == 1


@pytest.mark.slow
def test_inductors_code_computes_the_same(arithmetic):
    """Its cache is off: it does not know that TRITON_INTERPRET changes what is kept."""
    qkv = drawn(requires_grad=True)
    with torch._inductor.config.patch(force_disable_caches=True):
        got = step(torch.compile(operator, fullgraph=True), qkv)
    torch.testing.assert_close(got, step(operator, qkv))


class Attention(nn.Module):
    """MSDA alone, by the backend that is named."""

    def __init__(self, backend):
        super().__init__()
        self.backend = backend

    def forward(self, qkv):
        return msda(qkv, *ARGUMENTS, backend=self.backend)


def namespaces(program):
    """Whose operators an exported program holds."""
    targets = (node.target for node in program.graph.nodes if node.op == "call_function")
    return {target.namespace for target in targets if isinstance(target, torch._ops.OpOverload)}


def test_an_export_holds_plain_operators_unless_the_kernels_are_asked_for(interpreter):
    """The default runs where dilnas is not installed; a forced one holds the operator."""
    qkv, other = drawn(), drawn((5, 3, 4, 24))
    for backend, expected in (("auto", {"aten"}), ("triton", {"dilnas"})):
        batch = torch.export.Dim("batch", min=1, max=64)
        program = torch.export.export(Attention(backend), (qkv,), dynamic_shapes=({0: batch},))
        assert namespaces(program) == expected
        torch.testing.assert_close(program.module()(other), operator(other), rtol=1e-4, atol=1e-5)


def test_functional_transforms_work(arithmetic):
    """torch.func sees plain operators; grad under vmap equals the operator's backward."""
    qkv = drawn((3, 1, 3, 4, 24))
    slope = torch.func.vmap(torch.func.grad(lambda x: operator(x).square().sum()))(qkv)
    _, own = step(operator, qkv.flatten(0, 1).requires_grad_())
    torch.testing.assert_close(slope.flatten(0, 1), own, rtol=1e-4, atol=1e-5)
    _, tangent = torch.func.jvp(operator, (qkv[0],), (torch.ones_like(qkv[0]),))
    assert tangent.isfinite().all()


def test_torchs_counter_counts_two_products_forward_and_five_backward(arithmetic):
    """q·k and p·v; then the logits anew, dp, dq, dk and dv; two operations a multiply-add."""
    qkv = drawn(requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        operator(qkv).sum().backward()
    counts = {str(name): count for name, count in counter.get_flop_counts()["Global"].items()}
    assert counts == {"dilnas.msda": 2 * 2 * MACS, "dilnas.msda_backward": 2 * 5 * MACS}


def test_on_meta_it_is_counted_without_being_computed():
    """Shapes and the count of a map that no memory holds."""
    with FlopCounterMode(display=False) as counter:
        out = msda(
            torch.empty(1 << 20, 224, 224, 288, device="meta"), 3, 3, (1, 2, 3), backend="triton"
        )
    assert out.shape == (1 << 20, 224, 224, 96)
    assert counter.get_total_flops() == 4 * (1 << 20) * 224 * 224 * 96 * 9


def test_autocast_leaves_the_type_of_qkv(arithmetic):
    """bf16 from a layer under autocast stays bf16, float32 stays float32; weights get float32."""
    layer = nn.Linear(8, 24)
    with torch.autocast("cpu", torch.bfloat16):
        out = operator(layer(drawn((2, 3, 4, 8))))
        assert operator(drawn()).dtype == torch.float32
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.dtype == torch.float32
    assert layer.weight.grad.isfinite().all()


def test_a_second_derivative_is_that_of_the_portable_form(arithmetic):
    """A gradient penalty: the derivative of the gradient's square."""
    found = []
    for function in (operator, lambda x: msda_portable(x, *ARGUMENTS)):
        qkv = drawn(dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(function(qkv).square().sum(), qkv, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), qkv)[0])
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-11)


def test_checkpointing_recomputes_the_same(arithmetic):
    """torch.utils.checkpoint: the same gradient to the bit."""
    qkv = drawn(requires_grad=True)
    _, again = step(lambda x: checkpoint(operator, x, use_reentrant=False), qkv)
    assert torch.equal(again, step(operator, qkv)[1])


def test_nothing_is_kept_where_no_gradient_is_wanted(arithmetic):
    """Under no_grad, in inference mode and of a qkv without gradient: no probabilities, no lse."""
    wanted, leaf = operator(drawn()), drawn(requires_grad=True)
    for mode, qkv in (
        (torch.no_grad, leaf),
        (torch.inference_mode, leaf),
        (torch.enable_grad, drawn()),
    ):
        with mode():
            out = operator(qkv)
        assert not out.requires_grad
        assert torch.equal(out, wanted)
    assert torch.ops.dilnas.msda(drawn(), 2, 3, [1, 2], False)[1].numel() == 0
