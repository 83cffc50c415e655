"""Operators: multi-scale dilated attention behind one door, and derivatives for compilers."""

from dilnas.ops.derivatives import depthwise, gelu
from dilnas.ops.msda import BACKENDS, ENVIRONMENT_VARIABLE, backends_on, msda
from dilnas.ops.operator import msda_scriptable

__all__ = [
    "BACKENDS",
    "ENVIRONMENT_VARIABLE",
    "backends_on",
    "depthwise",
    "gelu",
    "msda",
    "msda_scriptable",
]
