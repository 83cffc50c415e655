"""The door to multi-scale dilated attention (MSDA).

For a query at (i, j) and a head of dilation r, the keys are those at (i + p·r, j + q·r) with
-w//2 <= p, q <= w//2; ``softmax(q·k / sqrt(head_dim))`` weighs their values. k and v are padded
with zeros *after* their projection: a key outside the map has logit 0, stays in the softmax's
denominator and has value 0 (unlike neighbourhood attention, whose windows are clamped).

Source: DilateFormer, arXiv 2302.01791, section III-B, and the authors' code for the borders.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from dilnas.errors import InputError
from dilnas.ops.oracle import msda_oracle
from dilnas.ops.portable import msda_portable, msda_slices

__all__ = ["BACKENDS", "msda"]

BACKENDS = ("auto", "oracle", "portable", "slices")
"""``auto`` takes the fastest that the tensor's device and the moment (eager, traced, compiled)
allow; the others force one: gather and matmul, slices with a hand-written backward, slices that
autograd differentiates."""


def msda(
    qkv: Tensor,
    num_heads: int,
    window_size: int,
    dilations: Sequence[int],
    *,
    backend: str = "auto",
) -> Tensor:
    """Multi-scale dilated attention, channels last.

    Args:
        qkv: (B, H, W, 3C), q then k then v; any strides, any floating dtype (half precision is
            accumulated in float32).
        num_heads: heads h; C = h · head_dim. Head group g of h / len(dilations) heads owns the
            g-th contiguous share of the channels.
        window_size: w, odd.
        dilations: one dilation a head group.
        backend: one of ``BACKENDS``; the environment variable ``DILNAS_MSDA`` overrides "auto".

    Returns:
        (B, H, W, C) in the dtype of ``qkv``, contiguous.

    Raises:
        InputError: shapes that do not fit together, or an unknown backend.
    """
    _check(qkv, num_heads, window_size, dilations)
    chosen = _choose(backend)
    steps = tuple(dilations)
    if chosen == "oracle":
        return msda_oracle(qkv, num_heads, window_size, steps)
    if chosen == "slices":
        return msda_slices(qkv, num_heads, window_size, steps)
    return msda_portable(qkv, num_heads, window_size, steps)


def _choose(backend: str) -> str:
    name = os.environ.get("DILNAS_MSDA", "auto") if backend == "auto" else backend
    if name not in BACKENDS:
        where = "DILNAS_MSDA" if backend == "auto" else "backend"
        raise InputError("unknown backend", where=where, expected="|".join(BACKENDS), got=name)
    if name != "auto":
        return name
    if torch.jit.is_tracing():
        # FLOP counters and the legacy exporter trace: with plain matmuls they see the arithmetic.
        return "oracle"
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return "slices"
    return "portable"


def _check(qkv: Tensor, num_heads: int, window_size: int, dilations: Sequence[int]) -> None:
    if qkv.dim() != 4 or qkv.shape[-1] % (3 * num_heads):
        raise InputError(
            "qkv must be (B, H, W, 3C) with C a multiple of num_heads",
            where="msda", got=tuple(qkv.shape),
        )  # fmt: skip
    if window_size % 2 == 0 or window_size < 1:
        raise InputError("window_size must be odd", where="msda", got=window_size)
    if not dilations or num_heads % len(dilations) or min(dilations) < 1:
        raise InputError(
            "the number of dilations must divide num_heads", where="msda", got=tuple(dilations)
        )
