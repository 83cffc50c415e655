"""Whether Triton can be used: present, not broken, right in its numbers, with a kernel for it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from functools import cache
from threading import Thread

import torch
from torch import Tensor

from dilnas.ops.oracle import msda_oracle

__all__ = ["GROUPS", "interpreted", "limits", "probe", "trouble", "usable"]

GROUPS = 8
"""Dilations that the kernels take."""

WIDEST = 15
"""Window: a row of it is unrolled, which takes long to compile."""

TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def interpreted() -> bool:
    """Whether Triton's kernels run in its interpreter, on any device; slow, for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def limits(  # noqa: PLR0911 - a reason a line; a compiler traces this
    qkv: Tensor, num_heads: int, window_size: int, dilations: Sequence[int]
) -> str:
    """Why the kernels cannot take these arguments; "" if they can."""
    _, height, width, tripled = qkv.shape
    depth = tripled // 3 // num_heads
    if qkv.device.type not in ("cuda", "meta") and not interpreted():
        return f"they run on CUDA, qkv is on {qkv.device}"
    if depth % 4 or depth > 128:
        return f"head dimensions are a multiple of 4 up to 128, this is {depth}"
    if window_size > WIDEST:
        return f"windows up to {WIDEST}, this is {window_size}"
    if len(dilations) > GROUPS:
        return f"at most {GROUPS} dilations, these are {len(dilations)}"
    if qkv.dtype not in TYPES:
        return f"no {qkv.dtype}"
    if height * width * qkv.stride(2) >= 1 << 31 or max(height, width) > 0x7FFF:
        return f"a map of {height} x {width} x {tripled} is too large"
    return ""


def probe(device: str) -> str:
    """Why Triton cannot be used on ``device``; "" if it can.

    A small problem is computed and compared with the oracle: a Triton that imports may still lack a
    compiler, know the GPU not yet, or be wrong.
    """
    try:
        from dilnas.ops import triton_launch

        with torch.no_grad():
            generator = torch.Generator().manual_seed(0)
            qkv = torch.randn(1, 4, 5, 48, generator=generator).to(device)
            out, _ = triton_launch.forward(qkv, 2, 3, (1, 2))
            apart = float((out - msda_oracle(qkv, 2, 3, (1, 2))).abs().max())
    except Exception as error:  # noqa: BLE001 - whatever a broken installation raises
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"{type(error).__name__}: {first}"
    return "" if apart < 1e-4 else f"its results are wrong by {apart:.2g}"


@cache
def _trouble(device: int) -> str:
    """``probe`` of a CUDA device, once.

    In a thread of its own, for the first call of MSDA may come under anything that belongs to the
    caller's thread: a default device, fake tensors, vmap, a counter. A probe would fail there, or
    be counted.
    """
    found: list[str] = []
    thread = Thread(target=lambda: found.append(probe(f"cuda:{device}")))
    thread.start()
    thread.join()
    return found[0]


def trouble(device: int) -> str:
    """Why Triton cannot be used on this CUDA device; "" if it can."""
    return _trouble(device)


def usable(device: int) -> bool:
    """Whether Triton can be used on this CUDA device; the first time that it cannot, a warning."""
    return _usable(device)


@cache
def _usable(device: int) -> bool:
    if not torch.cuda.is_available():  # a fake tensor of a device that is not here
        return False
    if not (why := _trouble(device)):
        return True
    warnings.warn(
        f"Triton cannot be used on cuda:{device} ({why}); MSDA runs as portable PyTorch, slower "
        "and with more memory",
        RuntimeWarning,
        stacklevel=2,
    )
    return False


for _asked in (trouble, usable):
    # What torch.compiler.assume_constant_result does, without the second that its import takes.
    vars(_asked)["_dynamo_marked_constant"] = True
