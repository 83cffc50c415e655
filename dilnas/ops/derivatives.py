"""Two derivatives that ``torch.compile`` makes slower than PyTorch's own, kept whole for it.

Inductor (torch 2.14) takes the layout of a depthwise weight's gradient for the layout that the
maps shall have. Strides of dimensions of size one say nothing, so it copies the maps of every such
convolution into another order and back, on any device. And where GELU follows batch norm it takes
its derivative twice, once for the sums over pixels and once for the map. As operators of their
own, both derivatives are what eager mode runs; the forward pass stays plain operators to be fused.

Measured on a CPU only: a step of Tiny gains three to four per cent (``docs/msda.md``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op
from torch.nn import functional

from dilnas.ops.tracing import compiles_training

__all__ = ["depthwise", "gelu"]


def depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A depthwise 3x3 convolution with stride 1 and padding 1, (B, C, H, W) -> (B, C, H, W).

    Args:
        x: the map, (B, C, H, W).
        weight: (C, 1, 3, 3).
        bias: (C,).
    """
    if not compiles_training(x):
        return functional.conv2d(x, weight, bias, padding=1, groups=weight.shape[0])
    if torch.is_autocast_enabled(x.device.type):  # what it does to a convolution's arguments
        half = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(half), weight.to(half), bias.to(half)
    out: Tensor = _Depthwise.apply(x, weight, bias)  # type: ignore[no-untyped-call,unused-ignore]
    return out


def gelu(x: Tensor) -> Tensor:
    """GELU, exact, any shape. On CUDA nothing is kept whole: fused, it costs no memory traffic."""
    if not compiles_training(x) or x.device.type != "cpu":
        return functional.gelu(x)
    out: Tensor = _Gelu.apply(x)  # type: ignore[no-untyped-call,unused-ignore]
    return out


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return functional.conv2d(x, weight, bias, padding=1, groups=weight.shape[0])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found: tuple[Tensor, Tensor, Tensor] = _depthwise_backward(grad, *ctx.saved_tensors)
        return found


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return functional.gelu(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        slope: Tensor = _gelu_backward(grad, x)
        return slope


@custom_op("dilnas::depthwise_backward", mutates_args=())
def _depthwise_backward(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the map, the weight and the bias."""
    return _convolution_backward(grad, x, weight)


@_depthwise_backward.register_fake
def _(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _convolution_backward(grad, x, weight)


def _convolution_backward(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    channels, one = weight.shape[0], [1, 1]
    found = torch.ops.aten.convolution_backward(
        grad, x, weight, [channels], one, one, one, False, [0, 0], channels, [True, True, True]
    )
    return found[0], found[1], found[2]


@custom_op("dilnas::gelu_backward", mutates_args=())
def _gelu_backward(grad: Tensor, x: Tensor) -> Tensor:
    """The gradient of GELU's argument."""
    return torch.ops.aten.gelu_backward(grad, x)  # type: ignore[no-any-return]


@_gelu_backward.register_fake
def _(grad: Tensor, x: Tensor) -> Tensor:
    # Not empty_like(x): where the two lie differently in memory, PyTorch chooses.
    return torch.ops.aten.gelu_backward(grad, x)  # type: ignore[no-any-return]
