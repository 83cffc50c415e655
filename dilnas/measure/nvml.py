"""What NVML says of a GPU; where it says nothing, the reason in words.

``Gpu.of(uuid)`` never raises: without the library, the driver or the permission it returns a Gpu
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
    0x0000000000000010: "sync boost with other GPUs",
    0x0000000000000020: "thermal slowdown (software)",
    0x0000000000000040: "thermal slowdown (hardware)",
    0x0000000000000080: "power brake",
}

_NOT_AVAILABLE = (2**32 - 1, 2**64 - 1)
"""nvml.h, NVML_VALUE_NOT_AVAILABLE: all bits set, in 32 or 64 of them."""

_TEMPERATURES = range(60, 126)
"""°C at which a GPU may slow down: newer drivers answer some with a margin, such as -2, instead."""

DEFAULT_CLOCK = "default application clock"
MAXIMUM_CLOCK = "maximum clock"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """One look at a GPU; None where NVML has no answer, ``absent`` where there is no NVML.

    Units are in the names; ``energy_j`` counts since the driver was loaded. ``missing`` names the
    readings that NVML refused. ``base_clock_mhz`` is the clock that ``base_clock_kind`` names: the
    default application clock, or the maximum clock where the driver no longer tells the former.
    ``slowdown_temperature_c`` is where the hardware slows down. ``other_processes`` counts compute
    processes but this one; where process numbers are those of another namespace (a container),
    one of those listed is taken to be this one.
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
    base_clock_kind: str | None = None
    slowdown_temperature_c: int | None = None


@dataclass(slots=True)
class Gpu:
    """One device of NVML, or the reason why there is none."""

    library: Any = None
    handle: Any = None
    absent: str = ""
    _missing: list[str] = field(default_factory=list)
    _fixed: dict[str, Any] | None = None
    """What does not change while a driver is loaded, and what of it NVML refused."""

    @classmethod
    def of(cls, uuid: str) -> Gpu:
        """The GPU with this UUID ("GPU-…", "MIG-…" or without prefix).

        Not by index: indices differ between CUDA and NVML when CUDA_VISIBLE_DEVICES is set. For a
        MIG slice it is the whole GPU, which is what clocks, power and the energy counter are of.
        """
        try:
            import pynvml
        except ImportError:
            return cls(absent="the package nvidia-ml-py is not installed")
        try:
            pynvml.nvmlInit()
            return cls(library=pynvml, handle=_handle(pynvml, uuid))
        except pynvml.NVMLError as error:
            return cls(absent=f"NVML: {error}")

    def read(self) -> GpuReading:
        """Everything that NVML tells now; takes milliseconds. The clock is asked for first."""
        if self.absent:
            return GpuReading(absent=self.absent)
        n, h = self.library, self.handle
        self._missing.clear()
        clock = self._ask("clock", lambda: n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_SM))
        reasons = self._ask("throttling", lambda: _reasons(n, h))
        power = self._ask("power", lambda: n.nvmlDeviceGetPowerUsage(h))
        temperature = self._ask(
            "temperature", lambda: n.nvmlDeviceGetTemperature(h, n.NVML_TEMPERATURE_GPU)
        )
        limit = self._ask("power limit", lambda: n.nvmlDeviceGetEnforcedPowerLimit(h))
        energy = self._ask("energy", lambda: n.nvmlDeviceGetTotalEnergyConsumption(h))
        others = self._ask("processes", lambda: _others(n, h))
        fixed = self._fixed_readings()
        return GpuReading(
            sm_clock_mhz=clock,
            throttle_reasons=tuple(text for bit, text in _REASONS.items() if (reasons or 0) & bit),
            power_w=_thousandth(power),
            temperature_c=temperature,
            power_limit_w=_thousandth(limit),
            energy_j=_thousandth(energy),
            other_processes=others,
            missing=tuple(self._missing),
            **fixed,
        )

    def energy_j(self) -> float | None:
        """The total-energy counter alone, in joules: one question, for reading it often."""
        if self.absent:
            return None
        n, h = self.library, self.handle
        return _thousandth(self._quietly(lambda: n.nvmlDeviceGetTotalEnergyConsumption(h)))

    def driver(self) -> str | None:
        """Driver version; None when not told."""
        if self.absent:
            return None
        version = self._quietly(lambda: self.library.nvmlSystemGetDriverVersion())  # noqa: PLW0108
        return version.decode() if isinstance(version, bytes) else version

    def _fixed_readings(self) -> dict[str, Any]:
        """Asked for once: each question costs, and these answers stay. Notes what is missing."""
        n, h = self.library, self.handle
        if self._fixed is None:
            before = len(self._missing)
            base, kind = self._base_clock()
            default = self._ask(
                "default limit", lambda: n.nvmlDeviceGetPowerManagementDefaultLimit(h)
            )
            refused = self._missing[before:]
            # No doubt where it is not told: consumer GPUs have no MIG, Hopper tells a margin.
            slowdown = self._quietly(
                lambda: n.nvmlDeviceGetTemperatureThreshold(
                    h, n.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
                )
            )
            mig = self._quietly(lambda: n.nvmlDeviceGetMigMode(h)[0])
            self._fixed = {
                "base_clock_mhz": base,
                "base_clock_kind": kind,
                "default_power_limit_w": _thousandth(default),
                "slowdown_temperature_c": slowdown if slowdown in _TEMPERATURES else None,
                "mig": None if mig is None else bool(mig),
                "refused": refused,
            }
        else:
            self._missing.extend(self._fixed["refused"])
        return {name: value for name, value in self._fixed.items() if name != "refused"}

    def _base_clock(self) -> tuple[int | None, str | None]:
        """Application clocks are deprecated since CUDA 13 and refused by some GPUs."""
        n, h = self.library, self.handle
        ways = (
            (DEFAULT_CLOCK, lambda: n.nvmlDeviceGetDefaultApplicationsClock(h, n.NVML_CLOCK_SM)),
            (MAXIMUM_CLOCK, lambda: n.nvmlDeviceGetMaxClockInfo(h, n.NVML_CLOCK_SM)),
        )
        for kind, question in ways:
            if clock := self._quietly(question):
                return clock, kind
        self._missing.append("base clock")
        return None, None

    def _ask(self, name: str, question: Callable[[], Any]) -> Any:
        answer = self._quietly(question)
        if answer is None:
            self._missing.append(name)
        return answer

    def _quietly(self, question: Callable[[], Any]) -> Any:
        """None where NVML refuses, has no value, or its library or ours lacks the function."""
        mismatch = getattr(self.library, "NVMLLibraryMismatchError", self.library.NVMLError)
        try:
            answer = question()
        except (self.library.NVMLError, mismatch, AttributeError):
            return None
        return None if isinstance(answer, int) and answer in _NOT_AVAILABLE else answer


def _handle(library: Any, uuid: str) -> Any:
    """NVML's handle of the whole GPU. Raises NVMLError.

    CUDA gives the UUID without its prefix; under MIG it is that of the slice.
    """
    bare = uuid.removeprefix("GPU-").removeprefix("MIG-")
    if not uuid.startswith("MIG-"):
        try:
            return library.nvmlDeviceGetHandleByUUID(f"GPU-{bare}")
        except library.NVMLError as error:
            first = error
    else:
        first = None
    try:
        part = library.nvmlDeviceGetHandleByUUID(f"MIG-{bare}")
    except library.NVMLError as error:
        raise (first or error) from error
    return library.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(part)


def _reasons(library: Any, handle: Any) -> int:
    """Bits of why clocks are held back; the question was renamed in driver 535."""
    try:
        return int(library.nvmlDeviceGetCurrentClocksEventReasons(handle))
    except (library.NVMLError, AttributeError):
        return int(library.nvmlDeviceGetCurrentClocksThrottleReasons(handle))


def _others(library: Any, handle: Any) -> int:
    """Compute processes but this one, which has its context on the GPU when this is asked."""
    listed = {process.pid for process in library.nvmlDeviceGetComputeRunningProcesses(handle)}
    return len(listed - {os.getpid()}) if os.getpid() in listed else max(len(listed) - 1, 0)


def _thousandth(value: int | None) -> float | None:
    return None if value is None else value / 1e3
