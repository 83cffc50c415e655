"""MSDA as shifted slices of zero-padded k and v, differentiable by autograd as it stands.

The form for ``torch.compile`` and ``torch.func``: no in-place writes and no
data-dependent shapes, so a compiler can fuse it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from dilnas.ops.groups import Group, groups_of, offsets, working_dtype

__all__ = ["msda_slices"]


def msda_slices(qkv: Tensor, num_heads: int, window_size: int, dilations: Sequence[int]) -> Tensor:
    """MSDA by slices, (B, H, W, 3C) -> (B, H, W, C); see ``dilnas.ops.msda``."""
    work = qkv.to(working_dtype(qkv.dtype))
    q, k, v = work.chunk(3, -1)
    out = []
    for group in groups_of(qkv.shape[3] // 3, num_heads, dilations):
        own = slice(group.start, group.start + group.channels)
        out.append(_group(q[..., own], k[..., own], v[..., own], group, window_size))
    return torch.cat(out, -1).to(qkv.dtype)


def _group(q: Tensor, k: Tensor, v: Tensor, group: Group, window: int) -> Tensor:
    """One group's (B, H, W, channels) result."""
    batch, height, width, channels = q.shape
    heads = (batch, height, width, group.heads, channels // group.heads)
    margin = group.dilation * (window // 2)
    k, v = (pad(t, (0, 0, margin, margin, margin, margin)) for t in (k, v))
    q = q.reshape(heads) * heads[-1] ** -0.5
    starts = [(dy + margin, dx + margin) for dy, dx in offsets(window, group.dilation)]
    logits = torch.stack(
        [(q * k[:, y : y + height, x : x + width].reshape(heads)).sum(-1) for y, x in starts]
    )
    share = logits.softmax(0).unsqueeze(-1)
    result = share[0] * v[:, :height, :width].reshape(heads)
    for i, (y, x) in enumerate(starts[1:], 1):
        result = result + share[i] * v[:, y : y + height, x : x + width].reshape(heads)
    return result.reshape(batch, height, width, channels)
