"""MSDA in plain PyTorch, fast in eager mode: shifted slices with a hand-written backward.

Every tap multiplies a slice of the queries with a slice of the keys, both cut to where the tap
stays on the map: taps outside cost nothing. k and v are not padded: a key outside has logit 0,
which is what the logits start from. Saved are qkv and the probabilities.

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

__all__ = ["msda_portable"]


def msda_portable(
    qkv: Tensor, num_heads: int, window_size: int, dilations: Sequence[int]
) -> Tensor:
    """MSDA by slices, (B, H, W, 3C) -> (B, H, W, C); see ``dilnas.ops.msda``.

    The hand-written backward serves eager mode; compilers, exporters and ``torch.func`` get the
    same arithmetic as plain operators.
    """
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return msda_slices(qkv, num_heads, window_size, dilations)
    out: Tensor = _Portable.apply(qkv, num_heads, window_size, tuple(dilations))  # type: ignore[no-untyped-call]
    return out


class _Portable(torch.autograd.Function):
    """Forward and backward, one head group after the other."""

    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, num_heads: int, window_size: int, dilations: tuple[int, ...]
    ) -> Tensor:
        ctx.arguments = (num_heads, window_size, dilations)
        planes = to_planes(qkv)
        channels = planes.shape[0] // 3
        out = torch.empty_like(planes[:channels])
        saved = []
        for group in groups_of(channels, num_heads, dilations):
            q, k, v = (_heads(part, group) for part in planes.chunk(3))
            taps = taps_of(qkv.shape[:3], window_size, group.dilation)
            share = _probabilities(q, k, taps, window_size**2)
            _weighted_sum(share, v, taps, _heads(out, group))
            if ctx.needs_input_grad[0]:
                saved.append(share)
        ctx.save_for_backward(qkv, *saved)
        return from_planes(out, qkv)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        qkv, *saved = ctx.saved_tensors
        num_heads, window_size, dilations = ctx.arguments
        if torch.is_grad_enabled():  # a second derivative is wanted
            plain = msda_slices(qkv, num_heads, window_size, dilations)
            return *torch.autograd.grad(plain, qkv, grad, create_graph=True), None, None, None
        planes, upstream = to_planes(qkv), to_planes(grad)
        result = torch.empty_like(planes)
        groups = groups_of(upstream.shape[0], num_heads, dilations)
        for group, share in zip(groups, saved, strict=True):
            q, k, v = (_heads(part, group) for part in planes.chunk(3))
            out = [_heads(part, group) for part in result.chunk(3)]
            taps = taps_of(qkv.shape[:3], window_size, group.dilation)
            _backward(q, k, v, share, _heads(upstream, group), taps, out)
        return from_planes(result, qkv), None, None, None


def _heads(part: Tensor, group: Group) -> Tensor:
    """(C, pixels…) -> the group's (heads, d, pixels…), a view."""
    own = part[group.start : group.start + group.channels]
    return own.view(group.heads, group.channels // group.heads, *part.shape[1:])


def _dots(a: Tensor, b: Tensor, taps: Taps, rows: int) -> Tensor:
    """Per tap the products a·b over a head's channels, (rows, heads, pixels…); 0 elsewhere."""
    out = a.new_zeros((rows, a.shape[0], *a.shape[2:]))
    for row, (own, other) in zip(out, taps, strict=False):
        torch.sum(a[own] * b[other], 1, out=row[own])
    return out


def _probabilities(q: Tensor, k: Tensor, taps: Taps, window_taps: int) -> Tensor:
    """Softmax over the taps, (taps on the map, heads, pixels…).

    Taps wholly outside of the map share one row of the softmax: n zeros count exp(log n).
    """
    outside = window_taps - len(taps)
    logits = _dots(q, k, taps, len(taps) + (outside > 0))
    logits *= q.shape[1] ** -0.5
    if outside:
        logits[-1] = math.log(outside)
    return logits.softmax(0)[: len(taps)]


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
