"""The network written so that counters see every multiply-add.

Portable MSDA multiplies shifted slices and adds them up: elementwise work, which counters count as
nothing. Its other form, gather and matrix products, does the same multiply-adds in operators that
have a formula. A linear layer on a map that does not lie contiguous (after heads of one channel)
runs as a product and a sum, in which ptflops sees no bias; on a contiguous map it is one operator.
Global attention needs no care: on ``meta`` torch takes matrix products for it, and while
``torch.jit`` traces the model itself does.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from dilnas.arch import Architecture
from dilnas.count.copies import blank_model
from dilnas.model.attention import MultiScaleDilatedAttention
from dilnas.ops import msda

__all__ = ["visible_model"]


def visible_model(architecture: Architecture, device: str = "meta") -> nn.Module:
    """The architecture's network, built anew, with MSDA as matrix products."""
    model = blank_model(architecture, device)
    for module in model.modules():
        if isinstance(module, MultiScaleDilatedAttention):
            module.forward = partial(_as_products, module)  # type: ignore[method-assign]
        elif isinstance(module, nn.Linear):
            module.register_forward_pre_hook(_contiguous)
    return model


def _contiguous(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.contiguous() for x in inputs)


def _as_products(attention: MultiScaleDilatedAttention, x: Tensor) -> Tensor:
    """``MultiScaleDilatedAttention.forward`` with the backend named: (B, H, W, C), the same."""
    qkv = attention.qkv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    out = msda(
        qkv, attention.num_heads, attention.window_size, attention.dilations, backend="matmul"
    )
    result: Tensor = attention.proj(out)
    return result
