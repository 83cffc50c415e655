"""The forms of MSDA that ``msda.py`` compares: dilnas' own, others' kernels, and one that is free.

Each is a *core*: (qkv (B, H, W, 3C), heads, window, dilations) -> (B, H, W, C), as
``dilnas.ops.msda``. All compute the same numbers but two: NATTEN shifts its windows at the border
instead of padding them (other borders, same arithmetic), and "free" returns q.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention, unfold

from dilnas.model import attention
from dilnas.ops import backends_on, msda
from dilnas.ops.groups import groups_of, offsets

__all__ = ["BASELINE", "COMPILES", "CORES", "FREE", "INEXACT", "Core", "cores", "using"]

Core = Callable[[Tensor, int, int, Sequence[int]], Tensor]

BASELINE = "unfold"
"""The official formulation: ``unfold`` and batched matrix products, in the map's own type.

dilnas' backend "matmul" is the same in float32; of half types it computes in float32, which would
make the comparison too easy.
"""

FREE = "free"
COMPILES = ("flex",)
"""Cores that take many seconds before their first result."""

INEXACT = ("natten", FREE)


def own(backend: str) -> Core:
    """A backend of dilnas, whatever the environment asks for."""

    def core(qkv: Tensor, heads: int, window: int, dilations: Sequence[int]) -> Tensor:
        return msda(qkv, heads, window, dilations, backend=backend)

    return core


def portable(qkv: Tensor, heads: int, window: int, dilations: Sequence[int]) -> Tensor:
    """dilnas' portable arithmetic, in the form that a model on a CPU takes by itself.

    In a compiled training step that is the operator; the backend asked for by name would be slices
    for Inductor to fuse.
    """
    by_itself = torch.compiler.is_compiling() and qkv.device.type == "cpu"
    return msda(qkv, heads, window, dilations, backend="auto" if by_itself else "portable")


def official(qkv: Tensor, heads: int, window: int, dilations: Sequence[int]) -> Tensor:
    """``unfold`` and matrix products as in the official code, group by group."""
    batch, height, width, tripled = qkv.shape
    channels = tripled // 3
    planes = qkv.permute(0, 3, 1, 2)
    out = []
    for group in groups_of(channels, heads, dilations):
        depth, margin = group.channels // group.heads, group.dilation * (window // 2)
        q, k, v = (
            planes[:, part * channels + group.start :][:, : group.channels] for part in range(3)
        )
        q = q.reshape(batch, group.heads, depth, 1, height * width).permute(0, 1, 4, 3, 2)
        rows = (batch, group.heads, depth, window**2, height * width)
        near_k = unfold(k, window, group.dilation, margin).reshape(rows)
        near_v = unfold(v, window, group.dilation, margin).reshape(rows)
        logits = (q @ near_k.permute(0, 1, 4, 2, 3)) * depth**-0.5
        near = (logits.softmax(-1) @ near_v.permute(0, 1, 4, 3, 2)).squeeze(3)
        out.append(near.transpose(1, 2).reshape(batch, height, width, group.channels))
    return torch.cat(out, 3)


def free(qkv: Tensor, heads: int, window: int, dilations: Sequence[int]) -> Tensor:
    """q, a view: nothing is computed.

    Its gradient fills that of k and v with zeros, as any core's must be written; the projection
    after it reads q among k and v, and may add its bias apart.
    """
    return qkv[..., : qkv.shape[3] // 3]


def gather_sdpa(qkv: Tensor, heads: int, window: int, dilations: Sequence[int]) -> Tensor:
    """Each query's zero-padded keys side by side, then scaled dot-product attention over them.

    Gathered by stacking slices: an index would scatter with atomics in the backward pass.
    """
    batch, height, width, tripled = qkv.shape
    channels = tripled // 3
    out = []
    for group in groups_of(channels, heads, dilations):
        margin = group.dilation * (window // 2)
        depth = group.channels // group.heads
        mine = [part[..., group.start :][..., : group.channels] for part in qkv.chunk(3, -1)]
        # Pixels are heads to the kernel: a batch of B·N would be beyond CUDA's grid.
        rows = (batch, height * width * group.heads, -1, depth)
        near = []
        for part in mine[1:]:
            wide = pad(part, (0, 0, margin, margin, margin, margin)).unflatten(3, (-1, depth))
            taps = [
                wide[:, margin + dy :, margin + dx :][:, :height, :width]
                for dy, dx in offsets(window, group.dilation)
            ]
            near.append(torch.stack(taps, 4).reshape(rows))
        result = scaled_dot_product_attention(mine[0].reshape(rows), *near)
        out.append(result.reshape(batch, height, width, group.channels))
    return torch.cat(out, 3)


@cache
def _flex() -> Callable[..., Any]:
    """FlexAttention, compiled; a second map needs other code, and dynamic code is wrong on CPUs."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)


@cache
def _neighbours(  # noqa: PLR0917
    height: int, width: int, heads: int, window: int, dilations: tuple[int, ...], device: str
) -> Any:
    """FlexAttention's mask of queries on the map against keys on the padded map."""
    from torch.nn.attention.flex_attention import create_block_mask

    half = window // 2
    margin = half * max(dilations)
    wide = width + 2 * margin
    of_group = torch.tensor(dilations, device=device)
    step = of_group.repeat_interleave(heads // len(dilations))

    def near(_: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        dy = key // wide - margin - query // width
        dx = key % wide - margin - query % width
        own = step[head]
        inside = (dy.abs() <= half * own) & (dx.abs() <= half * own)
        return inside & (dy % own == 0) & (dx % own == 0)

    keys = (height + 2 * margin) * wide
    return create_block_mask(near, None, heads, height * width, keys, device=device)


def flex(qkv: Tensor, heads: int, window: int, dilations: Sequence[int]) -> Tensor:
    """FlexAttention over zero-padded keys, which stay in the softmax: exact, all groups at once."""
    batch, height, width, tripled = qkv.shape
    depth = tripled // 3 // heads
    with torch.inference_mode(False):  # what is made within cannot be saved for a backward pass
        mask = _neighbours(height, width, heads, window, tuple(dilations), str(qkv.device))
    margin = window // 2 * max(dilations)
    q, k, v = qkv.chunk(3, -1)
    k, v = (pad(part, (0, 0, margin, margin, margin, margin)) for part in (k, v))
    q, k, v = (part.reshape(batch, -1, heads, depth).transpose(1, 2) for part in (q, k, v))
    out: Tensor = _flex()(q, k, v, block_mask=mask)
    return out.transpose(1, 2).reshape(batch, height, width, -1)


def natten(qkv: Tensor, heads: int, window: int, dilations: Sequence[int]) -> Tensor:
    """NATTEN's neighbourhood attention, a call for each dilation."""
    from natten.functional import na2d  # type: ignore[import-not-found]

    channels = qkv.shape[3] // 3
    depth = channels // heads
    out = []
    for group in groups_of(channels, heads, dilations):
        mine = [
            part[..., group.start :][..., : group.channels].unflatten(3, (group.heads, depth))
            for part in qkv.chunk(3, -1)
        ]
        near = na2d(*(t.contiguous() for t in mine), kernel_size=window, dilation=group.dilation)
        out.append(near.flatten(3))
    return torch.cat(out, 3)


CORES: dict[str, Core] = {
    BASELINE: official,
    "matmul": own("matmul"),
    "sdpa": gather_sdpa,
    "flex": flex,
    "natten": natten,
    "portable": portable,
    "triton": own("triton"),
    FREE: free,
}


def cores(device: str, asked: Sequence[str] | None = None) -> dict[str, Core]:
    """Those that ``asked`` names, or all that there are here; the baseline always.

    "matmul" only if it is asked for: it is the baseline's twin.
    """
    missing = {"matmul"} | {"portable", "triton"} - set(backends_on(device))
    missing |= set() if find_spec("natten") else {"natten"}
    return {
        name: core
        for name, core in CORES.items()
        if name == BASELINE or (name in asked if asked else name not in missing)
    }


@contextmanager
def using(core: Core) -> Iterator[None]:
    """Within, every MSDA block of every model attends with ``core``."""
    kept, attention.msda = attention.msda, core  # type: ignore[assignment]
    try:
        yield
    finally:
        attention.msda = kept
