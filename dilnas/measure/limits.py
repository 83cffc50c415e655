"""What a workload may ask for: checked before it is run, told in one line when it cannot be."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dilnas.errors import DeviceError, InputError
from dilnas.measure.cpu import available_memory_bytes
from dilnas.records import Cost, Workload

__all__ = [
    "COMPILES",
    "DTYPES",
    "MODES",
    "check_device",
    "check_workload",
    "fits",
    "memory_need",
    "release",
]

DTYPES = ("fp32", "tf32", "fp16", "bf16")
MODES = ("inference", "train")
COMPILES = ("eager", "compile", "graph")
MAX_BATCH = 1 << 20
FREE_SHARE = 0.9
"""Share of the free memory that a batch may need: kernels' scratch space comes on top."""


def check_workload(workload: Workload) -> None:
    """Raise InputError for what no device can run; touches none."""
    for where, value, low, high in (
        ("--batch-size", workload.batch_size, 1, MAX_BATCH),
        ("--threads", workload.threads, 0, 4096),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InputError("out of range", where=where, expected=f"{low}..{high}", got=value)
    for where, given, choices in (
        ("--dtype", workload.dtype, DTYPES),
        ("--mode", workload.mode, MODES),
        ("compile", workload.compile, COMPILES),
    ):
        if given not in choices:
            raise InputError("unknown choice", where=where, expected=" | ".join(choices), got=given)


def memory_need(workload: Workload, cost: Cost) -> int:
    """Bytes that tensors will hold on a CPU, about.

    Inference: the closed form, which equals the measured peak. Training: fp32 weights and
    gradients, and everything that operators write, since the backward pass needs most of it
    (measured on Tiny and Base at batches of 1 to 8: 0.6 to 0.9 of that, 0.4 under bf16).
    """
    width = 2 if workload.dtype in ("fp16", "bf16") else 4
    if workload.mode == "inference":
        return cost.memory_bytes(workload.batch_size, width)
    return 2 * cost.weight_bytes() + workload.batch_size * cost.activation_bytes(width)


def check_device(workload: Workload, cost: Cost | None = None) -> None:
    """Raise DeviceError for what the workload's device cannot do.

    With a ``cost``, a batch that a CPU has no memory for is refused too: Linux kills a process
    that asks for too much instead of telling it.
    """
    if workload.device.startswith("cuda"):
        _check_cuda(workload)
        return
    if workload.dtype == "tf32":
        raise DeviceError("tf32 exists on CUDA devices only", where="--dtype", got="tf32 on cpu")
    if workload.compile == "graph":
        raise DeviceError("CUDA graphs exist on CUDA devices only", where="--cuda-graph", got="cpu")
    if cost is None:
        return
    needed, free = memory_need(workload, cost), available_memory_bytes()
    if free is not None and needed > FREE_SHARE * free:
        size = f"{workload.batch_size} x {workload.height} x {workload.width}"
        raise DeviceError(
            f"does not fit into memory: {size} images in {workload.dtype} ({workload.mode})",
            where="--batch-size or --img-size",
            expected=f"at most {FREE_SHARE * free / 1e9:.1f} GB",
            got=f"about {needed / 1e9:.1f} GB",
        )


def _check_cuda(workload: Workload) -> None:
    import torch

    major = torch.cuda.get_device_properties(workload.device).major
    if workload.dtype in ("tf32", "bf16") and major < 8:
        raise DeviceError(
            f"{workload.dtype} needs compute capability 8.0 or later",
            where="--dtype", got=f"{major}.x",
        )  # fmt: skip


_NO_MEMORY = (
    "can't allocate memory", "not enough memory",  # the CPU's allocator
    "CUDA error: out of memory",  # of CUDA itself: a context, a stream, a graph
    "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED",
)  # fmt: skip
"""In texts of the RuntimeErrors that are raised for want of memory past torch's CUDA allocator."""

_NO_ENGINE = ("unable to find an engine", "Unable to find a valid cuDNN algorithm")
"""What cuDNN's convolutions end with when none of their algorithms gets the memory it asks for."""


@contextmanager
def fits(workload: Workload) -> Iterator[None]:
    """Turn what a workload cannot have into one clear DeviceError.

    Out of memory, missing half-precision kernels, a batch norm that trains on a single value.
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise _does_not_fit(workload) from error
    except RuntimeError as error:
        text = str(error)
        if any(words in text for words in _NO_MEMORY):
            raise _does_not_fit(workload) from error
        if any(words in text for words in _NO_ENGINE):
            raise DeviceError(
                "cuDNN finds no way to run a convolution, most likely for want of memory",
                where="--batch-size", got=f"{workload.batch_size} in {workload.dtype}",
            ) from error  # fmt: skip
        if "not implemented for" in text and workload.dtype in ("fp16", "bf16"):
            raise DeviceError(
                f"an operator has no {workload.dtype} kernel on this device: {text}",
                where="--dtype", expected="fp32", got=workload.dtype,
            ) from error  # fmt: skip
        raise
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise DeviceError(
            "batch norm cannot train on one value a channel",
            where="--batch-size or --img-size", expected="a larger batch or image",
            got=f"{workload.batch_size} x {workload.height} x {workload.width}",
        ) from error  # fmt: skip


def _does_not_fit(workload: Workload) -> DeviceError:
    size = f"{workload.batch_size} x {workload.height} x {workload.width}"
    return DeviceError(
        f"out of memory on {workload.device}: {size} in {workload.dtype} ({workload.mode})"
        " does not fit",
        where="--batch-size",
    )


def release(device: str) -> None:
    """Give back what nothing refers to any more, so that the next workload finds it free.

    Call it where no exception is being handled: an exception holds the frames that it came
    through, and they hold their tensors.
    """
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and device.startswith("cuda"):
        torch.cuda.empty_cache()
