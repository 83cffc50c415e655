"""The two attentions of DilateFormer, on channels-last maps (B, H, W, C)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from dilnas.ops import msda, msda_scriptable

__all__ = ["GlobalAttention", "MultiScaleDilatedAttention", "Projection", "is_scripting"]

# Under names of their own: TorchScript reads a "type:" comment within a function as a signature.
is_scripting: Callable[[], bool] = torch.jit.is_scripting  # type: ignore[attr-defined]
is_tracing: Callable[[], bool] = torch.jit.is_tracing  # type: ignore[attr-defined]


class Projection(nn.Conv2d):
    """A 1x1 convolution that CUDA runs as a linear layer on the channels-last map.

    It is a convolution by name, shape and state dict, as in the official network. The linear layer
    adds the bias within the matrix product; a convolution's on CUDA is a pass of its own over q, k
    and v. On a CPU both are as fast.
    """

    def __init__(self, dim: int, out: int, *, bias: bool = True) -> None:
        super().__init__(dim, out, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) -> (B, out, H, W); channels-last in memory if ``x`` is."""
        if not x.is_cuda or is_tracing():
            # What super().forward does; TorchScript knows no super().
            out: Tensor = self._conv_forward(x, self.weight, self.bias)
            return out
        return linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class MultiScaleDilatedAttention(nn.Module):
    """Each head group attends to a w x w neighbourhood at its own dilation.

    The projection to q, k, v is a 1x1 convolution, as in the official network.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: int,
        dilations: tuple[int, ...],
        *,
        qkv_bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window_size = window_size
        self.dilations = dilations
        self._dilations = list(dilations)  # TorchScript turns no tuple into a list
        self.qkv = Projection(dim, dim * 3, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        qkv = self.qkv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        if is_scripting():
            mixed = msda_scriptable(qkv, self.num_heads, self.window_size, self._dilations)
        else:
            mixed = msda(qkv, self.num_heads, self.window_size, self.dilations)
        out: Tensor = self.proj(mixed)
        return out

    def extra_repr(self) -> str:
        """What ``print(model)`` shows beside the layers."""
        return f"heads={self.num_heads}, window={self.window_size}, dilations={self.dilations}"


class GlobalAttention(nn.Module):
    """Every position attends to every other."""

    def __init__(self, dim: int, num_heads: int, *, qkv_bias: bool = True) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        batch, height, width, channels = x.shape
        heads = (batch, height * width, self.num_heads, channels // self.num_heads)
        q, k, v = [part.reshape(heads).transpose(1, 2) for part in self.qkv(x).chunk(3, -1)]
        if is_tracing():
            # Counters that trace see no multiply-adds inside of the fused operator.
            out = ((q @ k.transpose(-2, -1)) * self.scale).softmax(-1) @ v
        else:
            out = scaled_dot_product_attention(q, k, v)
        result: Tensor = self.proj(out.transpose(1, 2).reshape(batch, height, width, channels))
        return result
