"""Third-party counters, run on networks built anew or on copies and held against ``dilnas.cost``.

``reconcile`` explains every difference to the closed form; ``count_module`` counts any module;
``blind_spots`` names what a counter does not see in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dilnas.lazy import lazy_names

if TYPE_CHECKING:
    from dilnas.count.blind import BlindSpot, blind_spots
    from dilnas.count.by_fvcore import fvcore_count
    from dilnas.count.by_ptflops import ptflops_count
    from dilnas.count.by_torch import torch_count
    from dilnas.count.module import ModuleCount, count_module
    from dilnas.count.reconciling import COUNTERS, check_reconciled, reconcile

__all__ = [
    "COUNTERS",
    "BlindSpot",
    "ModuleCount",
    "blind_spots",
    "check_reconciled",
    "count_module",
    "fvcore_count",
    "ptflops_count",
    "reconcile",
    "torch_count",
]

_HOMES = {
    "COUNTERS": "reconciling",
    "BlindSpot": "blind",
    "ModuleCount": "module",
    "blind_spots": "blind",
    "check_reconciled": "reconciling",
    "count_module": "module",
    "fvcore_count": "by_fvcore",
    "ptflops_count": "by_ptflops",
    "reconcile": "reconciling",
    "torch_count": "by_torch",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
