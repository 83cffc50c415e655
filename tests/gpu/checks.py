"""What must hold on a GPU, as plain functions: pytest runs them, and a session without pytest too.

A check takes the device's name ("cuda", "cuda:1"; most run on "cpu" as well), raises
AssertionError when it does not hold and ``CannotTell`` where the machine cannot answer. No pytest,
nothing but torch, numpy and the standard library beside dilnas.

Tolerances are derived: a result in a dtype may be a few times as far from the float64 truth as the
CPU's own result in that dtype is, never "some" epsilon.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from dilnas.arch import Architecture, Stage
from dilnas.cost import cost
from dilnas.measure.machine import settings
from dilnas.measure.sampling import Protocol
from dilnas.measure.workload import prepare
from dilnas.model import build_model
from dilnas.ops import ENVIRONMENT_VARIABLE, backends_on
from dilnas.records import Cost, Workload

__all__ = [
    "HEIGHT", "QUICK", "SMALL", "TYPES", "WIDTH", "CannotTell", "Check", "backend", "cost_of",
    "forward_of", "need_capability", "need_cuda", "rms", "workload",
]  # fmt: skip

Check = Callable[[str], None]

HEIGHT, WIDTH = 96, 64
SMALL = Architecture(
    stages=(
        Stage(dim=24, num_heads=3, msda_depth=1, global_depth=1),
        Stage(dim=48, num_heads=6, msda_depth=1, global_depth=1, dilations=(1, 2, 9)),
    ),
    num_classes=10,
)
"""Both kinds of block, and a dilation that leaves the map at 96 x 64 pixels."""

QUICK = Protocol(
    min_warmup=3, min_warmup_s=0.0, max_warmup_s=0.5, min_samples=10, max_samples=30,
    min_s=0.0, max_s=2.0,
)  # fmt: skip

TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class CannotTell(Exception):  # noqa: N818 - no failure: the machine has not what the check needs
    """Why a check cannot be made here."""


def need_cuda(device: str) -> None:
    """CannotTell without a GPU."""
    if not device.startswith("cuda"):
        raise CannotTell("needs a CUDA device")
    if not torch.cuda.is_available():
        raise CannotTell("no CUDA device here")


def need_capability(device: str, major: int) -> None:
    """CannotTell on a GPU of an older kind."""
    need_cuda(device)
    found = torch.cuda.get_device_capability(device)
    if found < (major, 0):
        raise CannotTell(f"needs compute capability {major}.0, this is {found[0]}.{found[1]}")


def workload(device: str, **changes: object) -> Workload:
    """Two images of 96 x 64 in fp32."""
    start = Workload(batch_size=2, height=HEIGHT, width=WIDTH, device=device)
    return replace(start, **changes)  # type: ignore[arg-type]


def cost_of(architecture: Architecture, what: Workload) -> Cost:
    """The closed form at the workload's image size."""
    return cost(architecture, what.height, what.width)


@contextmanager
def backend(name: str) -> Iterator[None]:
    """MSDA by this backend, within the block."""
    before = os.environ.get(ENVIRONMENT_VARIABLE)
    os.environ[ENVIRONMENT_VARIABLE] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ[ENVIRONMENT_VARIABLE]
        else:
            os.environ[ENVIRONMENT_VARIABLE] = before


def rms(x: torch.Tensor) -> float:
    """Root of the mean square, in float64 on the CPU."""
    return float(x.detach().cpu().double().square().mean().sqrt())


def forward_of(dtype: torch.dtype, device: str) -> torch.Tensor:
    """The small network's logits (4, 10): weights and images of one seed, then cast."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = build_model(SMALL).eval()
        images = torch.randn(4, 3, HEIGHT, WIDTH)
    model, images = model.to(device, dtype), images.to(device, dtype)
    with torch.inference_mode():
        out: torch.Tensor = model(images)
    return out


def check_the_forward_pass_equals_the_cpus_in_float64(device: str) -> None:
    """fp32, fp16 and bf16 are about as near the truth as the CPU's own fp32, fp16 and bf16.

    In fp32 a convolution may be Winograd's, a few eps worse; TF32 would be 4000 eps off.
    """
    truth = forward_of(torch.float64, "cpu")
    for name, dtype in TYPES.items():
        with settings(workload(device, dtype=name)):
            error = rms(forward_of(dtype, device).cpu().double() - truth)
        own = rms(forward_of(dtype, "cpu").double() - truth)
        allowed = (16 if name == "fp32" else 4) * own + torch.finfo(dtype).eps * rms(truth)
        assert error <= allowed, f"{name}: error {error:.3g} above {allowed:.3g} (CPU {own:.3g})"


def check_tf32_is_off_in_fp32_and_on_in_tf32(device: str) -> None:
    """The switch works on matrix products and convolutions, and is put back."""
    need_capability(device, 8)
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    found = [switch.fp32_precision for switch in switches]
    generator = torch.Generator().manual_seed(5)
    a, b = (torch.randn(512, 768, generator=generator) for _ in range(2))
    images = torch.randn(4, 64, 24, 40, generator=generator)
    kernel = torch.randn(64, 64, 3, 3, generator=generator)
    product = a.double() @ b.double().T
    maps = torch.nn.functional.conv2d(images.double(), kernel.double(), padding=1)
    a, b, images, kernel = (x.to(device) for x in (a, b, images, kernel))
    errors = {}
    for dtype in ("fp32", "tf32"):
        with settings(workload(device, dtype=dtype)):
            errors[dtype] = rms((a @ b.T).cpu() - product) / rms(product)
            conv = torch.nn.functional.conv2d(images, kernel, padding=1)
            share = rms(conv.cpu() - maps) / rms(maps)
        # fp32 sums of some hundred products: eps times a small factor; TF32 rounds to 2^-11.
        if dtype == "fp32":
            assert share < 64 * torch.finfo(torch.float32).eps, f"fp32 convolution is off: {share}"
    assert errors["fp32"] < 64 * torch.finfo(torch.float32).eps, errors
    assert 2.0**-14 < errors["tf32"] < 2.0**-9, errors
    assert [switch.fp32_precision for switch in switches] == found, "the switch was not put back"


def logits_of(what: Workload) -> torch.Tensor:
    """What the prepared call returns, in float64 on the CPU."""
    with settings(what):
        out: torch.Tensor = prepare(SMALL, what, cost_of(SMALL, what)).call()
        return out.detach().clone().cpu().double()


def same_as_eager(device: str, mode: str, dtype: str) -> None:
    """Equal up to the rounding that another order of the same sums makes."""
    what = workload(device, dtype=dtype)
    eager, other = logits_of(what), logits_of(replace(what, compile=mode))
    eps = torch.finfo(TYPES[dtype]).eps
    assert rms(eager) > 0
    assert rms(other - eager) <= 16 * eps * rms(eager), f"{dtype}: {rms(other - eager):.3g}"


def check_a_cuda_graph_gives_the_eager_output(device: str) -> None:
    """The replay computes the logits, and computes them again after they were overwritten."""
    need_cuda(device)
    for dtype in TYPES:
        same_as_eager(device, "graph", dtype)
    what = workload(device, compile="graph")
    with settings(what):
        runnable = prepare(SMALL, what, cost_of(SMALL, what))
        out = runnable.call()
        first = out.clone()
        with torch.inference_mode():
            out.zero_()
        again = runnable.call()
        torch.cuda.synchronize(device)
    assert torch.equal(again, first), "a replay did not write its output"
    assert float(first.abs().max()) > 0


def check_a_compiled_model_gives_the_eager_output(device: str) -> None:
    """torch.compile in fp32; tens of seconds, so one dtype only."""
    need_cuda(device)
    same_as_eager(device, "compile", "fp32")


def check_the_compiler_keeps_the_kernels_whole(device: str) -> None:
    """A training step is one graph with one operator a block, forward and backward."""
    need_cuda(device)
    if "triton" not in backends_on(device):
        raise CannotTell("Triton cannot be used here")
    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    targets: list[list[str]] = []

    def look(graph: torch.fx.GraphModule, _: object) -> object:
        targets.append([str(node.target) for node in graph.graph.nodes])
        return make_boxed_func(graph.forward)

    torch._dynamo.reset()
    model = build_model(SMALL).train().to(device)
    images = torch.randn(2, 3, HEIGHT, WIDTH, device=device)
    compiler = aot_autograd(fw_compiler=look, bw_compiler=look)
    out = torch.compile(model, fullgraph=True, backend=compiler)(images)
    out.square().sum().backward()
    torch._dynamo.reset()
    blocks = sum(stage.msda_depth for stage in SMALL.stages)
    forward, backward = targets
    assert forward.count("dilnas.msda.default") == blocks, forward
    assert backward.count("dilnas.msda_backward.default") == blocks, backward


def check_preparing_leaves_the_random_states_alone(device: str) -> None:
    """The CPU's generator and the GPU's are as they were."""
    what = workload(device)
    cuda = device.startswith("cuda")
    before = [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if cuda else [])]
    prepare(SMALL, what, cost_of(SMALL, what)).call()
    after = [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if cuda else [])]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


CHECKS: tuple[Check, ...] = (
    check_the_forward_pass_equals_the_cpus_in_float64,
    check_tf32_is_off_in_fp32_and_on_in_tf32,
    check_a_cuda_graph_gives_the_eager_output,
    check_preparing_leaves_the_random_states_alone,
)
"""Numbers, quick ones; ``every_check`` in ``checks_measuring`` has all of them in order."""

LAST: tuple[Check, ...] = (
    check_the_compiler_keeps_the_kernels_whole,
    check_a_compiled_model_gives_the_eager_output,
)
"""Slow: after everything else."""
