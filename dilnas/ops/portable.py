"""MSDA in plain PyTorch, fast in eager mode: shifted slices with a hand-written backward.

Every tap multiplies a slice of the queries with a slice of the keys, both cut to where the tap
stays on the map: taps outside cost nothing. k and v are not padded: a key outside has logit 0,
which is what the logits start from. Kept are qkv and the probabilities.

    logit_t = scale · q·k_t      p = softmax(logits)      out = Σ_t p_t v_t
    dp_t = g·v_t     ds_t = p_t (dp_t − Σ_u p_u dp_u)     dq = scale · Σ_t ds_t k_t
    dk_t += scale · ds_t q     dv_t += p_t g

The work is done on planes (``dilnas.ops.planes``), where a channel's pixels lie side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dilnas.ops.groups import Group, groups_of
from dilnas.ops.planes import Taps, from_planes, taps_of, to_planes
from dilnas.ops.slices import msda_slices

__all__ = ["kept_numbers", "msda_portable", "portable_backward", "portable_forward"]


def msda_portable(
    qkv: Tensor, num_heads: int, window_size: int, dilations: Sequence[int]
) -> Tensor:
    """MSDA by slices, (B, H, W, 3C) -> (B, H, W, C); see ``dilnas.ops.msda``.

    The hand-written backward serves eager mode; compilers and ``torch.func`` get the same
    arithmetic as plain operators.
    """
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return msda_slices(qkv, num_heads, window_size, dilations)
    out: Tensor = _Portable.apply(qkv, num_heads, window_size, tuple(dilations))  # type: ignore[no-untyped-call,unused-ignore]
    return out


class _Portable(torch.autograd.Function):
    """``portable_forward`` with ``portable_backward`` as its derivative."""

    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, num_heads: int, window_size: int, dilations: tuple[int, ...]
    ) -> Tensor:
        ctx.arguments = (num_heads, window_size, dilations)
        out, kept = portable_forward(qkv, *ctx.arguments, keep=ctx.needs_input_grad[0])
        ctx.save_for_backward(qkv, kept)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        qkv, kept = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            plain = msda_slices(qkv, *ctx.arguments)
            return *torch.autograd.grad(plain, qkv, grad, create_graph=True), None, None, None
        return portable_backward(grad, qkv, kept, *ctx.arguments), None, None, None


def portable_forward(
    qkv: Tensor, num_heads: int, window_size: int, dilations: Sequence[int], *, keep: bool
) -> tuple[Tensor, Tensor]:
    """MSDA by slices, (B, H, W, 3C) -> (B, H, W, C), without a derivative of its own.

    Returns:
        The result, and what ``portable_backward`` needs if ``keep``: the probabilities, group after
        group, ``kept_numbers(…)`` in all. Else that is empty.
    """
    planes = to_planes(qkv)
    channels = planes.shape[0] // 3
    out = torch.empty_like(planes[:channels])
    size = kept_numbers(qkv.shape, num_heads, window_size, dilations) if keep else 0
    kept = planes.new_empty(size)
    used = 0
    for group in groups_of(channels, num_heads, dilations):
        q, k, v = (_heads(part, group) for part in planes.chunk(3))
        taps = taps_of(qkv.shape[:3], window_size, group.dilation)
        share = _probabilities(q, k, taps, window_size**2, kept[used:])
        _weighted_sum(share, v, taps, _heads(out, group))
        used += share.numel()
    return from_planes(out, qkv), kept


def portable_backward(  # noqa: PLR0917
    grad: Tensor, qkv: Tensor, kept: Tensor,
    num_heads: int, window_size: int, dilations: Sequence[int],
) -> Tensor:  # fmt: skip
    """The gradient of qkv, (B, H, W, 3C), from that of the result and what the forward kept."""
    planes, upstream = to_planes(qkv), to_planes(grad)
    result = torch.empty_like(planes)
    used = 0
    for group in groups_of(upstream.shape[0], num_heads, dilations):
        q, k, v = (_heads(part, group) for part in planes.chunk(3))
        out = [_heads(part, group) for part in result.chunk(3)]
        taps = taps_of(qkv.shape[:3], window_size, group.dilation)
        shape = (_rows(taps, window_size**2), group.heads, *planes.shape[1:])
        share = kept[used : used + math.prod(shape)].view(shape)
        _backward(q, k, v, share[: len(taps)], _heads(upstream, group), taps, out)
        used += share.numel()
    return from_planes(result, qkv)


def kept_numbers(
    shape: Sequence[int], num_heads: int, window_size: int, dilations: Sequence[int]
) -> int:
    """How many probabilities the forward pass keeps of a qkv of ``shape`` (B, H, W, 3C)."""
    batch, height, width, tripled = shape
    rows = 0
    for group in groups_of(tripled // 3, num_heads, dilations):
        taps = taps_of((batch, height, width), window_size, group.dilation)
        rows += group.heads * _rows(taps, window_size**2)
    return rows * batch * height * width


def _heads(part: Tensor, group: Group) -> Tensor:
    """(C, pixels…) -> the group's (heads, d, pixels…), a view."""
    own = part[group.start : group.start + group.channels]
    return own.view(group.heads, group.channels // group.heads, *part.shape[1:])


def _rows(taps: Taps, window_taps: int) -> int:
    """Rows of the softmax: taps on the map, and one for all those wholly outside."""
    return len(taps) + (len(taps) < window_taps)


def _dots(a: Tensor, b: Tensor, taps: Taps, rows: int) -> Tensor:
    """Per tap the products a·b over a head's channels, (rows, heads, pixels…); 0 elsewhere."""
    out = a.new_zeros((rows, a.shape[0], *a.shape[2:]))
    for row, (own, other) in zip(out, taps, strict=False):
        torch.sum(a[own] * b[other], 1, out=row[own])
    return out


def _probabilities(q: Tensor, k: Tensor, taps: Taps, window_taps: int, room: Tensor) -> Tensor:
    """Softmax over the taps, (rows, heads, pixels…); within ``room`` unless that is empty.

    Taps wholly outside of the map share one row: n zeros count exp(log n).
    """
    outside = window_taps - len(taps)
    logits = _dots(q, k, taps, _rows(taps, window_taps))
    logits *= q.shape[1] ** -0.5
    if outside:
        logits[-1] = math.log(outside)
    own = room[: logits.numel()].view(logits.shape) if room.numel() else None
    return torch.softmax(logits, 0, out=own)


def _weighted_sum(share: Tensor, v: Tensor, taps: Taps, out: Tensor) -> None:
    """Σ_t share_t · v_t into ``out`` (heads, d, pixels…); the middle tap covers the whole map."""
    middle = len(taps) // 2
    share = share.unsqueeze(2)
    torch.mul(share[middle], v, out=out)
    for i, (own, other) in enumerate(taps):
        if i != middle:
            out[own].addcmul_(share[i][own], v[other])


def _backward(  # noqa: PLR0917
    q: Tensor, k: Tensor, v: Tensor, share: Tensor, grad: Tensor, taps: Taps, out: list[Tensor]
) -> None:
    """Gradients of q, k and v of one group into ``out``; formulas at the head of this file."""
    slope = _dots(grad, v, taps, len(taps))
    slope -= (slope * share).sum(0)
    slope *= share
    slope *= q.shape[1] ** -0.5
    dq, dk, dv = out
    _weighted_sum(slope, k, taps, dq)
    # The other way round, a key sums over the queries that see it.
    _scattered_sum(slope, q, taps, dk)
    _scattered_sum(share, grad, taps, dv)


def _scattered_sum(weight: Tensor, x: Tensor, taps: Taps, out: Tensor) -> None:
    """Σ_t weight_t · x, each term added where the tap's key lies: the adjoint of _weighted_sum."""
    middle = len(taps) // 2
    weight = weight.unsqueeze(2)
    torch.mul(weight[middle], x, out=out)
    for i, (own, other) in enumerate(taps):
        if i != middle:
            out[other].addcmul_(weight[i][own], x[own])
