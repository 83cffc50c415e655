"""A GPU that exists on paper: watts by law, a counter that moves in steps, time by virtue of work.

What tests record are its events; nothing here is a measurement, and every file says "synthetic".
``python tests/measure/simulated_gpu.py`` (from the repository) writes the files in ``recordings/``
anew; a test checks that they are what this file makes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dilnas.measure.device import Look, Run
from dilnas.measure.doubts import gpu_doubts
from dilnas.measure.energy import measure_energy
from dilnas.measure.latency import measure_latency
from dilnas.measure.nvml import GpuReading
from dilnas.measure.on_cuda import gpu_evidence
from dilnas.measure.replay import Recorder, Recording
from dilnas.measure.sampling import Protocol
from dilnas.records import Environment, Workload

FOLDER = Path(__file__).parent / "recordings"
NOTE = "synthetic: made by tests/measure/simulated_gpu.py, measured on no device"
QUIET: dict[str, Any] = {
    "sm_clock_mhz": 1755, "base_clock_mhz": 1980, "base_clock_kind": "default application clock",
    "temperature_c": 52, "power_w": 400.0, "power_limit_w": 700.0, "default_power_limit_w": 700.0,
    "other_processes": 0, "mig": False, "slowdown_temperature_c": 92,
}  # fmt: skip
"""A reading that raises no doubt."""


def environment(name: str = "Paper GPU") -> Environment:
    return Environment(
        device_name=name, platform="paper", python="3", torch="2", dilnas="0", threads=1
    )


@dataclass
class SimulatedGpu:
    """Takes ``call_s`` a call and ``power(t, busy)`` watts; the counter shows every ``step_s``.

    ``readings(t)`` gives changes to a quiet reading at ``t`` seconds; ``noise`` is the relative
    standard deviation of a call.
    """

    call_s: float = 0.01
    enqueue_s: float = 0.002
    idle_w: float = 100.0
    busy_w: float = 500.0
    step_s: float = 0.1
    noise: float = 0.01
    readings: Callable[[float], dict[str, Any]] = lambda _: {}
    slower: Callable[[float], float] = lambda _: 1.0
    device_name: str = "Paper GPU"
    name: str = "cuda:0"
    now: float = 0.0
    drawn_j: float = 1000.0
    shown: tuple[int, float] = (0, 1000.0)
    rng: random.Random = field(default_factory=lambda: random.Random(0))

    def _pass(self, seconds: float, watts: float) -> None:
        """Time passes; the counter shows what was drawn at its last step."""
        end = self.now + seconds
        while (k := self.shown[0] + 1) * self.step_s <= end:
            at = k * self.step_s
            self.drawn_j += watts * (at - self.now)
            self.now, self.shown = at, (k, self.drawn_j)
        self.drawn_j += watts * (end - self.now)
        self.now = end

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self._pass(seconds, self.idle_w)

    def run(self, call: Callable[[], object], calls: int = 1) -> Run:
        device_s = sum(
            self.call_s * self.slower(self.now) * max(1 + self.noise * self.rng.gauss(0, 1), 0.1)
            for _ in range(calls)
        )
        device_s = round(device_s, 7)
        enqueue_s = min(self.enqueue_s * calls, device_s)
        wall_s = round(device_s + 20e-6, 7)
        self._pass(wall_s, self.busy_w)
        return Run(device_s, wall_s, enqueue_s, calls)

    def synchronize(self) -> None:
        pass

    def look(self) -> Look:
        changes = self.readings(self.now)
        if "absent" in changes:
            return GpuReading(absent=changes["absent"])
        self._pass(0.005, self.idle_w)
        return GpuReading(**{**QUIET, "energy_j": self.energy_j(), **changes})

    def energy_j(self) -> float | None:
        if self.step_s == math.inf:
            return 1000.0
        return round(self.shown[1], 3)

    def doubts(self, looks: Sequence[Look]) -> list[str]:
        return gpu_doubts([look for look in looks if isinstance(look, GpuReading)])

    def evidence(self, looks: Sequence[Look]) -> dict[str, Any]:
        return gpu_evidence([look for look in looks if isinstance(look, GpuReading)])

    def environment(self) -> Environment:
        return environment(self.device_name)


PROTOCOL = Protocol(min_samples=20, min_s=2.0, max_s=4.0, min_warmup_s=0.5)
"""With which the files below were recorded: a replay by it gives the same to the last bit."""


def ramp(t: float) -> dict[str, Any]:
    """From the idle clock to the working one within half a second."""
    return {"sm_clock_mhz": 345 if t < 0.1 else 1200 if t < 0.3 else 1980}


def heat(t: float) -> dict[str, Any]:
    """Too hot after a second: the clock falls to two thirds."""
    if t < 1.2:
        return {"temperature_c": 80}
    return {
        "temperature_c": 91, "sm_clock_mhz": 1320,
        "throttle_reasons": ("thermal slowdown (software)",),
    }  # fmt: skip


REFUSED = ("base clock", "throttling", "processes")

GPUS: dict[str, dict[str, Any]] = {
    "quiet": {},
    "clock-ramp-up": {
        "readings": ramp, "slower": lambda t: 5.7 if t < 0.1 else 1.7 if t < 0.3 else 1.0,
    },
    "thermal-throttle": {"readings": heat, "slower": lambda t: 1.0 if t < 1.2 else 1.5},
    "power-cap": {
        "readings": lambda _: {
            "power_limit_w": 350.0, "power_w": 349.0, "throttle_reasons": ("power cap",),
        },
    },
    "mig": {"readings": lambda _: {"mig": True}},
    "other-process": {"readings": lambda _: {"other_processes": 1}},
    "nvml-absent": {"readings": lambda _: {"absent": "NVML: Driver Not Loaded"}},
    "nvml-refusing": {
        "readings": lambda _: {
            "base_clock_mhz": None, "base_clock_kind": None, "other_processes": None,
            "missing": REFUSED,
        },
    },
    "maximum-clock": {
        "readings": lambda _: {"base_clock_kind": "maximum clock", "sm_clock_mhz": 1400},
    },
    "launch-bound": {"enqueue_s": 0.039},
    "two-clocks": {"slower": lambda t: 1.2 if int(t * 25) % 5 in (1, 2) else 1.0, "noise": 0.004},
}  # fmt: skip
"""What each recording is of, as changes to the quiet GPU."""


def record_latency(name: str) -> Recording:
    recorder = Recorder(SimulatedGpu(**{"call_s": 0.04, **GPUS[name]}))
    measure_latency(lambda: None, Workload(device="cuda:0"), PROTOCOL, device=recorder)
    recorder.recording.note = NOTE
    return recorder.recording


def record_energy() -> Recording:
    recorder = Recorder(SimulatedGpu(call_s=0.004))
    measure_energy(lambda: None, 8, recorder, windows=3, window_s=0.5)
    recorder.recording.note = NOTE
    return recorder.recording


def recordings() -> dict[str, Recording]:
    """Every file of the folder by its name."""
    made = {f"synthetic-{name}.json": record_latency(name) for name in GPUS}
    return {**made, "synthetic-energy.json": record_energy()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, recording in recordings().items():
        recording.save(FOLDER / file)
