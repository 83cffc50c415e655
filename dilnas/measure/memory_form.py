"""How MSDA was seen to run, and the closed form of memory that belongs to it."""

from __future__ import annotations

from dilnas.arch import Architecture
from dilnas.cost.memory_form import memory_form
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
    form = memory_form(architecture, workload, fused=msda == FUSED)
    return form.peak_bytes, form.why
