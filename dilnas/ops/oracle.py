"""MSDA written as its definition: every query gathers its keys. Slow; the tests' truth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dilnas.ops.groups import groups_of, offsets, working_dtype

__all__ = ["msda_oracle"]


def msda_oracle(qkv: Tensor, num_heads: int, window_size: int, dilations: Sequence[int]) -> Tensor:
    """MSDA by index arithmetic, (B, H, W, 3C) -> (B, H, W, C); see ``dilnas.ops.msda``.

    Queries and keys are numbered row by row; a key outside of the map is number H·W, a row of
    zeros appended to k and v.
    """
    batch, height, width, _ = qkv.shape
    channels = qkv.shape[3] // 3
    depth = channels // num_heads
    work = qkv.to(working_dtype(qkv.dtype)).reshape(batch, height * width, 3, channels)
    q, k, v = work.unbind(2)
    zero = k.new_zeros(batch, 1, channels)
    k, v = torch.cat((k, zero), 1), torch.cat((v, zero), 1)
    rows = torch.arange(height, device=qkv.device)[:, None]
    columns = torch.arange(width, device=qkv.device)[None, :]
    out = []
    for group in groups_of(channels, num_heads, dilations):
        keys = []
        for dy, dx in offsets(window_size, group.dilation):
            y, x = rows + dy, columns + dx
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            keys.append(torch.where(inside, y * width + x, height * width).reshape(-1))
        index = torch.stack(keys, 1)  # (N, T)
        own = slice(group.start, group.start + group.channels)
        shape = (batch, height * width, len(keys), group.heads, depth)
        near_k, near_v = k[:, index, own].reshape(shape), v[:, index, own].reshape(shape)
        query = q[:, :, own].reshape(batch, height * width, 1, group.heads, depth)
        share = ((query * near_k).sum(-1) * depth**-0.5).softmax(2)  # (B, N, T, heads)
        out.append((share.unsqueeze(-1) * near_v).sum(2).reshape(batch, height, width, -1))
    return torch.cat(out, -1).to(qkv.dtype)
