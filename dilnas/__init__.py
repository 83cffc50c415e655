"""dilnas finds the DilateFormer that fits a budget and a device, and measures it.

>>> from dilnas import cost, variant
>>> cost(variant("tiny")).params
17238744
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dilnas.arch import Architecture, Stage
from dilnas.cost import cost
from dilnas.errors import DilnasError
from dilnas.export import export
from dilnas.search import search
from dilnas.variants import variant

if TYPE_CHECKING:
    from dilnas.measure import compare, profile
    from dilnas.model import build_model
    from dilnas.space import SearchSpace

__version__ = "0.1.0"

__all__ = [
    "Architecture",
    "DilnasError",
    "SearchSpace",
    "Stage",
    "__version__",
    "build_model",
    "compare",
    "cost",
    "export",
    "profile",
    "search",
    "variant",
]

# ``cost``, ``export`` and ``search`` are also the names of their rooms: they are bound here, once
# and early, so that ``dilnas.cost`` is the function for good. The others load numpy or torch on
# first use.
_LAZY = {
    "SearchSpace": "dilnas.space",
    "build_model": "dilnas.model",
    "compare": "dilnas.measure",
    "profile": "dilnas.measure",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'dilnas' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
