"""A device made of recorded runs and readings: the same numbers, rules and doubts, no hardware.

A ``Recording`` is what a device did in the order in which it did it. ``Recorder`` wraps a real
device and keeps one; ``ReplayDevice`` gives it back. The callable is not run. Time passes as
recorded: a run takes its ``wall_s``, a sleep what was asked for, and a look is the last one that
had been taken by then.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dilnas.errors import DeviceError
from dilnas.files import read_text, write_atomic
from dilnas.measure.device import Device, Look, Run
from dilnas.measure.doubts import gpu_doubts
from dilnas.measure.nvml import GpuReading
from dilnas.measure.on_cuda import gpu_evidence
from dilnas.records import Environment

__all__ = ["Recorder", "Recording", "ReplayDevice"]

RECORDING_FORMAT = 1
"""Version of the recording's JSON. 1: first."""


@dataclass(slots=True, kw_only=True)
class Recording:
    """Runs in order, and what the device told at ``look_s`` seconds of its clock."""

    environment: Environment
    runs: list[Run] = field(default_factory=list)
    look_s: list[float] = field(default_factory=list)
    looks: list[GpuReading] = field(default_factory=list)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write JSON, whole or not at all."""
        data = {"dilnas_recording": RECORDING_FORMAT, **asdict(self)}
        write_atomic(path, json.dumps(data, indent=1, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recording:
        """Read JSON. Raises DeviceError for what is no recording of this version."""
        try:
            data = json.loads(read_text(path, kind=DeviceError))
            if data.get("dilnas_recording") != RECORDING_FORMAT:
                raise ValueError(f"version {data.get('dilnas_recording')!r}")
            looks = [{k: _tupled(v) for k, v in look.items()} for look in data["looks"]]
            return cls(
                environment=Environment(**data["environment"]),
                runs=[Run(**run) for run in data["runs"]],
                look_s=[float(at) for at in data["look_s"]],
                looks=[GpuReading(**look) for look in looks],
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DeviceError(
                f"no recording that this version reads: {error}", where=str(Path(path))
            ) from error


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class ReplayDevice:
    """Gives a recording back; DeviceError when more runs are asked for than were recorded."""

    def __init__(self, recording: Recording, name: str = "cuda:0") -> None:
        self.name = name
        self.recording = recording
        self.now = 0.0
        self.used = 0

    def clock(self) -> float:
        """Seconds of the recording that have passed."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Advance the clock."""
        self.now += seconds

    def run(self, call: Callable[[], object]) -> Run:
        """The next recorded run; ``call`` is not run."""
        if self.used >= len(self.recording.runs):
            raise DeviceError(f"the recording has ended after {self.used} runs", where="replay")
        run = self.recording.runs[self.used]
        self.used += 1
        self.now += run.wall_s
        return run

    def synchronize(self) -> None:
        """Always idle."""

    def look(self) -> Look:
        """The last look recorded by now."""
        taken = sum(at <= self.now for at in self.recording.look_s)
        if not self.recording.looks:
            return GpuReading(absent="the recording holds no readings")
        return self.recording.looks[max(taken - 1, 0)]

    def doubts(self, looks: Sequence[Look]) -> list[str]:
        """By the rules of the kind of device that was recorded."""
        if self.name == "cpu":
            return []
        return gpu_doubts([look for look in looks if isinstance(look, GpuReading)])

    def evidence(self, looks: Sequence[Look]) -> dict[str, Any]:
        """As recorded."""
        seen = [look for look in looks if isinstance(look, GpuReading)]
        return gpu_evidence(seen) if self.name != "cpu" else {}

    def environment(self) -> Environment:
        """Where it was recorded."""
        return self.recording.environment


class Recorder:
    """A real device that keeps what it does, for ``ReplayDevice``; CPU looks are not kept."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.name = device.name
        self.recording = Recording(environment=device.environment())
        self._start = device.clock()

    def run(self, call: Callable[[], object]) -> Run:
        """Run it and keep the times."""
        run = self.device.run(call)
        self.recording.runs.append(run)
        return run

    def look(self) -> Look:
        """Look and keep what was seen."""
        look = self.device.look()
        if isinstance(look, GpuReading):
            self.recording.look_s.append(self.device.clock() - self._start)
            self.recording.looks.append(look)
        return look

    def clock(self) -> float:
        """The device's."""
        return self.device.clock()

    def sleep(self, seconds: float) -> None:
        """The device's."""
        self.device.sleep(seconds)

    def synchronize(self) -> None:
        """The device's."""
        self.device.synchronize()

    def doubts(self, looks: Sequence[Look]) -> list[str]:
        """The device's."""
        return self.device.doubts(looks)

    def evidence(self, looks: Sequence[Look]) -> dict[str, Any]:
        """The device's."""
        return self.device.evidence(looks)

    def environment(self) -> Environment:
        """The device's."""
        return self.device.environment()
