"""Derivatives kept whole for compilers: the numbers of eager mode, and maps that nobody copies."""

from __future__ import annotations

import pytest
import torch
from functorch.compile import make_boxed_func
from torch import Tensor, nn
from torch._dynamo.backends.common import aot_autograd
from torch._inductor.utils import run_fw_bw_and_get_code

from dilnas.model.blocks import NormedGelu, Position
from dilnas.ops.tracing import exporting


class Stem(nn.Module):
    """What the two derivatives are for: GELU after a batch norm, position added to a map."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.act, self.position = nn.BatchNorm2d(20), NormedGelu(), Position(20)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(x))
        return x + self.position(x)


class Plain(Stem):
    """The same by PyTorch's own layers."""

    def __init__(self) -> None:
        super().__init__()
        self.act, self.position = nn.GELU(), nn.Conv2d(20, 20, 3, padding=1, groups=20)


@pytest.fixture
def pair() -> tuple[nn.Module, nn.Module]:
    torch._dynamo.reset()
    torch.manual_seed(0)
    plain, stem = Plain(), Stem()
    stem.load_state_dict(plain.state_dict())
    return plain, stem


def image(batch: int = 2) -> Tensor:
    """A channels-last map, H unlike W."""
    torch.manual_seed(batch)
    return torch.randn(batch, 20, 9, 12).contiguous(memory_format=torch.channels_last)


def step(model: nn.Module, run: nn.Module, x: Tensor) -> list[Tensor]:
    """The result and all gradients of a loss that weighs every number differently."""
    model.zero_grad()
    x = x.detach().requires_grad_()
    out = run(x)
    (out.float() * torch.linspace(-1, 1, out.numel()).view(out.shape)).sum().backward()
    return [out.detach(), x.grad, *(p.grad.clone() for p in model.parameters())]


def seen_by(kinds: list[str]):
    """A backend that notes the operators of the backward graph and runs it as it is."""

    def look(graph, _):
        kinds.extend(str(node.target) for node in graph.graph.nodes)
        return make_boxed_func(graph.forward)

    return aot_autograd(
        fw_compiler=lambda graph, _: make_boxed_func(graph.forward), bw_compiler=look
    )


def test_a_compiled_step_has_eager_modes_gradients_and_one_graph(pair):
    plain, stem = pair
    want = step(plain, plain, image())
    torch.testing.assert_close(step(stem, stem, image()), want, rtol=0, atol=0)
    got = step(stem, torch.compile(stem, fullgraph=True), image())
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_both_derivatives_are_operators_of_the_compiled_backward_pass(pair):
    _, stem = pair
    kinds: list[str] = []
    step(stem, torch.compile(stem, backend=seen_by(kinds), fullgraph=True), image())
    assert kinds.count("dilnas.depthwise_backward.default") == 1
    assert kinds.count("dilnas.gelu_backward.default") == 1
    assert "aten.convolution_backward.default" not in kinds


@pytest.mark.parametrize("mine", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("others", [torch.contiguous_format, torch.channels_last])
def test_what_a_compiler_is_told_of_them_is_how_their_results_lie(mine, others):
    """Strides too, also where the gradient lies otherwise than the map."""
    grad, x = (torch.randn(2, 20, 5, 6).contiguous(memory_format=f) for f in (mine, others))
    weight = torch.randn(20, 1, 3, 3)
    tests = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.dilnas.gelu_backward, (grad, x), test_utils=tests)
    torch.library.opcheck(torch.ops.dilnas.depthwise_backward, (grad, x, weight), test_utils=tests)


def test_a_batch_may_vary_without_compiling_anew_for_each(pair):
    plain, stem = pair
    run = torch.compile(stem, fullgraph=True, dynamic=True)
    for batch in (2, 3, 5):
        want = step(plain, plain, image(batch))
        torch.testing.assert_close(step(stem, run, image(batch)), want, rtol=1e-4, atol=1e-5)


def test_under_autocast_the_gradients_have_the_types_and_numbers_of_eager_mode(pair):
    plain, stem = pair

    def casting(run: nn.Module):
        def call(x: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return run(x)

        return call

    want = step(plain, casting(plain), image())
    got = step(stem, torch.compile(casting(stem), fullgraph=True), image())
    assert [x.dtype for x in got] == [x.dtype for x in want]
    exact = step(plain, plain, image())
    for one, other, true in zip(got, want, exact, strict=True):
        doubt = (other.float() - true).abs().max()  # what bfloat16 costs eager mode itself
        assert (one.float() - true).abs().max() <= 2 * doubt + 1e-5


def test_frozen_position_gets_no_gradient_and_the_map_still_does(pair):
    plain, stem = pair
    for model in pair:
        model.position.requires_grad_(False)
    x, y = (image().requires_grad_() for _ in range(2))
    torch.compile(stem, fullgraph=True)(x).square().sum().backward()
    plain(y).square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-4, atol=1e-5)
    assert stem.position.weight.grad is None


def test_who_is_looking_is_told_apart():
    """Compiling is not exporting; both ways to export are."""

    class Asking(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * (2 if exporting() else 3)

    torch._dynamo.reset()
    one = torch.ones(1)
    assert Asking()(one) == torch.compile(Asking(), backend="eager")(one) == 3
    for strict in (False, True):
        assert torch.export.export(Asking(), (one,), strict=strict).module()(one) == 2


def test_inference_exports_and_transforms_see_plain_operators(pair):
    _, stem = pair
    stem.eval()
    exported = torch.export.export(stem, (image().requires_grad_(),))
    assert "dilnas" not in str(exported.graph)
    by_transform = torch.func.grad(lambda x: torch.compile(stem)(x).square().sum())(image())
    x = image().requires_grad_()
    stem(x).square().sum().backward()
    torch.testing.assert_close(by_transform, x.grad, rtol=1e-4, atol=1e-5)


def test_the_compiled_backward_pass_asks_for_channels_last_maps_and_copies_none(pair):
    """Inductor's code: the gradient of position comes in the order of memory of its map."""
    _, stem = pair
    x = image().requires_grad_()
    run = torch.compile(stem, fullgraph=True)
    _, codes = run_fw_bw_and_get_code(lambda: run(x))
    (backward,) = [code for code in codes if "depthwise_backward" in code]
    call = next(line for line in backward.splitlines() if "depthwise_backward.default(" in line)
    assert "transpose_mxn" not in backward, call
