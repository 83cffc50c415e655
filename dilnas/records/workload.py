"""What is run, and where it was run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Environment", "Workload"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is run: one batch of images through a network.

    Attributes:
        batch_size: images in a batch.
        height, width: of an image, in pixels.
        dtype: fp32 (TF32 off), tf32, fp16 or bf16.
        device: torch's name of it: cpu, cuda, cuda:1; "none" where only the cost was counted.
        mode: inference, or train: forward and backward.
        compile: eager, compile (``torch.compile``) or graph (CUDA graph).
        channels_last: whether images and weights are in channels-last layout.
        threads: CPU threads that torch was told to use; 0 as found.
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

    ``facts`` are the device's own readings and the settings in force by name, units in the names
    (sm_clock_mhz, temperature_c, memory_bytes; driver, affinity, TF32, …). ``threads`` are the CPU
    threads that torch had.
    """

    device_name: str
    platform: str
    python: str
    torch: str
    dilnas: str
    threads: int
    facts: dict[str, Any] = field(default_factory=dict)

    def other_device(self, other: Environment) -> str:
        """What tells the two devices apart, "" where nothing does, for a line that compares them.

        A virtual machine's processor may be called "Intel(R) Xeon(R) Processor" whatever it is, so
        its family, model and stepping are compared too, where both sides know them.
        """
        if self.device_name != other.device_name:
            return self.device_name
        mine, others = (each.facts.get("cpu_model") for each in (self, other))
        return f"{self.device_name} ({mine})" if mine and others and mine != others else ""
