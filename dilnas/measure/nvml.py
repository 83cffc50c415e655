"""What NVML says of a GPU; where it says nothing, the reason in words.

``Gpu.of(index)`` never raises: without the library, the driver or the permission it returns a Gpu
whose readings are empty and carry the reason, and the measurement shows it as a doubt.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Gpu", "GpuReading"]

# nvml.h, nvmlClocksEventReasons: idle and user-set clocks are no doubt, these are.
_REASONS = {
    0x0000000000000004: "power cap",
    0x0000000000000008: "hardware slowdown",
    0x0000000000000020: "thermal slowdown (software)",
    0x0000000000000040: "thermal slowdown (hardware)",
    0x0000000000000080: "power brake",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """One look at a GPU; None where NVML has no answer, ``absent`` where there is no NVML.

    Units are in the names; ``energy_j`` counts since the driver was loaded. ``missing`` names the
    readings that NVML refused. ``other_processes`` counts compute processes but this one.
    """

    absent: str = ""
    missing: tuple[str, ...] = ()
    sm_clock_mhz: int | None = None
    base_clock_mhz: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    default_power_limit_w: float | None = None
    energy_j: float | None = None
    throttle_reasons: tuple[str, ...] = ()
    other_processes: int | None = None
    mig: bool | None = None


@dataclass(slots=True)
class Gpu:
    """One device of NVML, or the reason why there is none."""

    library: Any = None
    handle: Any = None
    absent: str = ""
    _missing: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, uuid: str) -> Gpu:
        """The GPU with this UUID ("GPU-…" or without the prefix): indices differ between CUDA
        and NVML when CUDA_VISIBLE_DEVICES is set."""
        try:
            import pynvml
        except ImportError:
            return cls(absent="the package nvidia-ml-py is not installed")
        name = uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"
        try:
            pynvml.nvmlInit()
            return cls(library=pynvml, handle=pynvml.nvmlDeviceGetHandleByUUID(name))
        except pynvml.NVMLError as error:
            return cls(absent=f"NVML: {error}")

    def read(self) -> GpuReading:
        """Everything that NVML tells now."""
        if self.absent:
            return GpuReading(absent=self.absent)
        n, h = self.library, self.handle
        self._missing.clear()
        limit = self._ask("power limit", lambda: n.nvmlDeviceGetEnforcedPowerLimit(h))
        default = self._ask("default limit", lambda: n.nvmlDeviceGetPowerManagementDefaultLimit(h))
        power = self._ask("power", lambda: n.nvmlDeviceGetPowerUsage(h))
        energy = self._ask("energy", lambda: n.nvmlDeviceGetTotalEnergyConsumption(h))
        reasons = self._ask("throttling", lambda: n.nvmlDeviceGetCurrentClocksThrottleReasons(h))
        running = self._ask("processes", lambda: n.nvmlDeviceGetComputeRunningProcesses(h))
        return GpuReading(
            sm_clock_mhz=self._ask("clock", lambda: n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_SM)),
            base_clock_mhz=self._ask(
                "base clock", lambda: n.nvmlDeviceGetDefaultApplicationsClock(h, n.NVML_CLOCK_SM)
            ),
            temperature_c=self._ask(
                "temperature", lambda: n.nvmlDeviceGetTemperature(h, n.NVML_TEMPERATURE_GPU)
            ),
            power_w=None if power is None else power / 1e3,
            power_limit_w=None if limit is None else limit / 1e3,
            default_power_limit_w=None if default is None else default / 1e3,
            energy_j=None if energy is None else energy / 1e3,
            throttle_reasons=tuple(text for bit, text in _REASONS.items() if (reasons or 0) & bit),
            other_processes=(
                None if running is None else sum(p.pid != os.getpid() for p in running)
            ),
            mig=self._mig(),
            missing=tuple(self._missing),
        )

    def driver(self) -> str | None:
        """Driver version; None when not told."""
        if self.absent:
            return None
        version = self._ask("driver", self.library.nvmlSystemGetDriverVersion)
        return version.decode() if isinstance(version, bytes) else version

    def _ask(self, name: str, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except self.library.NVMLError:
            self._missing.append(name)
            return None

    def _mig(self) -> bool | None:
        try:
            return bool(self.library.nvmlDeviceGetMigMode(self.handle)[0])
        except self.library.NVMLError:
            return None  # consumer GPUs have no MIG: nothing is missing
