"""What a device did, in the order in which it did it, as JSON that is read back exactly."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias

from dilnas.errors import DeviceError
from dilnas.files import read_text, write_atomic
from dilnas.measure.cpu import CpuUse
from dilnas.measure.device import Look, Run
from dilnas.measure.nvml import GpuReading
from dilnas.records import Environment

__all__ = ["Counter", "Event", "Recording", "Sleep"]

RECORDING_FORMAT = 1
"""Version of the recording's JSON. 1: first."""


@dataclass(frozen=True, slots=True)
class Counter:
    """One reading of the energy counter, in joules; None where there is none."""

    energy_j: float | None


@dataclass(frozen=True, slots=True)
class Sleep:
    """A sleep of as many seconds as were asked for."""

    seconds: float


What: TypeAlias = Run | CpuUse | GpuReading | Counter | Sleep

KINDS: dict[str, type[What]] = {
    "run": Run, "cpu": CpuUse, "gpu": GpuReading, "energy": Counter, "sleep": Sleep,
}  # fmt: skip
"""Event by its name in the JSON."""


@dataclass(frozen=True, slots=True)
class Event:
    """``what`` was done or seen, over at ``at_s`` seconds of the recording."""

    at_s: float
    what: What


@dataclass(slots=True, kw_only=True)
class Recording:
    """Events in order, on which device ("cpu", "cuda:0"), and where.

    ``note`` says where the events come from if not from a device.
    """

    environment: Environment
    device: str = "cuda:0"
    events: list[Event] = field(default_factory=list)
    note: str = ""

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs alone."""
        return tuple(event.what for event in self.events if isinstance(event.what, Run))

    @property
    def looks(self) -> tuple[Look, ...]:
        """The looks alone."""
        return tuple(e.what for e in self.events if isinstance(e.what, CpuUse | GpuReading))

    @classmethod
    def of(
        cls, environment: Environment, events: Iterable[What], device: str = "cuda:0"
    ) -> Recording:
        """A recording of events that follow one another: a run takes its ``wall_s``, a sleep what
        was asked for, a reading nothing."""
        found, now = cls(environment=environment, device=device), 0.0
        for what in events:
            now += what.wall_s if isinstance(what, Run) else 0.0
            now += what.seconds if isinstance(what, Sleep) else 0.0
            found.events.append(Event(now, what))
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write JSON, one event a line, whole or not at all."""
        head = {
            "dilnas_recording": RECORDING_FORMAT,
            "note": self.note,
            "device": self.device,
            "environment": asdict(self.environment),
        }
        lines = [_dump(_event_data(event)) for event in self.events]
        body = f'{_dump(head)[:-1]}, "events": [\n' + ",\n".join(lines) + "\n]}\n"
        write_atomic(path, body)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recording:
        """Read JSON. Raises DeviceError for what is no recording of this version."""
        text = read_text(path, kind=DeviceError)
        try:
            data = json.loads(text)
            version = data.get("dilnas_recording")
            if version != RECORDING_FORMAT:
                raise ValueError(f"its version is {version!r}, not {RECORDING_FORMAT}")
            return cls(
                environment=Environment(**data["environment"]),
                device=str(data["device"]),
                events=_in_order([_event(each) for each in data["events"]]),
                note=str(data["note"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DeviceError(
                f"no recording that this version reads: {_reason(error)}", where=str(Path(path))
            ) from error


def _dump(data: dict[str, Any]) -> str:
    return json.dumps(data, allow_nan=False)


def _event_data(event: Event) -> dict[str, Any]:
    """Fields that have their default are left out."""
    kind = next(name for name, cls in KINDS.items() if isinstance(event.what, cls))
    told = {
        each.name: value
        for each in fields(event.what)
        if (value := getattr(event.what, each.name)) != each.default
    }
    return {"at_s": event.at_s, kind: told}


def _event(data: dict[str, Any]) -> Event:
    values = dict(data)
    at_s = float(values.pop("at_s"))
    ((kind, told),) = values.items()
    if kind not in KINDS:
        raise ValueError(f"unknown event {kind!r}")
    cls = KINDS[kind]
    if cls in (Run, Sleep):  # what is calculated with
        for name, value in told.items():
            if isinstance(value, bool) or not isinstance(value, int | float | None):
                raise ValueError(f"{kind}.{name} is no number: {value!r}")
    return Event(at_s, cls(**{name: _tupled(value) for name, value in told.items()}))


def _in_order(events: list[Event]) -> list[Event]:
    for one, other in itertools.pairwise(events):
        if not one.at_s <= other.at_s:
            raise ValueError(f"time goes back from {one.at_s} s to {other.at_s} s")
    return events


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _reason(error: Exception) -> str:
    """One line."""
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return " ".join(str(error).split())
