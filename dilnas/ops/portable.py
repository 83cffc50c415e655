"""MSDA in plain PyTorch, fast in eager mode: shifted slices with a hand-written backward.

Every tap multiplies a slice of the queries with a slice of the keys, both cut to where the tap
stays on the map: taps outside cost nothing. k and v are not padded: a key outside has logit 0,
which is what the logits start from. Saved are qkv and the probabilities.

    logit_t = scale · q·k_t      p = softmax(logits)      out = Σ_t p_t v_t
    dp_t = g·v_t     ds_t = p_t (dp_t − Σ_u p_u dp_u)     dq = scale · Σ_t ds_t k_t
    dk_t += scale · ds_t q     dv_t += p_t g
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dilnas.ops.groups import Group, computing_dtype, groups_of, offsets
from dilnas.ops.slices import msda_slices

__all__ = ["msda_portable"]

Window = tuple[slice, slice]
Taps = list[tuple[Window, Window]]


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
        planes = _planes(qkv, 3)
        out = torch.empty_like(planes[0])
        saved = []
        for group in groups_of(qkv.shape[3] // 3, num_heads, dilations):
            q, k, v = (_heads(part, group) for part in planes)
            taps = _taps(qkv.shape[1], qkv.shape[2], window_size, group.dilation)
            share = _probabilities(q, k, taps, window_size**2)
            _weighted_sum(share, v, taps, _heads(out, group))
            if qkv.requires_grad:
                saved.append(share)
        ctx.save_for_backward(qkv, *saved)
        return out.permute(1, 2, 3, 0).contiguous().to(qkv.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        qkv, *saved = ctx.saved_tensors
        num_heads, window_size, dilations = ctx.arguments
        if torch.is_grad_enabled():  # a second derivative is wanted
            plain = msda_slices(qkv, num_heads, window_size, dilations)
            return *torch.autograd.grad(plain, qkv, grad, create_graph=True), None, None, None
        planes, upstream = _planes(qkv, 3), _planes(grad, 1)[0]
        result = torch.empty_like(planes)
        groups = groups_of(qkv.shape[3] // 3, num_heads, dilations)
        for group, share in zip(groups, saved, strict=True):
            q, k, v = (_heads(part, group) for part in planes)
            out = [_heads(part, group) for part in result]
            taps = _taps(qkv.shape[1], qkv.shape[2], window_size, group.dilation)
            _backward(q, k, v, share, _heads(upstream, group), taps, out)
        slope = result.flatten(0, 1).permute(1, 2, 3, 0).contiguous()
        return slope.to(qkv.dtype), None, None, None


def _planes(x: Tensor, parts: int) -> Tensor:
    """(B, H, W, parts·C) -> (parts, C, B, H, W) in computing type, copied so that rows are long."""
    batch, height, width, channels = x.shape
    x = x.to(computing_dtype(x.dtype)).reshape(batch, height, width, parts, channels // parts)
    return x.permute(3, 4, 0, 1, 2).contiguous()


def _heads(part: Tensor, group: Group) -> Tensor:
    """(C, B, H, W) -> the group's (heads, d, B, H, W), a view."""
    own = part[group.start : group.start + group.channels]
    return own.view(group.heads, group.channels // group.heads, *part.shape[1:])


def _taps(height: int, width: int, window: int, dilation: int) -> Taps:
    """(queries, keys) of each tap that touches the map, as slices of rows and columns."""
    return [
        (
            (slice(max(0, -dy), height - max(0, dy)), slice(max(0, -dx), width - max(0, dx))),
            (slice(max(0, dy), height - max(0, -dy)), slice(max(0, dx), width - max(0, -dx))),
        )
        for dy, dx in offsets(window, dilation)
        if abs(dy) < height and abs(dx) < width
    ]


def _dots(a: Tensor, b: Tensor, taps: Taps, rows: int) -> Tensor:
    """Per tap the products a·b over a head's channels, (rows, heads, B, H, W); 0 elsewhere."""
    out = a.new_zeros((rows, a.shape[0], *a.shape[2:]))
    for row, (own, other) in zip(out, taps, strict=False):
        product = a[..., own[0], own[1]] * b[..., other[0], other[1]]
        torch.sum(product, 1, out=row[..., own[0], own[1]])
    return out


def _probabilities(q: Tensor, k: Tensor, taps: Taps, window_taps: int) -> Tensor:
    """Softmax over the taps, (taps on the map, heads, B, H, W).

    Taps wholly outside of the map share one row of the softmax: n zeros count exp(log n).
    """
    outside = window_taps - len(taps)
    logits = _dots(q, k, taps, len(taps) + (outside > 0))
    logits *= q.shape[1] ** -0.5
    if outside:
        logits[-1] = math.log(outside)
    return logits.softmax(0)[: len(taps)]


def _weighted_sum(share: Tensor, v: Tensor, taps: Taps, out: Tensor) -> None:
    """Σ_t share_t · v_t into ``out`` (heads, d, B, H, W); the middle tap covers the whole map."""
    middle = len(taps) // 2
    torch.mul(share[middle].unsqueeze(1), v, out=out)
    for i, (own, other) in enumerate(taps):
        if i != middle:
            weight = share[i].unsqueeze(1)[..., own[0], own[1]]
            out[..., own[0], own[1]].addcmul_(weight, v[..., other[0], other[1]])


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
    middle = len(taps) // 2
    torch.mul(slope[middle].unsqueeze(1), q, out=dk)
    torch.mul(share[middle].unsqueeze(1), grad, out=dv)
    for i, (own, other) in enumerate(taps):
        if i != middle:
            rows, columns = own
            weight, part = (t[i].unsqueeze(1)[..., rows, columns] for t in (slope, share))
            dk[..., other[0], other[1]].addcmul_(weight, q[..., rows, columns])
            dv[..., other[0], other[1]].addcmul_(part, grad[..., rows, columns])
