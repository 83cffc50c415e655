"""Memory of any architecture in closed form, part by part: exact for tensors, no device needed.

``dilnas.cost.memory`` has the formulas and what is counted: every tensor that is alive. What a
kernel takes inside is not, but for the one that matters on a CPU: a strided convolution brings its
weights into an order of its own, and the last of them has the largest weights of the network.
"""

from __future__ import annotations

from dataclasses import dataclass

from dilnas.arch import Architecture
from dilnas.cost import cost
from dilnas.cost.memory_form import HALF_TYPES, memory_form
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
    form = memory_form(
        architecture, workload, fused=fused,
        reordered=REORDERED[workload.mode] if workload.device == "cpu" else 0,
    )  # fmt: skip
    train = workload.mode == "train"
    # A training step's own weights are fp32 whatever it computes in.
    width = 2 if workload.dtype in HALF_TYPES and not train else 4
    states = 4 * params * OPTIMIZERS[optimizer] if train else 0
    return MemoryForecast(
        weights_bytes=width * params, gradients_bytes=width * params if train else 0,
        optimizer_bytes=states, kept_bytes=form.kept_bytes,
        peak_bytes=None if form.peak_bytes is None else form.peak_bytes + states, why=form.why,
    )  # fmt: skip
