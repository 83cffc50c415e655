"""The one door to multi-scale dilated attention (MSDA)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dilnas.errors import InputError
from dilnas.ops.matmul import msda_matmul
from dilnas.ops.operator import msda_operator
from dilnas.ops.oracle import msda_oracle
from dilnas.ops.portable import msda_portable
from dilnas.ops.tracing import compiles_training, exporting
from dilnas.ops.triton_state import interpreted, limits, trouble, usable
from dilnas.ops.windows import msda_windows

__all__ = ["BACKENDS", "ENVIRONMENT_VARIABLE", "backends_on", "msda"]

Backend = Callable[[Tensor, int, int, Sequence[int]], Tensor]

BACKENDS: dict[str, Backend] = {
    "matmul": msda_matmul,
    "oracle": msda_oracle,
    "portable": msda_portable,
    "triton": msda_operator,
}
"""Backends that can be asked for by name. Another one is added here and to ``_automatic``."""

ENVIRONMENT_VARIABLE = "DILNAS_MSDA"
"""Forces a backend wherever the caller leaves the choice open."""


def msda(
    qkv: Tensor,
    num_heads: int,
    window_size: int,
    dilations: Sequence[int],
    *,
    backend: str = "auto",
) -> Tensor:
    """Multi-scale dilated attention of a channels-last map.

    Head group i, the i-th contiguous share of the heads, attends with dilation ``dilations[i]``:
    each query to the w x w keys around it. k and v count as zero outside of the map, so a key out
    there has logit 0, stays in the softmax's denominator and adds nothing to the result.

    Args:
        qkv: (B, H, W, 3C), floating, any strides: q, then k, then v, each with its heads in order.
            Half types are computed in float32.
        num_heads: heads; divides C.
        window_size: side w of the neighbourhood, odd.
        dilations: one for each head group; their number divides ``num_heads``.
        backend: "auto", or a name in ``BACKENDS``. "auto" obeys the environment variable
            DILNAS_MSDA, else takes matrix products while ``torch.jit`` traces, gathered windows
            while ``torch.export`` does, "triton" on CUDA where Triton works and has kernels for the
            shape, and "portable" otherwise: in a compiled training step as the operator
            ``dilnas::msda``.

    Returns:
        (B, H, W, C), the type of ``qkv``.

    Raises:
        InputError: an unknown backend, arguments that contradict one another, or "triton" where
            its kernels cannot run.

    Source: Jiao et al., "DilateFormer", IEEE TMM 2023; the borders as in the authors' code.
    """
    _check(qkv, num_heads, window_size, dilations)
    return _chosen(backend, qkv, num_heads, window_size, dilations)(
        qkv, num_heads, window_size, dilations
    )


def backends_on(device: str | torch.device) -> tuple[str, ...]:
    """Names of the backends that can run on ``device``: all, or all but "triton"."""
    where = torch.device(device)
    fused = interpreted()
    if where.type == "cuda" and torch.cuda.is_available():
        index = torch.cuda.current_device() if where.index is None else where.index
        fused = usable(index)
    return tuple(name for name in BACKENDS if fused or name != "triton")


def _chosen(
    name: str, qkv: Tensor, num_heads: int, window_size: int, dilations: Sequence[int]
) -> Backend:
    where = "backend"
    if name == "auto":
        name, where = os.environ.get(ENVIRONMENT_VARIABLE) or "auto", ENVIRONMENT_VARIABLE
    if name == "auto":
        return _automatic(qkv, num_heads, window_size, dilations)
    if name not in BACKENDS:
        raise InputError(
            "unknown MSDA backend", where=where, expected="|".join(["auto", *BACKENDS]), got=name
        )
    if name == "triton":
        why = limits(qkv, num_heads, window_size, dilations)
        if not why and qkv.is_cuda and torch.cuda.is_available():
            why = trouble(qkv.device.index or 0)
        if why:
            raise InputError("the Triton kernels cannot be used", where=where, got=why)
    return BACKENDS[name]


def _automatic(qkv: Tensor, num_heads: int, window_size: int, dilations: Sequence[int]) -> Backend:
    """The fastest backend that can do what is being done."""
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return msda_matmul
    if exporting():
        # The program shall run, and convert to ONNX, where dilnas is not installed.
        return msda_windows
    if qkv.is_cuda:
        index = qkv.device.index or 0
        if not limits(qkv, num_heads, window_size, dilations) and usable(index):
            return msda_operator
    if qkv.device.type == "cpu" and compiles_training(qkv):
        # What Inductor makes of the slices is slower (a training step of Tiny on two cores: 0.98 of
        # eager's speed against 1.02) and takes it 92 s to compile instead of 28.
        return msda_operator
    return msda_portable


def _check(qkv: Tensor, num_heads: int, window_size: int, dilations: Sequence[int]) -> None:
    if qkv.dim() != 4 or 0 in qkv.shape[1:] or qkv.shape[3] % 3:
        raise InputError("must be (B, H, W, 3C), no map empty", where="qkv", got=tuple(qkv.shape))
    if not qkv.is_floating_point():
        raise InputError("must be floating", where="qkv", got=str(qkv.dtype))
    channels = int(qkv.shape[3]) // 3
    if num_heads < 1 or channels % num_heads:
        raise InputError("num_heads must divide C", where="num_heads", got=(num_heads, channels))
    if window_size < 1 or window_size % 2 == 0:
        raise InputError("must be odd", where="window_size", expected="1, 3, …", got=window_size)
    if not dilations or num_heads % len(dilations) or min(dilations) < 1:
        raise InputError(
            "must be positive, a divisor of num_heads many", where="dilations",
            expected=f"a divisor of {num_heads} many", got=tuple(dilations),
        )  # fmt: skip
