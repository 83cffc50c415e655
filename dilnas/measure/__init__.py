"""Latency, memory and energy of any callable, with what makes them doubtful; ``profile`` on top.

``measure_latency`` knows only a callable and a Workload; ``profile`` gives it a DilateFormer.
Torch is imported when something is run, not when this package is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dilnas.lazy import lazy_names

if TYPE_CHECKING:
    from dilnas.measure.breakdown import measure_breakdown
    from dilnas.measure.comparing import compare
    from dilnas.measure.energy import measure_energy
    from dilnas.measure.latency import measure_latency
    from dilnas.measure.machine import choose_device, environment
    from dilnas.measure.memory import measure_memory
    from dilnas.measure.profiling import profile
    from dilnas.measure.rates import measure_rates
    from dilnas.measure.sampling import Protocol, median_interval
    from dilnas.measure.sweeping import sweep

__all__ = [
    "Protocol",
    "choose_device",
    "compare",
    "environment",
    "measure_breakdown",
    "measure_energy",
    "measure_latency",
    "measure_memory",
    "measure_rates",
    "median_interval",
    "profile",
    "sweep",
]

_HOMES = {
    "Protocol": "sampling",
    "choose_device": "machine",
    "compare": "comparing",
    "environment": "machine",
    "measure_breakdown": "breakdown",
    "measure_energy": "energy",
    "measure_latency": "latency",
    "measure_memory": "memory",
    "measure_rates": "rates",
    "median_interval": "sampling",
    "profile": "profiling",
    "sweep": "sweeping",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
