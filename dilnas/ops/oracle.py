"""MSDA as a gather and two matrix products: slow, obvious, the specification of the others."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["msda_oracle"]


def msda_oracle(
    qkv: Tensor, num_heads: int, window_size: int, dilations: tuple[int, ...]
) -> Tensor:
    """``dilnas.ops.msda`` by definition. (B, H, W, 3C) -> (B, H, W, C)."""
    batch, height, width, channels = qkv.shape
    head_dim = channels // (3 * num_heads)
    heads = num_heads // len(dilations)
    dtype = qkv.dtype
    if dtype in (torch.float16, torch.bfloat16):
        qkv = qkv.float()
    q, k, v = qkv.reshape(batch, height * width, 3, num_heads, head_dim).unbind(2)
    outputs = []
    for group, dilation in enumerate(dilations):
        share = slice(group * heads, (group + 1) * heads)
        index, inside = _neighbours(height, width, window_size, dilation, qkv.device)
        mask = inside.to(qkv.dtype)[None, :, :, None, None]
        keys = (k[:, index.flatten(), share].unflatten(1, index.shape) * mask).permute(
            0, 1, 3, 4, 2
        )
        values = (v[:, index.flatten(), share].unflatten(1, index.shape) * mask).transpose(2, 3)
        logits = (q[:, :, share, None, :] @ keys) * head_dim**-0.5
        outputs.append((logits.softmax(-1) @ values).squeeze(3))
    return torch.cat(outputs, dim=2).reshape(batch, height, width, -1).to(dtype)


def _neighbours(
    height: int, width: int, window: int, dilation: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Flat index (H·W, w²) of each query's keys, clamped to the map, and which lie inside."""
    reach = (torch.arange(window, device=device) - window // 2) * dilation
    rows = (torch.arange(height, device=device)[:, None] + reach)[:, None, :, None]
    columns = (torch.arange(width, device=device)[:, None] + reach)[None, :, None, :]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    index = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    shape = (height * width, window * window)
    return index.reshape(shape), inside.reshape(shape)
