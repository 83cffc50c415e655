"""The parts of a DilateFormer, channels last: a block maps (B, H, W, C) to (B, H, W, C).

Names and shapes of all parameters are the official ones (JIAOJIAYUASD/dilateformer), so that its
checkpoints load as they are.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from dilnas.arch import Stage
from dilnas.ops import msda

__all__ = ["MSDA", "Block", "Downsample", "GlobalAttention", "Mlp", "Stem", "layer_norm"]

layer_norm = partial(nn.LayerNorm, eps=1e-6)
"""LayerNorm with the official epsilon."""


class DropPath(nn.Module):
    """Drops the residual branch of whole samples, in training only (stochastic depth)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, …) -> (B, …)."""
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        mask = torch.empty(x.shape[0], *[1] * (x.dim() - 1), dtype=x.dtype, device=x.device)
        return x * mask.bernoulli_(keep).div_(keep)

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return f"rate={self.rate:.3f}"


class Mlp(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(…, C) -> (…, C)."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class MSDA(nn.Module):
    """Multi-scale dilated attention with its projections.

    The q, k, v projection is a 1x1 convolution, as in the official code; on a channels-last map
    it is the same matrix product as a linear layer, and no slower.
    """

    def __init__(self, stage: Stage, qkv_bias: bool) -> None:
        super().__init__()
        self.num_heads = stage.num_heads
        self.window_size = stage.window_size or 1
        self.dilations = stage.dilations
        self.qkv = nn.Conv2d(stage.dim, 3 * stage.dim, 1, bias=qkv_bias)
        self.proj = nn.Linear(stage.dim, stage.dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        qkv = self.qkv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        out: Tensor = self.proj(msda(qkv, self.num_heads, self.window_size, self.dilations))
        return out

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return f"heads={self.num_heads}, window={self.window_size}, dilations={self.dilations}"


class GlobalAttention(nn.Module):
    """Multi-head self-attention over all positions of the map."""

    def __init__(self, stage: Stage, qkv_bias: bool) -> None:
        super().__init__()
        self.num_heads = stage.num_heads
        self.qkv = nn.Linear(stage.dim, 3 * stage.dim, bias=qkv_bias)
        self.proj = nn.Linear(stage.dim, stage.dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        batch, height, width, channels = x.shape
        qkv = self.qkv(x).reshape(batch, height * width, 3, self.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if torch.jit.is_tracing():
            # Counters that trace do not know the fused kernel: show them the products.
            scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
            out = scores.softmax(-1) @ v
        else:
            out = F.scaled_dot_product_attention(q, k, v)
        mixed: Tensor = self.proj(out.transpose(1, 2).reshape(batch, height, width, channels))
        return mixed


class Block(nn.Module):
    """Position embedding, attention and MLP, each with a residual connection."""

    def __init__(
        self, stage: Stage, attention: nn.Module, *, embed: bool, drop_path_rate: float
    ) -> None:
        super().__init__()
        self.pos_embed = (
            nn.Conv2d(stage.dim, stage.dim, 3, padding=1, groups=stage.dim) if embed else None
        )
        self.norm1 = layer_norm(stage.dim)
        self.attn = attention
        self.drop_path = DropPath(drop_path_rate)
        self.norm2 = layer_norm(stage.dim)
        self.mlp = Mlp(stage.dim, stage.mlp_hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        if self.pos_embed is not None:
            x = x + self.pos_embed(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = x + self.drop_path(self.attn(self.norm1(x)))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


def _norm_act(dim: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(dim), nn.GELU()]


class Stem(nn.Module):
    """Image to map at stride 4: (B, in_chans, H, W) -> (B, dim, H/4, W/4)."""

    def __init__(self, kind: str, in_chans: int, dim: int) -> None:
        super().__init__()
        if kind == "nonoverlapping":
            self.proj: nn.Module = nn.Conv2d(in_chans, dim, 4, stride=4)
            return
        # (kernel, stride) of the four convolutions; the widths are fixed at 16, 32, 64, dim.
        plan = ((3, 1), (3, 2), (3, 1), (3, 2))
        if kind == "pointconv":
            plan = ((3, 2), (1, 1), (3, 2), (1, 1))
        layers: list[nn.Module] = []
        width = in_chans
        for (kernel, stride), out in zip(plan, (16, 32, 64, dim), strict=True):
            conv = nn.Conv2d(width, out, kernel, stride, padding=kernel // 2, bias=False)
            layers += [conv, *_norm_act(out)]
            width = out
        self.proj = nn.Sequential(*layers[:-2])

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, dim, H/4, W/4)."""
        out: Tensor = self.proj(x)
        return out


class Downsample(nn.Module):
    """Halves the map: convolution of stride 2, batch norm, and a position embedding if asked."""

    def __init__(self, kind: str, dim: int, out: int, *, embed: bool) -> None:
        super().__init__()
        kernel, padding = (3, 1) if kind == "conv3" else (2, 0)
        self.proj = nn.Sequential(
            nn.Conv2d(dim, out, kernel, stride=2, padding=padding), nn.BatchNorm2d(out)
        )
        self.pos_embed = nn.Conv2d(out, out, 3, padding=1, groups=out) if embed else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H/2, W/2)."""
        x = self.proj(x)
        return x if self.pos_embed is None else x + self.pos_embed(x)
