"""Multi-scale dilated attention: one function, ``msda``, behind which the backends stand."""

from dilnas.ops.msda import BACKENDS, msda

__all__ = ["BACKENDS", "msda"]
