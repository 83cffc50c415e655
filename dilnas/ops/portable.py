"""MSDA from shifted slices: no copies of k and v, plain PyTorch, every device.

A tap (p, q) of the window pairs each query with the key that lies (p·r, q·r) away. Over the whole
map that is an elementwise product of two rectangles, so the w² taps need w² products of views
instead of an unfolded copy w² times as large. ``msda_portable`` writes the backward pass by hand:
it keeps qkv and the probabilities and nothing else (autograd would keep every product).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

__all__ = ["msda_portable", "msda_slices"]


@dataclass(frozen=True, slots=True)
class _Tap:
    """One tap: its position in the window, and the rectangles of queries and of keys."""

    index: int
    queries: tuple[slice, slice]
    keys: tuple[slice, slice]


def _taps(height: int, width: int, window: int, dilation: int) -> Iterator[_Tap]:
    """Taps that touch the map; one that lies wholly outside costs nothing."""
    for index in range(window * window):
        dy = (index // window - window // 2) * dilation
        dx = (index % window - window // 2) * dilation
        if abs(dy) < height and abs(dx) < width:
            yield _Tap(
                index,
                (slice(max(0, -dy), height - max(0, dy)), slice(max(0, -dx), width - max(0, dx))),
                (slice(max(0, dy), height - max(0, -dy)), slice(max(0, dx), width - max(0, -dx))),
            )


def _groups(qkv: Tensor, num_heads: int, count: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Views (B, H, W, h/n, d) of q, k and v for each of ``count`` head groups."""
    q, k, v = qkv.unflatten(-1, (3, num_heads, -1)).unbind(3)
    heads = num_heads // count
    return [
        (q[:, :, :, i : i + heads], k[:, :, :, i : i + heads], v[:, :, :, i : i + heads])
        for i in range(0, num_heads, heads)
    ]


def _at(x: Tensor, rectangle: tuple[slice, slice]) -> Tensor:
    return x[:, rectangle[0], rectangle[1]]


class _PortableMSDA(torch.autograd.Function):
    """Forward keeps qkv and the probabilities (w², B, H, W, h/n) of each group."""

    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, num_heads: int, window: int, dilations: tuple[int, ...]
    ) -> Tensor:
        batch, height, width, _ = qkv.shape
        out = qkv.new_zeros(batch, height, width, num_heads, qkv.shape[-1] // (3 * num_heads))
        heads = num_heads // len(dilations)
        kept = []
        for i, (q, k, v) in enumerate(_groups(qkv, num_heads, len(dilations))):
            taps = list(_taps(height, width, window, dilations[i]))
            weights = _probabilities(q, k, window, taps)
            share = out[:, :, :, i * heads : (i + 1) * heads]
            for tap in taps:
                weight = _at(weights[tap.index], tap.queries).unsqueeze(-1)
                _at(share, tap.queries).addcmul_(weight, _at(v, tap.keys))
            kept.append(weights)
        ctx.save_for_backward(qkv, *kept)
        ctx.shape = (num_heads, window, dilations)
        return out.flatten(3)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        qkv, *kept = ctx.saved_tensors
        num_heads, window, dilations = ctx.shape
        grad_out = grads[0].unflatten(-1, (num_heads, -1))
        grad_qkv = torch.zeros_like(qkv, memory_format=torch.contiguous_format)
        heads = num_heads // len(dilations)
        height, width = qkv.shape[1:3]
        groups = zip(
            _groups(qkv, num_heads, len(dilations)),
            _groups(grad_qkv, num_heads, len(dilations)),
            strict=True,
        )
        for i, (group, grad_group) in enumerate(groups):
            taps = list(_taps(height, width, window, dilations[i]))
            share = grad_out[:, :, :, i * heads : (i + 1) * heads]
            _backward_group(group, grad_group, share, kept[i], taps)
        return grad_qkv, None, None, None


def _probabilities(q: Tensor, k: Tensor, window: int, taps: list[_Tap]) -> Tensor:
    """Softmax over the window, (w², B, H, W, h); the logit of a padded key is 0."""
    scaled = q * q.shape[-1] ** -0.5
    logits = q.new_zeros(window * window, *q.shape[:-1])
    for tap in taps:
        product = _at(scaled, tap.queries) * _at(k, tap.keys)
        _at(logits[tap.index], tap.queries).copy_(product.sum(-1))
    return logits.softmax(0)


def _backward_group(
    group: tuple[Tensor, Tensor, Tensor],
    grads: tuple[Tensor, Tensor, Tensor],
    grad_out: Tensor,
    weights: Tensor,
    taps: list[_Tap],
) -> None:
    """Add the gradients of one head group into ``grads``.

    With p the probabilities: dv = p·g, dp = g·v, ds = p (dp - sum(p dp)), dq = ds·k, dk = ds·q.
    """
    q, k, v = group
    grad_q, grad_k, grad_v = grads
    grad_weights = torch.zeros_like(weights)
    for tap in taps:
        out = _at(grad_out, tap.queries)
        _at(grad_weights[tap.index], tap.queries).copy_((out * _at(v, tap.keys)).sum(-1))
        weight = _at(weights[tap.index], tap.queries).unsqueeze(-1)
        _at(grad_v, tap.keys).addcmul_(weight, out)
    grad_weights -= (weights * grad_weights).sum(0)
    grad_logits = grad_weights.mul_(weights).mul_(q.shape[-1] ** -0.5)
    for tap in taps:
        grad = _at(grad_logits[tap.index], tap.queries).unsqueeze(-1)
        _at(grad_q, tap.queries).addcmul_(grad, _at(k, tap.keys))
        _at(grad_k, tap.keys).addcmul_(grad, _at(q, tap.queries))


def msda_portable(
    qkv: Tensor, num_heads: int, window_size: int, dilations: tuple[int, ...]
) -> Tensor:
    """``dilnas.ops.msda`` with a hand-written backward pass. (B, H, W, 3C) -> (B, H, W, C).

    Differentiable once; ``msda_slices`` is differentiable any number of times.
    """
    dtype = qkv.dtype
    if dtype in (torch.float16, torch.bfloat16):
        qkv = qkv.float()
    out: Tensor = _PortableMSDA.apply(qkv, num_heads, window_size, dilations)  # type: ignore[no-untyped-call]
    return out.to(dtype)


def msda_slices(
    qkv: Tensor, num_heads: int, window_size: int, dilations: tuple[int, ...]
) -> Tensor:
    """``dilnas.ops.msda`` without writes in place, for compilers and exporters, which fuse it."""
    height, width = qkv.shape[1:3]
    dtype = qkv.dtype
    if dtype in (torch.float16, torch.bfloat16):
        qkv = qkv.float()
    outputs = []
    for dilation, (q, k, v) in zip(dilations, _groups(qkv, num_heads, len(dilations)), strict=True):
        reach = dilation * (window_size // 2)
        border = (0, 0, 0, 0, reach, reach, reach, reach)
        k, v = F.pad(k, border), F.pad(v, border)
        scaled = q * q.shape[-1] ** -0.5
        corners = [
            (y * dilation, x * dilation) for y in range(window_size) for x in range(window_size)
        ]
        logits = [
            (scaled * k[:, y : y + height, x : x + width]).sum(-1, keepdim=True) for y, x in corners
        ]
        weights = torch.stack(logits).softmax(0)
        out = torch.zeros_like(q)
        for weight, (y, x) in zip(weights, corners, strict=True):
            out = out + weight * v[:, y : y + height, x : x + width]
        outputs.append(out)
    return torch.cat(outputs, dim=3).flatten(3).to(dtype)
