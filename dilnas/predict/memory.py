"""Memory of any architecture in closed form, part by part: exact for tensors, no device needed.

``dilnas.cost.memory`` has the formulas and what is counted: every tensor that is alive. What a
kernel takes inside is not, but for the one that matters on a CPU: a strided convolution brings its
weights into an order of its own, and the last of them has the largest weights of the network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from dilnas.arch import Architecture
from dilnas.cost import cost
from dilnas.cost.memory import (
    inference_peak_bytes,
    saved_elements,
    training_peak_bytes,
    why_no_training_form,
)
from dilnas.cost.memory_mixed import mixed_peak_bytes, mixed_saved_bytes
from dilnas.errors import InputError
from dilnas.records import Workload

__all__ = ["OPTIMIZERS", "MemoryForecast", "memory_forecast"]

OPTIMIZERS = {"none": 0, "sgd": 1, "adamw": 2}
"""Copies of the parameters that an optimizer keeps in fp32: momentum; two moments."""

REORDERED = {"inference": 2, "train": 1}
"""Copies of a strided convolution's weights that oneDNN's kernels hold, as the allocator of a CPU
sees them (tests/predict/test_predict_memory.py); cuDNN works within its workspace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryForecast:
    """Bytes of one workload; None where there is no closed form, ``why`` says why.

    Attributes:
        weights_bytes: parameters, as they lie in memory.
        gradients_bytes: of the parameters, after the backward pass; 0 in inference.
        optimizer_bytes: what the optimizer keeps between steps; 0 in inference.
        kept_bytes: activations that the forward pass keeps for the backward pass.
        peak_bytes: most that the allocator hands out at once, all of the above, the images and
            what convolutions hold inside on a CPU included.
        why: why ``kept_bytes`` and ``peak_bytes`` are None.
    """

    weights_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    kept_bytes: int | None
    peak_bytes: int | None
    why: str = ""


def memory_forecast(
    architecture: Architecture,
    workload: Workload,
    *,
    fused: bool = False,
    optimizer: str = "adamw",
) -> MemoryForecast:
    """Memory of ``workload``: inference, or a training step.

    Args:
        architecture: the network.
        workload: batch, image, dtype, mode, compile, layout, and whether it is a CPU.
        fused: MSDA is the operator on Triton's kernels, not the portable one.
        optimizer: one of ``OPTIMIZERS``, for a training step: its states are there all the time.

    Raises InputError for an unknown optimizer and like ``cost``.
    """
    if optimizer not in OPTIMIZERS:
        raise InputError(
            "unknown optimizer", where="--optimizer", expected=" | ".join(OPTIMIZERS),
            got=optimizer,
        )  # fmt: skip
    params = cost(architecture, workload.height, workload.width).params
    size = (workload.height, workload.width, workload.batch_size)
    layout: dict[str, Any] = {"channels_last": workload.channels_last, "fused": fused}
    layout["reordered"] = REORDERED[workload.mode] if workload.device == "cpu" else 0
    width = 2 if workload.dtype in ("fp16", "bf16") else 4
    if workload.mode == "inference":
        known = workload.compile == "eager"
        return MemoryForecast(
            weights_bytes=params * width, gradients_bytes=0, optimizer_bytes=0,
            kept_bytes=0 if known else None,
            peak_bytes=inference_peak_bytes(architecture, *size, width, **layout)
            if known else None,
            why="" if known else f"no closed form under {workload.compile}: kernels are fused",
        )  # fmt: skip
    states = 4 * params * OPTIMIZERS[optimizer]
    out = MemoryForecast(
        weights_bytes=4 * params, gradients_bytes=4 * params, optimizer_bytes=states,
        kept_bytes=None, peak_bytes=None,
        why=why_no_training_form(workload.dtype, workload.compile, workload.device, fused=fused),
    )  # fmt: skip
    if out.why:
        return out
    if width == 2:
        last = workload.channels_last
        return replace(
            out,
            kept_bytes=mixed_saved_bytes(architecture, *size, channels_last=last),
            peak_bytes=mixed_peak_bytes(architecture, *size, channels_last=last) + states,
        )
    return replace(
        out,
        kept_bytes=4
        * saved_elements(architecture, *size, channels_last=workload.channels_last, fused=fused),
        peak_bytes=training_peak_bytes(architecture, *size, **layout) + states,
    )
