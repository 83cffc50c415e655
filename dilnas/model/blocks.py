"""Stem, blocks, downsampling and stages. Names of submodules are those of official checkpoints.

Between modules a map has the shape (B, C, H, W) and lies channels-last in memory, so that the
attentions and MLPs see (B, H, W, C) as a view and nothing is copied between blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dilnas.arch import Stage
from dilnas.model.attention import (
    GlobalAttention,
    MultiScaleDilatedAttention,
    is_scripting,
)
from dilnas.ops import depthwise, gelu

__all__ = [
    "NORM_EPS",
    "Block",
    "Downsample",
    "DropPath",
    "Mlp",
    "NormedGelu",
    "PatchEmbed",
    "Position",
    "StageModule",
]

NORM_EPS = 1e-6


class DropPath(nn.Module):
    """Leaves a residual branch out for a random share of the samples while training.

    Source: Huang et al., "Deep Networks with Stochastic Depth", 2016; the mean is kept.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, …) -> (B, …)."""
        if not self.training or self.rate == 0.0:
            return x
        if self.rate >= 1.0:
            return torch.zeros_like(x)
        keep = 1.0 - self.rate
        return x * (x.new_empty([x.shape[0]] + [1] * (x.dim() - 1)).bernoulli_(keep) / keep)


class Mlp(nn.Module):
    """Two linear layers with GELU between them, on the last dimension."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(…, dim) -> (…, dim)."""
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out


class Position(nn.Conv2d):
    """Conditional position: a depthwise 3x3 convolution, for the map to be added to.

    Source: Chu et al., "Conditional Positional Encodings for Vision Transformers", ICLR 2023.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) -> (B, dim, H, W)."""
        bias = self.bias
        if is_scripting() or bias is None:
            # What super().forward does; TorchScript knows no super().
            out: Tensor = self._conv_forward(x, self.weight, bias)
            return out
        return depthwise(x, self.weight, bias)


class NormedGelu(nn.GELU):
    """GELU after a batch norm."""

    def forward(self, input: Tensor) -> Tensor:
        """(…) -> (…)."""
        return functional.gelu(input) if is_scripting() else gelu(input)


class Block(nn.Module):
    """Position (a depthwise 3x3 convolution, if asked), attention and MLP, each added."""

    def __init__(
        self, dim: int, attention: nn.Module, hidden: int, *, pos_embed: bool, drop_path: float
    ) -> None:
        super().__init__()
        self.pos_embed = Position(dim) if pos_embed else None
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = attention
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), channels-last in memory."""
        if self.pos_embed is not None:
            x = x + self.pos_embed(x)
        batch, channels, height, width = x.shape
        # As tokens (B, H * W, C), the same memory: of what a compiled training step keeps in four
        # dimensions, Inductor takes the second for the channels and copies it into that order.
        x = x.permute(0, 2, 3, 1).flatten(1, 2)
        x = x + self.drop_path(
            self.attn(self.norm1(x).view(batch, height, width, channels)).flatten(1, 2)
        )
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x.view(batch, height, width, channels).permute(0, 3, 1, 2)


class PatchEmbed(nn.Module):
    """The stem: an image becomes a map at stride 4."""

    def __init__(self, in_chans: int, dim: int, stem: str) -> None:
        super().__init__()
        self.proj: nn.Module = nn.Conv2d(in_chans, dim, 4, stride=4)
        if stem == "nonoverlapping":
            return
        # (kernel, stride) of the four convolutions; the widths are fixed at 16, 32, 64, dim.
        plan = ((3, 1), (3, 2), (3, 1), (3, 2))
        if stem == "pointconv":
            plan = ((3, 2), (1, 1), (3, 2), (1, 1))
        layers: list[nn.Module] = []
        width = in_chans
        for (kernel, stride), out in zip(plan, (16, 32, 64, dim), strict=True):
            conv = nn.Conv2d(width, out, kernel, stride, padding=kernel // 2, bias=False)
            layers += [conv, nn.BatchNorm2d(out), NormedGelu()]
            width = out
        self.proj = nn.Sequential(*layers[:-2])

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, dim, H/4, W/4)."""
        out: Tensor = self.proj(x)
        return out


class Downsample(nn.Module):
    """Halves the map between two stages: strided convolution, batch norm, maybe position."""

    def __init__(self, dim: int, out: int, kind: str, *, pos_embed: bool) -> None:
        super().__init__()
        kernel, padding = (3, 1) if kind == "conv3" else (2, 0)
        self.proj = nn.Sequential(
            nn.Conv2d(dim, out, kernel, stride=2, padding=padding), nn.BatchNorm2d(out)
        )
        self.pos_embed = Position(out) if pos_embed else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) -> (B, out, H/2, W/2)."""
        x = self.proj(x)
        return x if self.pos_embed is None else x + self.pos_embed(x)


class StageModule(nn.Module):
    """MSDA blocks, then global blocks, then the downsampling to the next stage, if there is one."""

    def __init__(
        self,
        stage: Stage,
        *,
        qkv_bias: bool,
        pos_embed: bool,
        drop_path: Sequence[float],
        downsample: nn.Module | None,
    ) -> None:
        super().__init__()
        dim, heads = stage.dim, stage.num_heads
        self.blocks = nn.ModuleList()
        for i in range(stage.depth):
            attention: nn.Module = (
                MultiScaleDilatedAttention(
                    dim, heads, stage.window_size or 1, stage.dilations, qkv_bias=qkv_bias
                )
                if i < stage.msda_depth
                else GlobalAttention(dim, heads, qkv_bias=qkv_bias)
            )
            self.blocks.append(
                Block(dim, attention, stage.mlp_hidden, pos_embed=pos_embed, drop_path=drop_path[i])
            )
        self.downsample = nn.Identity() if downsample is None else downsample

    def features(self, x: Tensor) -> Tensor:
        """The stage's own map, before its downsampling: (B, dim, H, W) -> (B, dim, H, W)."""
        for block in self.blocks:
            x = block(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) -> (B, next dim, H/2, W/2), or the same shape in the last stage."""
        out: Tensor = self.downsample(self.features(x))
        return out
