"""fvcore's count of an architecture: it traces a real forward pass of the built model.

It runs on the CPU, for fvcore 0.1.5 cannot trace on torch's meta device (the meta kernels check
sizes in Python, and a tracer hands them tensors instead of integers).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from dilnas.arch import Architecture
from dilnas.errors import DependencyError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["UNCOUNTED", "fvcore_count", "fvcore_count_module"]

UNCOUNTED = ("scaled_dot_product_attention", "einsum", "native_multi_head_attention", "dilnas::")
"""Operators that do multiply-adds and that fvcore counts as 0: none may occur in a trace."""


def fvcore_count(
    architecture: Architecture, height: int = 224, width: int | None = None
) -> dict[str, int]:
    """fvcore's count by operator for one image of ``height`` x ``width`` pixels, zeros left out.

    The network is built anew with random weights, so no model of the caller's is touched.
    ``dilnas.cost.cost(architecture, height, width).by_operator`` is equal.

    Raises:
        InputError: a side that the network's strides do not divide.
        DependencyError: fvcore cannot be imported.
        RuntimeError: the trace holds an operator of which fvcore cannot see the multiply-adds.
    """
    from dilnas.model import build_model

    width = height if width is None else width
    architecture.check_input(height, width)
    model = build_model(architecture).eval()
    return fvcore_count_module(model, (architecture.in_chans, height, width))


def fvcore_count_module(model: nn.Module, shape: tuple[int, int, int]) -> dict[str, int]:
    """fvcore's count by operator of ``model``, on the CPU, for one image of ``shape`` (C, H, W).

    Raises like ``fvcore_count``.
    """
    import torch

    try:
        from fvcore.nn import FlopCountAnalysis
    except (ImportError, RuntimeError) as error:  # a broken torchvision raises RuntimeError
        raise DependencyError(
            f"cannot be imported: {error}", where="fvcore", expected="pip install fvcore"
        ) from error
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        analysis = FlopCountAnalysis(model, torch.zeros(1, *shape))
        analysis.unsupported_ops_warnings(False)
        analysis.uncalled_modules_warnings(False)
        analysis.tracer_warnings("none")
        counts = analysis.by_operator()
        skipped = analysis.unsupported_ops()
    blind = [name for name in skipped if any(part in name for part in UNCOUNTED)]
    if blind:
        raise RuntimeError(f"fvcore counts 0 for {', '.join(blind)}")
    return {name: int(count) for name, count in counts.items() if count}
