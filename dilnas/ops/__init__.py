"""Operators: multi-scale dilated attention behind one door."""

from dilnas.ops.msda import BACKENDS, ENVIRONMENT_VARIABLE, backends_on, msda
from dilnas.ops.operator import msda_scriptable

__all__ = ["BACKENDS", "ENVIRONMENT_VARIABLE", "backends_on", "msda", "msda_scriptable"]
