"""Which closed form of memory a workload has, if any."""

from __future__ import annotations

from dilnas.arch import Architecture
from dilnas.cost.memory import (
    inference_peak_bytes,
    training_peak_bytes,
    why_no_training_form,
)
from dilnas.cost.memory_mixed import mixed_peak_bytes
from dilnas.records import Workload

__all__ = ["FUSED", "PORTABLE", "closed_form"]

PORTABLE, FUSED = "portable", "fused"
"""How MSDA ran: as portable PyTorch, or as the operator ``dilnas::msda`` on Triton's kernels. The
closed form depends on it: the fused one holds no logits and no probabilities."""


def closed_form(
    architecture: Architecture, workload: Workload, msda: str = PORTABLE
) -> tuple[int | None, str]:
    """(bytes that tensors hold at their peak, "") or (None, why there is no closed form).

    ``msda``: how MSDA was seen to run; only PORTABLE and FUSED are modelled.
    """
    if msda not in (PORTABLE, FUSED):
        return None, f"no closed form with MSDA {msda}"
    half = workload.dtype in ("fp16", "bf16")
    fused = msda == FUSED or not any(stage.msda_depth for stage in architecture.stages)
    if why := _why_no_form(workload, fused):
        return None, why
    size = (workload.height, workload.width, workload.batch_size)
    last = workload.channels_last
    if workload.mode == "inference":
        width = 2 if half else 4
        found = inference_peak_bytes(architecture, *size, width, channels_last=last, fused=fused)
    elif half:
        found = mixed_peak_bytes(architecture, *size, channels_last=last)
    else:
        found = training_peak_bytes(architecture, *size, channels_last=last, fused=fused)
    return found, ""


def _why_no_form(workload: Workload, fused: bool) -> str:
    if workload.mode == "train":
        return why_no_training_form(workload.dtype, workload.compile, workload.device, fused=fused)
    if workload.compile != "eager":
        return f"no closed form under {workload.compile}: kernels are fused"
    return ""
