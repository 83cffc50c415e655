"""Latency, memory and energy of any callable, with what makes them doubtful; ``profile`` on top.

``measure_latency`` knows only a callable and a Workload; ``profile`` gives it a DilateFormer.
Torch is imported when something is run, not when this package is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dilnas.lazy import lazy_names

if TYPE_CHECKING:
    from dilnas.measure.latency import measure_latency
    from dilnas.measure.machine import choose_device, environment
    from dilnas.measure.profiling import profile
    from dilnas.measure.sampling import Protocol, median_interval

__all__ = [
    "Protocol",
    "choose_device",
    "environment",
    "measure_latency",
    "median_interval",
    "profile",
]

_HOMES = {
    "Protocol": "sampling",
    "choose_device": "machine",
    "environment": "machine",
    "measure_latency": "latency",
    "median_interval": "sampling",
    "profile": "profiling",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
