"""fvcore's count: it traces a real forward pass; one a multiply-add, norms 2 and 5 an element.

It runs on the CPU, for fvcore 0.1.5 cannot trace on torch's meta device (the meta kernels check
sizes in Python, and a tracer hands them tensors instead of integers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dilnas.arch import Architecture
from dilnas.errors import DependencyError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["fvcore_count", "fvcore_count_module", "run_fvcore"]


def fvcore_count(
    architecture: Architecture, height: int = 224, width: int | None = None
) -> dict[str, int]:
    """fvcore's count by operator for one image of ``height`` x ``width`` pixels, zeros left out.

    The network is built anew, so no model of the caller's is touched, and its MSDA is written as
    matrix products. ``dilnas.cost.cost(architecture, height, width).by_operator`` is equal.

    Raises:
        InputError: a side that the network's strides do not divide.
        DependencyError: fvcore cannot be imported.
        RuntimeError: the trace holds an operator of which fvcore cannot see the multiply-adds.
    """
    from dilnas.count.copies import sample_for
    from dilnas.count.visible import visible_model

    width = height if width is None else width
    architecture.check_input(height, width)
    model = visible_model(architecture, "cpu")
    return _seen(model, sample_for(model, (architecture.in_chans, height, width), "cpu"))


def fvcore_count_module(model: nn.Module, shape: tuple[int, ...]) -> dict[str, int]:
    """fvcore's count by operator of a copy of ``model`` for one input of ``shape`` (C, H, W).

    Raises:
        InputError: the model cannot be copied.
        DependencyError: fvcore cannot be imported.
        RuntimeError: the trace holds an operator of which fvcore cannot see the multiply-adds.
    """
    from dilnas.count.copies import copy_of, sample_for

    copied = copy_of(model, "cpu")
    return _seen(copied, sample_for(copied, shape, "cpu"))


def _seen(model: nn.Module, sample: Tensor) -> dict[str, int]:
    """``run_fvcore``, with an error instead of a zero for what fvcore cannot see."""
    from dilnas.count.blind import multiplies

    counts, skipped = run_fvcore(model, sample)
    blind = [name for name in skipped if multiplies(name)]
    if blind:
        raise RuntimeError(f"fvcore counts 0 for {', '.join(blind)}")
    return counts


def run_fvcore(module: nn.Module, sample: Tensor) -> tuple[dict[str, int], dict[str, int]]:
    """fvcore's count by operator, and how often each operator occurs that it counts as 0.

    Runs ``module`` itself. Raises DependencyError where fvcore cannot be imported.
    """
    from dilnas.count.copies import undisturbed

    try:
        from fvcore.nn import FlopCountAnalysis
    except (ImportError, RuntimeError) as error:  # a broken torchvision raises RuntimeError
        raise DependencyError(
            f"cannot be imported: {error}", where="fvcore", expected="pip install fvcore"
        ) from error
    with undisturbed():
        analysis = FlopCountAnalysis(module, sample)
        analysis.unsupported_ops_warnings(False)
        analysis.uncalled_modules_warnings(False)
        analysis.tracer_warnings("none")
        counts = analysis.by_operator()
        skipped = dict(analysis.unsupported_ops())
    return {name: int(count) for name, count in counts.items() if count}, skipped
