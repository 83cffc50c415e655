"""Who is looking: whether a program is being exported, or a training step compiled."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["compiles_training", "exporting"]


def exporting() -> bool:
    """Whether ``torch.export`` traces.

    ``torch.compiler.is_exporting()`` says so too, but torch 2.11 takes it for true in everything
    that ``torch.compile`` traces.
    """
    return torch.compiler._is_exporting_flag


def compiles_training(x: Tensor) -> bool:
    """Whether ``torch.compile`` traces a step that will ask for ``x``'s gradient.

    Not under ``torch.func``, which has derivatives of its own.
    """
    return (
        torch.compiler.is_compiling()
        and not exporting()
        and torch.is_grad_enabled()
        and x.requires_grad
        and not torch._C._are_functorch_transforms_active()
    )
