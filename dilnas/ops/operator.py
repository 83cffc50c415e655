"""``dilnas::msda``, MSDA as an operator of PyTorch: what compilers, counters and autocast see.

On CUDA it is the Triton kernels, elsewhere the portable arithmetic, so that a program that holds
the operator runs anywhere. With it come shapes for fake tensors, a derivative and a FLOP formula:
``torch.compile`` keeps one graph, and torch's FLOP counter counts it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op
from torch.utils.flop_counter import register_flop_formula

from dilnas.ops.groups import working_dtype
from dilnas.ops.portable import kept_numbers, portable_backward, portable_forward
from dilnas.ops.slices import msda_slices
from dilnas.ops.triton_state import interpreted

__all__ = ["msda_operator", "msda_scriptable"]


def msda_operator(
    qkv: Tensor, num_heads: int, window_size: int, dilations: Sequence[int]
) -> Tensor:
    """MSDA by the operator, (B, H, W, 3C) -> (B, H, W, C); see ``dilnas.ops.msda``.

    ``torch.func`` gets plain operators that it can transform.
    """
    if torch._C._are_functorch_transforms_active():
        return msda_slices(qkv, num_heads, window_size, dilations)
    return msda_scriptable(qkv, num_heads, window_size, list(dilations))


def msda_scriptable(qkv: Tensor, num_heads: int, window_size: int, dilations: list[int]) -> Tensor:
    """MSDA by the operator, in words that TorchScript knows; see ``msda_operator``."""
    keep = torch.is_grad_enabled() and qkv.requires_grad
    out: Tensor = torch.ops.dilnas.msda(qkv, num_heads, window_size, dilations, keep)[0]
    return out


def _fused(qkv: Tensor) -> bool:
    """Whether the kernels compute it: a program made on CUDA may find itself on a CPU."""
    return qkv.is_cuda or interpreted()


@custom_op("dilnas::msda", mutates_args=())
def _forward(
    qkv: Tensor, num_heads: int, window_size: int, dilations: list[int], keep: bool
) -> tuple[Tensor, Tensor]:
    """The result (B, H, W, C), and what its backward needs if ``keep``, else nothing.

    That is, of the kernels, lse (heads, B·H·W); else the probabilities, one after another.
    """
    if _fused(qkv):
        from dilnas.ops import triton_launch

        return triton_launch.forward(qkv, num_heads, window_size, dilations, keep=keep)
    return portable_forward(qkv, num_heads, window_size, dilations, keep=keep)


@_forward.register_fake
def _(
    qkv: Tensor, num_heads: int, window_size: int, dilations: list[int], keep: bool
) -> tuple[Tensor, Tensor]:
    batch, height, width, tripled = qkv.shape
    kept: tuple[int, ...] = (0,)
    if keep and _fused(qkv):
        kept = (num_heads, batch * height * width)
    elif keep:
        kept = (kept_numbers(qkv.shape, num_heads, window_size, dilations),)
    out = qkv.new_empty((batch, height, width, tripled // 3))
    return out, qkv.new_empty(kept, dtype=working_dtype(qkv.dtype))


@custom_op("dilnas::msda_backward", mutates_args=())
def _backward(  # noqa: PLR0917
    grad: Tensor, qkv: Tensor, out: Tensor, kept: Tensor,
    num_heads: int, window_size: int, dilations: list[int],
) -> Tensor:  # fmt: skip
    """The gradient of qkv, (B, H, W, 3C), from qkv (B, H, W, 3, C) and out (B, H, W, heads, d).

    These two are kept from the forward pass. What is kept and has four dimensions, Inductor takes
    for an image that a convolution wants channels-last: it would lie with H innermost, and be
    copied there and back. What has five it leaves as it is.
    """
    qkv, out = qkv.flatten(3), out.flatten(3)
    if _fused(qkv):
        from dilnas.ops import triton_launch

        return triton_launch.backward(grad, qkv, out, kept, num_heads, window_size, dilations)
    return portable_backward(grad, qkv, kept, num_heads, window_size, dilations)


@_backward.register_fake
def _(  # noqa: PLR0917
    grad: Tensor, qkv: Tensor, out: Tensor, kept: Tensor,
    num_heads: int, window_size: int, dilations: list[int],
) -> Tensor:  # fmt: skip
    return torch.empty_like(qkv.flatten(3), memory_format=torch.contiguous_format)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    qkv, *ctx.arguments, _ = inputs
    out, kept = output
    ctx.mark_non_differentiable(kept)
    ctx.set_materialize_grads(False)  # or autograd fills a gradient of ``kept`` with zeros
    ctx.save_for_backward(qkv, out, kept)  # the next layer keeps the result too


def _derive(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return None, None, None, None, None
    qkv, out, kept = ctx.saved_tensors
    if torch.is_grad_enabled():  # a second derivative is wanted: by operators that have one
        plain = msda_slices(qkv, *ctx.arguments)
        (slope,) = torch.autograd.grad(plain, qkv, grad, create_graph=True)
    else:
        parts, heads = qkv.unflatten(3, (3, -1)), out.unflatten(3, (ctx.arguments[0], -1))
        slope = _backward(grad, parts, heads, kept, *ctx.arguments)
    return slope, None, None, None, None


_forward.register_autograd(_derive, setup_context=_remember)


@register_flop_formula(torch.ops.dilnas.msda)
def _(qkv_shape: Sequence[int], _heads: int, window_size: int, *_: Any, **__: Any) -> int:
    """Two operations a multiply-add, as torch counts: q·k and p·v."""
    return 2 * 2 * _macs(qkv_shape, window_size)


@register_flop_formula(torch.ops.dilnas.msda_backward)
def _(
    _grad: Any, qkv_shape: Sequence[int], _out: Any, _kept: Any, _heads: int, window_size: int,
    *_: Any, **__: Any,
) -> int:  # fmt: skip
    """The logits anew, instead of probabilities kept; dp, dq, dk and dv."""
    return 2 * 5 * _macs(qkv_shape, window_size)


def _macs(qkv_shape: Sequence[int], window_size: int) -> int:
    """Multiply-adds of one product between a map and its neighbourhoods."""
    return math.prod(qkv_shape) // 3 * window_size**2
