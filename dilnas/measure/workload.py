"""A Workload checked and made runnable: model and input on the device, one call ready to time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dilnas.arch import Architecture
from dilnas.errors import DeviceError, InputError
from dilnas.measure.cpu import available_memory_bytes
from dilnas.records import Cost, Workload

if TYPE_CHECKING:
    import torch

__all__ = ["DTYPES", "MODES", "Runnable", "check_workload", "fits", "memory_need", "prepare"]

DTYPES = ("fp32", "tf32", "fp16", "bf16")
MODES = ("inference", "train")
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
    ):
        if given not in choices:
            raise InputError("unknown choice", where=where, expected=" | ".join(choices), got=given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runnable:
    """``call`` does one batch; ``resident`` are the weights, buffers and input it works on."""

    call: Callable[[], Any]
    resident: tuple[torch.Tensor, ...]


def prepare(architecture: Architecture, workload: Workload, cost: Cost) -> Runnable:
    """Build the model and a batch of random images on the device.

    fp16 and bf16: for inference weights and images are cast; for training weights stay fp32 and
    autocast casts the operators. Training is forward and backward, without an optimiser step.
    Weights are random and the caller's random state is left alone. Raises DeviceError where the
    device cannot do it or it does not fit.
    """
    import torch

    from dilnas.model import build_model

    _check_device(workload, cost)
    device, train = torch.device(workload.device), workload.mode == "train"
    half = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(workload.dtype)
    shape = (workload.batch_size, architecture.in_chans, workload.height, workload.width)
    with fits(workload):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = build_model(architecture)
            images = torch.randn(shape)
        model.train(train).to(device)
        images = images.to(device)
        if half is not None and not train:
            model.to(half)
            images = images.to(half)
    call = _training_step(model, images, half) if train else _inference(model, images)
    resident = (*model.parameters(), *model.buffers(), images)
    return Runnable(call=call, resident=resident)


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


def _inference(model: torch.nn.Module, images: torch.Tensor) -> Callable[[], Any]:
    import torch

    def call() -> Any:
        with torch.inference_mode():
            return model(images)

    return call


def _training_step(
    model: torch.nn.Module, images: torch.Tensor, half: torch.dtype | None
) -> Callable[[], Any]:
    import torch

    def call() -> Any:
        model.zero_grad(set_to_none=True)
        with torch.autocast(images.device.type, half) if half is not None else nullcontext():
            out = model(images)
        # Any scalar of the output will do: the loss is 0.01 % of the work.
        return out.float().square().mean().backward()

    return call


def _check_device(workload: Workload, cost: Cost) -> None:
    import torch

    if not workload.device.startswith("cuda"):
        if workload.dtype == "tf32":
            raise DeviceError(
                "tf32 exists on CUDA devices only", where="--dtype", got="tf32 on cpu"
            )
        # Refused here, because Linux kills a process that asks for too much instead of telling it.
        needed, free = memory_need(workload, cost), available_memory_bytes()
        if free is not None and needed > FREE_SHARE * free:
            size = f"{workload.batch_size} x {workload.height} x {workload.width}"
            raise DeviceError(
                f"does not fit into memory: {size} images in {workload.dtype} ({workload.mode})",
                where="--batch-size or --img-size",
                expected=f"at most {FREE_SHARE * free / 1e9:.1f} GB",
                got=f"about {needed / 1e9:.1f} GB",
            )  # fmt: skip
        return
    major = torch.cuda.get_device_properties(workload.device).major
    if workload.dtype in ("tf32", "bf16") and major < 8:
        raise DeviceError(
            f"{workload.dtype} needs compute capability 8.0 or later",
            where="--dtype", got=f"{major}.x",
        )  # fmt: skip


@contextmanager
def fits(workload: Workload) -> Iterator[None]:
    """Turn out-of-memory and missing half-precision kernels into one clear DeviceError."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise _does_not_fit(workload) from error
    except RuntimeError as error:
        text = str(error)
        if "can't allocate memory" in text or "not enough memory" in text:
            raise _does_not_fit(workload) from error
        if "not implemented for" in text and workload.dtype in ("fp16", "bf16"):
            raise DeviceError(
                f"an operator has no {workload.dtype} kernel on this device: {text}",
                where="--dtype", expected="fp32", got=workload.dtype,
            ) from error  # fmt: skip
        raise


def _does_not_fit(workload: Workload) -> DeviceError:
    size = f"{workload.batch_size} x {workload.height} x {workload.width}"
    return DeviceError(
        f"out of memory on {workload.device}: {size} in {workload.dtype} ({workload.mode})"
        " does not fit",
        where="--batch-size",
        got=workload.batch_size,
    )
