"""What a measurement needs of a device, and nothing more: run, clock, look, doubt.

    CpuDevice     perf_counter around a call; /proc/stat as evidence
    CudaDevice    CUDA events and two wall times around a call; NVML as evidence
    ReplayDevice  recorded runs and readings, so that every rule is tested without the hardware
    NullDevice    no device: answers every question with what is missing

A protocol that only speaks to a ``Device`` cannot tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, TypeAlias

from dilnas.errors import DeviceError
from dilnas.measure.cpu import CpuUse
from dilnas.measure.nvml import GpuReading
from dilnas.records import Environment

__all__ = ["Device", "Look", "NullDevice", "Run", "open_device"]

Look: TypeAlias = CpuUse | GpuReading
"""What a device tells of itself at one moment."""


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds of ``calls`` calls in a row, the device idle before the first and after the last.

    Attributes:
        device_s: what the device worked: the sample. On a CPU the same as ``wall_s``.
        wall_s: from the start until the device was idle again, on the host's clock.
        enqueue_s: until the host had handed over the work; None where it does the work itself.
        calls: how many calls; the seconds are of all of them.
    """

    device_s: float
    wall_s: float
    enqueue_s: float | None = None
    calls: int = 1


class Device(Protocol):
    """One device for one measurement. Only ``run`` raises what the callable raises."""

    name: str
    """As in a Workload: "cpu", "cuda:0"."""

    def clock(self) -> float:
        """Seconds since some fixed moment, for limits and windows."""

    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass without work: idle draw, cool-down."""

    def run(self, call: Callable[[], object], calls: int = 1) -> Run:
        """``calls`` calls in a row, the device idle before and after."""

    def synchronize(self) -> None:
        """Wait until the device is idle."""

    def look(self) -> Look:
        """What the device tells of itself now; never raises, says what is absent instead."""

    def energy_j(self) -> float | None:
        """The device's energy counter in joules, read quickly; None where there is none."""

    def doubts(self, looks: Sequence[Look]) -> list[str]:
        """Doubts from looks taken before, during and after the samples.

        The first of several looks may be of an idle device: its clock raises no doubt.
        """

    def evidence(self, looks: Sequence[Look]) -> dict[str, Any]:
        """The looks as plain data for ``Measurement.extra``, a unit in every name."""

    def environment(self) -> Environment:
        """Where this is."""


class NullDevice:
    """No device, and why: what can be answered without one says ``why``, what cannot raises it."""

    name = "none"

    def __init__(self, why: str) -> None:
        self.why = why

    def _refuse(self) -> NoReturn:
        raise DeviceError(f"nothing can be measured: {self.why}", where="--device")

    def clock(self) -> float:
        """No time passes."""
        return 0.0

    def sleep(self, seconds: float) -> None:
        """Returns at once."""

    def run(self, call: Callable[[], object], calls: int = 1) -> Run:
        """Raises DeviceError with the reason."""
        self._refuse()

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def look(self) -> Look:
        """A reading that is absent, with the reason."""
        return GpuReading(absent=self.why)

    def energy_j(self) -> float | None:
        """There is no counter."""
        return None

    def doubts(self, looks: Sequence[Look]) -> list[str]:
        """That nothing is known, and why."""
        return [f"nothing is known of the device: {self.why}"]

    def evidence(self, looks: Sequence[Look]) -> dict[str, Any]:
        """The reason alone."""
        return {"absent": self.why}

    def environment(self) -> Environment:
        """Raises DeviceError with the reason."""
        self._refuse()


def open_device(name: str) -> Device:
    """The device of this machine by its Workload name; see ``machine.choose_device`` for names.

    Raises DeviceError for a GPU that is there and cannot be used: full, reserved, lost.
    """
    if name.startswith("cuda"):
        from dilnas.measure.on_cuda import CudaDevice

        try:
            return CudaDevice(name)
        except RuntimeError as error:  # torch's own says in its first line what CUDA said
            why = str(error).strip().partition("\n")[0]
            raise DeviceError(
                f"the device cannot be used: {why}", where="--device", got=name
            ) from error
    from dilnas.measure.on_cpu import CpuDevice

    return CpuDevice()
