"""MSDA as gather and matrix products: what counters and exporters that trace can understand.

fvcore sees no multiply-add in an elementwise product and none in a custom operator. In this form,
which is the official code's, a trace holds the two products that the paper counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import unfold

from dilnas.ops.groups import groups_of, working_dtype

__all__ = ["msda_matmul"]


def msda_matmul(qkv: Tensor, num_heads: int, window_size: int, dilations: Sequence[int]) -> Tensor:
    """MSDA with ``unfold`` and ``matmul``, (B, H, W, 3C) -> (B, H, W, C); see ``dilnas.ops.msda``.

    The products have the shapes (B, heads, N, 1, d) @ (B, heads, N, d, T) and
    (B, heads, N, 1, T) @ (B, heads, N, T, d), for each group, with N = H·W and T = w·w.
    """
    batch, height, width, _ = qkv.shape
    channels = qkv.shape[3] // 3
    depth, taps = channels // num_heads, window_size * window_size
    planes = qkv.permute(0, 3, 1, 2).to(working_dtype(qkv.dtype))
    out = []
    for group in groups_of(channels, num_heads, dilations):
        q, k, v = (
            planes[:, part * channels + group.start :][:, : group.channels] for part in range(3)
        )
        padding = group.dilation * (window_size // 2)
        shape = (batch, group.heads, depth, taps, height * width)
        near_k = unfold(k, window_size, group.dilation, padding).reshape(shape)
        near_v = unfold(v, window_size, group.dilation, padding).reshape(shape)
        query = q.reshape(batch, group.heads, depth, 1, height * width).permute(0, 1, 4, 3, 2)
        logits = (query @ near_k.permute(0, 1, 4, 2, 3)) * depth**-0.5
        result = logits.softmax(-1) @ near_v.permute(0, 1, 4, 3, 2)  # (B, heads, N, 1, d)
        out.append(result.squeeze(3).transpose(1, 2).reshape(batch, height, width, group.channels))
    return torch.cat(out, -1).to(qkv.dtype)
