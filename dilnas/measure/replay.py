"""A device made of what another one did: the same numbers, rules and doubts, no hardware.

    Recorder       wraps a real device and keeps what it does, in order
    Recording      those events, as JSON
    ReplayDevice   gives them back; the callable is not run

Time is told at events only, by both: ``clock`` is the moment at which the last run, look, counter
reading or sleep ended. So a protocol that decides by the clock decides the same in a replay as in
the recorded session, to the last bit. A protocol that asks for other things than were recorded is
answered as far as possible: runs come in order, looks and counter readings as of that moment, a
sleep that was not recorded takes what was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from dilnas.errors import DeviceError
from dilnas.measure.cpu import CpuUse
from dilnas.measure.device import Device, Look, Run
from dilnas.measure.doubts import cpu_doubts, gpu_doubts
from dilnas.measure.nvml import GpuReading
from dilnas.measure.on_cpu import cpu_evidence
from dilnas.measure.on_cuda import gpu_evidence
from dilnas.measure.recording import Counter, Event, Recording, Sleep, What
from dilnas.records import Environment

__all__ = ["Recorder", "Recording", "ReplayDevice"]

T = TypeVar("T", bound=What)


class Recorder:
    """A device that keeps what it does in ``recording``."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.name = device.name
        self.recording = Recording(environment=device.environment(), device=device.name)
        self._start = device.clock()
        self._now = 0.0

    def _keep(self, what: T) -> T:
        self._now = self.device.clock() - self._start
        self.recording.events.append(Event(self._now, what))
        return what

    def clock(self) -> float:
        """Seconds from the start of the recording to the end of the last event."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """The device's; kept."""
        self.device.sleep(seconds)
        self._keep(Sleep(seconds))

    def run(self, call: Callable[[], object], calls: int = 1) -> Run:
        """The device's; kept."""
        return self._keep(self.device.run(call, calls))

    def synchronize(self) -> None:
        """The device's."""
        self.device.synchronize()

    def look(self) -> Look:
        """The device's; kept."""
        look = self.device.look()
        self._keep(look)
        return look

    def energy_j(self) -> float | None:
        """The device's; kept."""
        return self._keep(Counter(self.device.energy_j())).energy_j

    def doubts(self, looks: Sequence[Look]) -> list[str]:
        """The device's."""
        return self.device.doubts(looks)

    def evidence(self, looks: Sequence[Look]) -> dict[str, Any]:
        """The device's."""
        return self.device.evidence(looks)

    def environment(self) -> Environment:
        """The device's, as it was when recording began."""
        return self.recording.environment


class ReplayDevice:
    """Gives a recording back; DeviceError when more runs are asked for than were recorded.

    ``name`` is the recorded device's unless given.
    """

    def __init__(self, recording: Recording, name: str | None = None) -> None:
        self.recording = recording
        self.name = recording.device if name is None else name
        self._next = 0
        self._shift = 0.0
        """Seconds slept that were not recorded, less those recorded and not slept."""
        self._now = 0.0

    def _pending(self) -> Event | None:
        events = self.recording.events
        return events[self._next] if self._next < len(events) else None

    def _take(self, event: Event) -> None:
        self._next += 1
        self._now = event.at_s + self._shift

    def clock(self) -> float:
        """Seconds of the recording that have passed."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """The recorded sleep, or ``seconds`` where none was recorded here."""
        event = self._pending()
        if event is not None and event.what == Sleep(seconds):
            self._take(event)
        else:
            self._shift += seconds
            self._now += seconds

    def run(self, call: Callable[[], object], calls: int = 1) -> Run:
        """The next recorded run; ``call`` is not run."""
        while (event := self._pending()) is not None and not isinstance(event.what, Run):
            if isinstance(event.what, Sleep):
                self._shift -= event.what.seconds
            self._next += 1
        if event is None:
            runs = len(self.recording.runs)
            raise DeviceError(f"the recording has ended after {runs} runs", where="replay")
        run = event.what
        assert isinstance(run, Run)
        if run.calls != calls:
            raise DeviceError(
                "the recording holds another number of calls here",
                where="replay", expected=run.calls, got=calls,
            )  # fmt: skip
        self._take(event)
        return run

    def synchronize(self) -> None:
        """Always idle."""

    def look(self) -> Look:
        """The look recorded here, else the last before, else the first of all."""
        event = self._pending()
        if event is not None and isinstance(event.what, CpuUse | GpuReading):
            self._take(event)
            return event.what
        events = self.recording.events
        for other in (*reversed(events[: self._next]), *events[self._next :]):
            if isinstance(other.what, CpuUse | GpuReading):
                return other.what
        return GpuReading(absent="the recording holds no readings")

    def energy_j(self) -> float | None:
        """The counter as recorded here, else as it was last seen by a reading or a look."""
        event = self._pending()
        if event is not None and isinstance(event.what, Counter):
            self._take(event)
            return event.what.energy_j
        for before in reversed(self.recording.events[: self._next]):
            if isinstance(before.what, Counter | GpuReading):
                return before.what.energy_j
        return None

    def doubts(self, looks: Sequence[Look]) -> list[str]:
        """By the rules of the kind of device that was recorded."""
        cpu, gpu = _by_kind(looks)
        return cpu_doubts(cpu[0], cpu[-1]) if cpu else gpu_doubts(gpu)

    def evidence(self, looks: Sequence[Look]) -> dict[str, Any]:
        """As the kind of device that was recorded gives it."""
        cpu, gpu = _by_kind(looks)
        return cpu_evidence(cpu) if cpu else gpu_evidence(gpu)

    def environment(self) -> Environment:
        """Where it was recorded."""
        return self.recording.environment


def _by_kind(looks: Sequence[Look]) -> tuple[list[CpuUse], list[GpuReading]]:
    cpu = [look for look in looks if isinstance(look, CpuUse)]
    return cpu, [look for look in looks if isinstance(look, GpuReading)]
