"""What must hold of MSDA on a GPU, as plain functions like those in ``checks``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from checks import (
    HEIGHT,
    SMALL,
    TYPES,
    WIDTH,
    CannotTell,
    Check,
    backend,
    forward_of,
    need_cuda,
    rms,
    workload,
)

from dilnas.cost import cost
from dilnas.measure.machine import settings
from dilnas.model import build_model
from dilnas.model.attention import MultiScaleDilatedAttention, Projection
from dilnas.ops import backends_on, msda
from dilnas.ops.triton_state import limits

__all__ = ["MSDA_CHECKS"]


@dataclass(frozen=True)
class Problem:
    """One call of MSDA.

    Attributes:
        shape: (batch, height, width).
        fused: types in which the Triton kernels compute it; each is compiled anew, for seconds.
    """

    shape: tuple[int, int, int]
    heads: int
    depth: int
    dilations: tuple[int, ...]
    window: int = 3
    fused: tuple[str, ...] = ()

    def drawn(self, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(qkv, gradient of the result), normal, in float64 on the CPU."""
        generator = torch.Generator().manual_seed(seed)
        channels = self.heads * self.depth
        return (
            torch.randn(*self.shape, 3 * channels, generator=generator, dtype=torch.float64),
            torch.randn(*self.shape, channels, generator=generator, dtype=torch.float64),
        )


PROBLEMS = (
    Problem((2, 13, 18), 3, 24, (1, 2, 3), fused=("fp32", "bf16")),
    Problem((1, 9, 7), 6, 5, (1, 4)),  # a head dimension that the kernels do not take
    Problem((3, 6, 21), 4, 16, (1, 30), fused=("fp16",)),
    Problem((2, 7, 10), 2, 32, (1, 2), window=5, fused=("bf16",)),
    Problem((1, 12, 11), 2, 64, (1, 9), window=7, fused=("bf16",)),
    Problem((130, 2, 3), 1, 20, (1,), fused=("fp32",)),
)
"""Narrow maps and wide ones, taps wholly outside, maps smaller than a tile, windows 3, 5 and 7."""


def msda_of(
    name: str, problem: Problem, qkv: torch.Tensor, slope: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Value and gradient of a backend, in float64 on the CPU."""
    leaf = qkv.detach().requires_grad_()
    out = msda(leaf, problem.heads, problem.window, problem.dilations, backend=name)
    (gradient,) = torch.autograd.grad(out, leaf, slope)
    assert out.dtype == gradient.dtype == qkv.dtype
    return out.detach().cpu().double(), gradient.cpu().double()


def taken(name: str, problem: Problem, label: str, qkv: torch.Tensor) -> bool:
    """Whether this backend computes this problem in this type here."""
    if name != "triton":
        return True
    why = limits(qkv, problem.heads, problem.window, problem.dilations)
    return label in problem.fused and not why


def agree(problem: Problem, label: str, device: str) -> set[str]:
    """Value and gradient in one type; the names of the backends that computed them."""
    dtype, fp32 = TYPES[label], torch.finfo(torch.float32).eps
    eps = torch.finfo(dtype).eps
    qkv, slope = (x.to(dtype) for x in problem.drawn(7))
    truth = msda_of("oracle", problem, qkv.double(), slope.double())
    # The kernels take δ = g·out from the rounded result: that rounding, times keys or queries.
    sums = (slope.double() * truth[0]).abs().unflatten(3, (problem.heads, problem.depth)).sum(-1)
    through = float(sums.max() * qkv.double().abs().max()) * problem.depth**-0.5
    here = (qkv.to(device), slope.to(device))
    names = {name for name in backends_on(device) if taken(name, problem, label, here[0])}
    for name in sorted(names):
        found = msda_of(name, problem, *here)
        for what, got, wanted in zip(("value", "gradient"), found, truth, strict=True):
            # One rounding to dtype, and fp32 sums of at most a few hundred terms.
            allowed = (eps + 64 * fp32) * float(wanted.abs().max())
            if name == "triton" and what == "gradient":
                allowed += eps * through
            error = float((got - wanted).abs().max())
            assert error <= allowed, (
                f"{name} {label} {what} of {problem}: {error:.3g} above {allowed:.3g}"
            )
    return names


def check_every_msda_backend_agrees_with_the_cpus_oracle(device: str) -> None:
    """Value and gradient: computed in fp32 and rounded once, whatever the type of qkv."""
    with settings(workload(device)):
        computed = [agree(problem, label, device) for problem in PROBLEMS for label in TYPES]
    assert set().union(*computed) == set(backends_on(device))


def check_every_msda_backend_gives_the_model_the_same_logits(device: str) -> None:
    """By the environment variable, as a user would choose it."""
    truth = forward_of(torch.float64, "cpu")
    own = rms(forward_of(torch.float32, "cpu").double() - truth)
    for name in backends_on(device):
        with settings(workload(device)), backend(name):
            error = rms(forward_of(torch.float32, device).cpu().double() - truth)
        allowed = 16 * own + torch.finfo(torch.float32).eps * rms(truth)
        assert error <= allowed, f"{name}: error {error:.3g} above {allowed:.3g}"


def need_triton(device: str) -> None:
    """CannotTell where Triton's kernels do not run."""
    need_cuda(device)
    if "triton" not in backends_on(device):
        raise CannotTell("Triton cannot be used here")


def check_the_kernels_give_the_same_bits_every_time(device: str) -> None:
    """Value and gradient of ten calls, with other work in between: no atomics anywhere."""
    need_triton(device)
    problem = PROBLEMS[0]
    for label in problem.fused:
        qkv, slope = (x.to(device, TYPES[label]) for x in problem.drawn(9))
        first = msda_of("triton", problem, qkv, slope)
        for _ in range(9):
            torch.randn(1 << 20, device=device).sort()
            again = msda_of("triton", problem, qkv, slope)
            assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True)), label


def gradients_of(dtype: torch.dtype, device: str) -> torch.Tensor:
    """All gradients of one training step of the small network, one after another."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = build_model(SMALL).train()
        images = torch.randn(4, 3, HEIGHT, WIDTH)
    model, images = model.to(device, dtype), images.to(device, dtype)
    labels = (torch.arange(4) % SMALL.num_classes).to(device)
    torch.nn.functional.cross_entropy(model(images), labels).backward()
    parts = [p.grad.flatten().cpu().double() for p in model.parameters() if p.grad is not None]
    return torch.cat(parts)


def check_a_training_step_by_the_kernels_equals_the_cpus(device: str) -> None:
    """The gradients of all parameters in fp32, as near float64 as the CPU's own fp32 is.

    As in the forward pass a convolution may be Winograd's, a few eps worse.
    """
    need_triton(device)
    truth = gradients_of(torch.float64, "cpu")
    own = rms(gradients_of(torch.float32, "cpu") - truth)
    with settings(workload(device)), backend("triton"):
        error = rms(gradients_of(torch.float32, device) - truth)
    allowed = 16 * own + torch.finfo(torch.float32).eps * rms(truth)
    assert error <= allowed, f"error {error:.3g} above {allowed:.3g} (CPU {own:.3g})"


def check_the_projection_of_q_k_v_is_the_convolution(device: str) -> None:
    """On CUDA it runs as a linear layer: a convolution's numbers, in every type, channels-last."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        layer, x = Projection(24, 72), torch.randn(3, 24, 5, 7)
    x = x.to(memory_format=torch.channels_last)
    for label, dtype in TYPES.items():
        own, images = layer.to("cpu", dtype), x.to(dtype)
        weight, bias = own.weight.detach().double(), own.bias
        assert bias is not None
        truth = torch.nn.functional.conv2d(images.double(), weight, bias.detach().double())
        with settings(workload(device)), torch.no_grad():
            out = layer.to(device)(images.to(device))
        assert out.permute(0, 2, 3, 1).is_contiguous(), label
        # One rounding to dtype and an fp32 sum of 24 products; half types may add the bias apart.
        allowed = 2 * torch.finfo(dtype).eps * float(truth.abs().max())
        error = float((out.cpu().double() - truth).abs().max())
        assert error <= allowed, f"{label}: {error:.3g} above {allowed:.3g}"
        layer.float()


def check_torchs_counter_counts_the_model_as_the_closed_form(device: str) -> None:
    """The fused operator by its formula, fused attention by torch's: nothing is unseen."""
    need_triton(device)
    from dilnas.count.blind import observe

    model = build_model(SMALL).eval().to(device)
    counts, unseen = observe(model, torch.zeros(1, 3, HEIGHT, WIDTH, device=device), "torch")
    assert unseen == (), unseen
    assert "dilnas.msda" in counts
    assert sum(counts.values()) == 2 * cost(SMALL, HEIGHT, WIDTH).macs, counts


def check_an_export_made_on_the_gpu_holds_plain_operators(device: str) -> None:
    """So it runs, and converts, where dilnas is not installed; its numbers are the kernels'."""
    attention = MultiScaleDilatedAttention(24, 3, 3, (1, 2, 3)).eval().to(device)
    x = torch.randn(2, 5, 7, 24, device=device)
    with settings(workload(device)), torch.no_grad():
        program = torch.export.export(attention, (x,))
        names = [str(node.target) for node in program.graph.nodes]
        assert not any(name.startswith("dilnas") for name in names), names
        error = float((program.module()(x) - attention(x)).abs().max())
    assert error <= 64 * torch.finfo(torch.float32).eps, error


MSDA_CHECKS: tuple[Check, ...] = (
    check_every_msda_backend_agrees_with_the_cpus_oracle,
    check_every_msda_backend_gives_the_model_the_same_logits,
    check_the_kernels_give_the_same_bits_every_time,
    check_a_training_step_by_the_kernels_equals_the_cpus,
    check_the_projection_of_q_k_v_is_the_convolution,
    check_torchs_counter_counts_the_model_as_the_closed_form,
    check_an_export_made_on_the_gpu_holds_plain_operators,
)
