"""What is run, and where it was run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Environment", "Workload"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is run: one batch of images through a network.

    ``dtype``: fp32, tf32, fp16 or bf16. ``mode``: inference or train (forward + backward).
    ``compile``: eager, compile or graph. ``threads``: CPU threads of torch, 0 as found.
    """

    batch_size: int = 1
    height: int = 224
    width: int = 224
    dtype: str = "fp32"
    device: str = "cpu"
    mode: str = "inference"
    compile: str = "eager"
    channels_last: bool = False
    threads: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Where a measurement was made: enough to say why two of them differ.

    ``facts`` are the device's own readings by name (clock_mhz, temperature_c, driver, …).
    """

    device_name: str
    platform: str
    python: str
    torch: str
    dilnas: str
    threads: int
    facts: dict[str, Any] = field(default_factory=dict)
