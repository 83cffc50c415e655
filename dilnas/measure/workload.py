"""A Workload made runnable: model and input on the device, one call ready to time."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dilnas.arch import Architecture
from dilnas.errors import InputError
from dilnas.measure.limits import (
    COMPILES,
    DTYPES,
    MODES,
    check_device,
    check_workload,
    fits,
    memory_need,
    release,
)
from dilnas.records import Cost, Workload

if TYPE_CHECKING:
    import torch

__all__ = [
    "COMPILES",
    "DTYPES",
    "MODES",
    "Runnable",
    "check_device",
    "check_workload",
    "fits",
    "memory_need",
    "models_kept",
    "prepare",
    "prepare_module",
    "release",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runnable:
    """One batch, ready to be timed; it has run once, so that compiling is over.

    Attributes:
        call: does one batch.
        resident: weights, buffers and, last, the images that it works on.
        parameters: parameters of the model, counted on it.
        extra: readings of getting ready: ``compile_s`` (seconds of the first call, which
            compiles) or ``capture_s`` (seconds until the CUDA graph was captured).
    """

    call: Callable[[], Any]
    resident: tuple[torch.Tensor, ...]
    parameters: int = 0
    extra: dict[str, float] = field(default_factory=dict)


_KEPT: ContextVar[dict[Architecture, tuple[torch.nn.Module, torch.Tensor]] | None]
_KEPT = ContextVar("_KEPT", default=None)
"""Models as they were built, with the generator's state afterwards; None: none are kept."""


@contextmanager
def models_kept() -> Iterator[None]:
    """Within the block ``prepare`` builds each architecture once, on the CPU, and copies it.

    Drawing the weights of a large one takes longer than measuring it on a GPU. Weights and images
    are the same to the last bit as without; the models are gone after the outermost block.
    """
    kept = _KEPT.get()
    token = _KEPT.set({} if kept is None else kept)
    try:
        yield
    finally:
        _KEPT.reset(token)


def prepare(architecture: Architecture, workload: Workload, cost: Cost) -> Runnable:
    """Build the model and a batch of random images on the device; see ``prepare_module``.

    Raises DeviceError before anything is built where a CPU has not the memory for it.
    """
    check_device(workload, cost)
    return prepare_module(lambda: _built(architecture), architecture.in_chans, workload)


def _built(architecture: Architecture) -> torch.nn.Module:
    """A model under the seed that ``prepare_module`` has set."""
    import torch

    from dilnas.model import build_model

    kept = _KEPT.get()
    if kept is None:
        return build_model(architecture)
    if architecture not in kept:
        built = build_model(architecture)
        kept[architecture] = built, torch.default_generator.get_state()
    model, after = kept[architecture]
    torch.default_generator.set_state(after)  # the images are drawn next
    return copy.deepcopy(model)


def prepare_module(
    build: Callable[[], torch.nn.Module],
    in_chans: int,
    workload: Workload,
    *,
    several: bool = False,
) -> Runnable:
    """Put the module that ``build()`` returns and a batch of random images on the device.

    The batch is (batch_size, in_chans, height, width), normal. fp16 and bf16: for inference
    weights and images are cast; for training weights stay fp32 and autocast casts the operators.
    Training is forward and backward, without an optimiser step. ``channels_last`` is the memory
    format of images and 4-d weights. Random numbers come from seed 0 and the caller's random state
    is left alone. What ``build`` raises passes through. Raises DeviceError where the device cannot
    do it, it does not fit or does not compile, InputError for a model that does not return one
    tensor; ``several``: a list of them, as a feature pyramid does.
    """
    import torch

    check_device(workload)
    device, train = torch.device(workload.device), workload.mode == "train"
    half = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(workload.dtype)
    with fits(workload), _left_alone(device):
        model = build()
        images = torch.randn((workload.batch_size, in_chans, workload.height, workload.width))
        layout = torch.channels_last if workload.channels_last else torch.contiguous_format
        cast = None if half is None or train else half
        model = model.train(train).to(device=device, dtype=cast)
        images = images.to(device=device, dtype=cast, memory_format=layout)
        if workload.channels_last:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,unused-ignore]
        call, extra = _ready(model, images, workload, half, maps if several else one_tensor)
    return Runnable(
        call=call,
        resident=(*model.parameters(), *model.buffers(), images),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        extra=extra,
    )


@contextmanager
def _left_alone(device: torch.device) -> Iterator[None]:
    """Seed 0 inside, the caller's random state afterwards; gradients as torch starts with them."""
    import torch

    where = [_index(device)] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=where), torch.inference_mode(False), torch.enable_grad():
        # Not torch.manual_seed: that would seed all GPUs, and only this one's state is kept.
        torch.default_generator.manual_seed(0)
        yield


def _ready(
    model: torch.nn.Module,
    images: torch.Tensor,
    workload: Workload,
    half: torch.dtype | None,
    checked: Callable[[object], list[torch.Tensor]],
) -> tuple[Callable[[], Any], dict[str, float]]:
    """The call, run once and, if so asked, compiled or captured."""
    from dilnas.measure.compiled import captured, compiled, compiling

    train, compile_it = workload.mode == "train", workload.compile == "compile"
    forward = compiled(model) if compile_it else model
    call = (
        _training_step(model, forward, images, half, checked)
        if train
        else _inference(forward, images)
    )
    begin = time.perf_counter()
    with compiling() if compile_it else nullcontext():
        out = call()
        _synchronize(images.device)
    seconds = time.perf_counter() - begin
    if not train:
        checked(out)
    del out
    if workload.compile == "graph":
        return captured(call, images.device)
    return call, {"compile_s": seconds} if compile_it else {}


def _inference(forward: Callable[[torch.Tensor], Any], images: torch.Tensor) -> Callable[[], Any]:
    import torch

    def call() -> Any:
        with torch.inference_mode():
            return forward(images)

    return call


def _training_step(
    model: torch.nn.Module,
    forward: Callable[[torch.Tensor], Any],
    images: torch.Tensor,
    half: torch.dtype | None,
    checked: Callable[[object], list[torch.Tensor]],
) -> Callable[[], Any]:
    import torch

    def call() -> Any:
        model.zero_grad(set_to_none=True)
        with torch.enable_grad():
            with torch.autocast(images.device.type, half) if half is not None else nullcontext():
                outs = checked(forward(images))
            # Any scalar of the output will do: the loss is 0.01 % of the work.
            losses: list[Any] = [out.float().square().mean() for out in outs]
            return sum(losses[1:], losses[0]).backward()

    return call


def one_tensor(out: object) -> list[torch.Tensor]:
    """``out`` alone if it is a tensor; InputError for a tuple, a dict or anything else."""
    import torch

    if not isinstance(out, torch.Tensor):
        raise InputError("a model must return one tensor", got=f"a {type(out).__name__}")
    return [out]


def maps(out: object) -> list[torch.Tensor]:
    """``out`` if it is a list of tensors; InputError for anything else."""
    import torch

    found = list(out) if isinstance(out, list | tuple) else []
    if not found or not all(isinstance(one, torch.Tensor) for one in found):
        raise InputError("a pyramid must return a list of maps", got=f"a {type(out).__name__}")
    return found


def _index(device: torch.device) -> int:
    import torch

    return torch.cuda.current_device() if device.index is None else device.index


def _synchronize(device: torch.device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
