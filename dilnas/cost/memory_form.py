"""Which closed form of memory a workload has, if any, and what it says."""

from __future__ import annotations

from dataclasses import dataclass

from dilnas.arch import Architecture
from dilnas.cost.memory import inference_peak_bytes, saved_elements, training_peak_bytes
from dilnas.cost.memory_mixed import mixed_peak_bytes, mixed_saved_bytes
from dilnas.records import Workload

__all__ = ["HALF_TYPES", "MemoryForm", "memory_form"]

HALF_TYPES = ("fp16", "bf16")
"""Types of half the width: of weights and activations in inference, under autocast in training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryForm:
    """Bytes of tensors in a workload's step; both None where there is no form, ``why`` says why.

    Attributes:
        kept_bytes: activations that the forward pass keeps for the backward pass; 0 in inference.
        peak_bytes: most that tensors hold at once, weights and images included.
        why: why both are None.
    """

    kept_bytes: int | None = None
    peak_bytes: int | None = None
    why: str = ""


def memory_form(
    architecture: Architecture, workload: Workload, *, fused: bool, reordered: int = 0
) -> MemoryForm:
    """The closed form of ``workload``: eager, in inference or in a training step.

    Args:
        architecture: the network.
        workload: its batch, image, dtype, mode, compile, layout and device count.
        fused: MSDA is the operator on Triton's kernels, not the portable one.
        reordered: as in ``training_peak_bytes``.

    Raises InputError like ``cost``.
    """
    # Without MSDA there is nothing to be fused: both forms are the same one.
    fused = fused or not any(stage.msda_depth for stage in architecture.stages)
    if why := _why_none(workload, fused):
        return MemoryForm(why=why)
    size = (workload.height, workload.width, workload.batch_size)
    last, half = workload.channels_last, workload.dtype in HALF_TYPES
    if workload.mode == "inference":
        peak = inference_peak_bytes(
            architecture, *size, 2 if half else 4, channels_last=last, fused=fused,
            reordered=reordered,
        )  # fmt: skip
        return MemoryForm(kept_bytes=0, peak_bytes=peak)
    if half:
        return MemoryForm(
            kept_bytes=mixed_saved_bytes(architecture, *size, channels_last=last),
            peak_bytes=mixed_peak_bytes(architecture, *size, channels_last=last),
        )
    return MemoryForm(
        kept_bytes=4 * saved_elements(architecture, *size, channels_last=last, fused=fused),
        peak_bytes=training_peak_bytes(
            architecture, *size, channels_last=last, fused=fused, reordered=reordered
        ),
    )


def _why_none(workload: Workload, fused: bool) -> str:
    """Why no closed form covers ``workload``; "" where one does."""
    train = workload.mode == "train"
    step = "no closed form of a training step" if train else "no closed form"
    if workload.compile != "eager":
        return f"{step} under {workload.compile}: kernels are fused"
    if not train or workload.dtype not in HALF_TYPES:
        return ""
    if not workload.device.startswith("cuda"):
        return f"{step} in {workload.dtype} on a CPU: its autocast is another"
    return "" if fused else f"{step} in {workload.dtype} with portable MSDA"
