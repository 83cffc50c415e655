"""Exact cost in closed form, Pareto fronts and the spectral score: no torch.

``cost`` needs no numpy either; what does is imported when it is first asked for.

    >>> from dilnas import variant
    >>> from dilnas.cost import cost
    >>> cost(variant("tiny")).flops
    3177221696
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dilnas.cost.closed_form import cost
from dilnas.lazy import lazy_names

if TYPE_CHECKING:
    from dilnas.cost.arrays import CostArrays, columns_of, cost_arrays
    from dilnas.cost.dense import detection_cost, pyramid_cost, segmentation_cost, task_cost
    from dilnas.cost.front import hypervolume, pareto_mask, pareto_ranks
    from dilnas.cost.spectral import nsc, nsc_many

__all__ = [
    "CostArrays",
    "columns_of",
    "cost",
    "cost_arrays",
    "detection_cost",
    "hypervolume",
    "nsc",
    "nsc_many",
    "pareto_mask",
    "pareto_ranks",
    "pyramid_cost",
    "segmentation_cost",
    "task_cost",
]

_HOME = {
    "CostArrays": "arrays",
    "columns_of": "arrays",
    "cost_arrays": "arrays",
    "detection_cost": "dense",
    "hypervolume": "front",
    "pareto_mask": "front",
    "pareto_ranks": "front",
    "pyramid_cost": "dense",
    "segmentation_cost": "dense",
    "task_cost": "dense",
    "nsc": "spectral",
    "nsc_many": "spectral",
}

__getattr__, __dir__ = lazy_names(__name__, _HOME, ("cost",))
