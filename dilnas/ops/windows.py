"""MSDA as two gathers, along the height and then the width: few operators, whatever the window.

The form for exported programs. Shifted slices take some ten operators a tap, which an exporter
with symbolic sizes works on for minutes; here a window of any size takes two ``index_select``, and
nothing depends on the sizes of the map but the indices, which are computed from them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, unflatten
from torch.nn.functional import pad

from dilnas.ops.groups import Group, groups_of, working_dtype

__all__ = ["msda_windows"]


def msda_windows(qkv: Tensor, num_heads: int, window_size: int, dilations: Sequence[int]) -> Tensor:
    """MSDA by gathered windows, (B, H, W, 3C) -> (B, H, W, C); see ``dilnas.ops.msda``."""
    channels = qkv.shape[3] // 3
    work = qkv.to(working_dtype(qkv.dtype))
    q, kv = work[..., :channels], unflatten(work[..., channels:], -1, (2, channels))
    out = []
    for group in groups_of(channels, num_heads, dilations):
        own = slice(group.start, group.start + group.channels)
        out.append(_group(q[..., own], kv[..., own], group, window_size))
    return torch.cat(out, -1).to(qkv.dtype)


def _group(q: Tensor, kv: Tensor, group: Group, window: int) -> Tensor:
    """One group's (B, H, W, channels) from its q and its k and v, (B, H, W, 2, channels)."""
    heads = (group.heads, group.channels // group.heads)
    margin = group.dilation * (window // 2)
    padded = pad(kv, (0, 0, 0, 0, margin, margin, margin, margin))
    near = _shifted(_shifted(padded, 1, window, group.dilation), 3, window, group.dilation)
    k, v = unflatten(near, -1, heads).unbind(5)  # (B, w, H, w, W, heads, d) each
    query = unflatten(q, -1, heads)[:, None, :, None] * heads[1] ** -0.5
    logits = (query * k).sum(-1).permute(0, 2, 4, 5, 1, 3)  # (B, H, W, heads, w, w)
    share = unflatten(logits.flatten(4).softmax(-1), -1, (window, window))
    result = (share.permute(0, 4, 1, 5, 2, 3).unsqueeze(-1) * v).sum((1, 3))
    return result.flatten(-2)


def _shifted(x: Tensor, dim: int, window: int, dilation: int) -> Tensor:
    """A padded dimension of size n + (w - 1) · dilation becomes two, (w, n): n from each shift."""
    shifts = torch.arange(window, device=x.device) * dilation
    n = x.shape[dim] - (window - 1) * dilation
    index = shifts[:, None] + torch.arange(n, device=x.device)
    return unflatten(x.index_select(dim, index.flatten()), dim, (window, n))
