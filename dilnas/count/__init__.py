"""Third-party counters, run on dilnas's own model and held against ``dilnas.cost``."""

from __future__ import annotations

from dilnas.count.by_fvcore import fvcore_count

__all__ = ["fvcore_count"]
