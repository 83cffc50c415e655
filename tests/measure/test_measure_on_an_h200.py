"""The rules on a real GPU's data: an NVIDIA H200 ran Tiny (batch 64, bf16) and was recorded.

``recorded/`` holds every run, NVML reading and step of the energy counter of a latency and an
energy session (benchmarks/gpu_session.py), and what the session itself derived from them, written
on that machine with Python 3.12 and torch 2.11.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from dilnas.measure import Protocol, measure_latency
from dilnas.measure.energy import measure_energy, slower_doubts
from dilnas.measure.nvml import GpuReading
from dilnas.measure.recording import Counter
from dilnas.measure.replay import Recording, ReplayDevice
from dilnas.records import Energy, Measurement, Workload

FOLDER = Path(__file__).parent / "recorded"
EXPECTED: dict[str, Any] = json.loads((FOLDER / "nvidia-h200-expected.json").read_text("utf-8"))
WORKLOAD = Workload(**EXPECTED["workload"])
PROTOCOL = Protocol(**EXPECTED["protocol"])


def recorded(what: str) -> Recording:
    return Recording.load(FOLDER / f"nvidia-h200-{what}.json")


def never() -> None:
    raise AssertionError("a replay does not run the call")


def latency(protocol: Protocol = PROTOCOL) -> Measurement:
    """Of the recorded runs."""
    return measure_latency(never, WORKLOAD, protocol, device=ReplayDevice(recorded("latency")))


def energy() -> Energy:
    """Of the recorded counter; windows as in the session that recorded it."""
    found = measure_energy(
        never, WORKLOAD.batch_size, ReplayDevice(recorded("energy")), windows=2, window_s=1.5
    )
    assert isinstance(found, Energy)
    return found


def plain(record: Any) -> Any:
    """As JSON gives it back: tuples are lists."""
    return json.loads(json.dumps(asdict(record)))


def test_the_recordings_say_that_they_were_measured() -> None:
    """No synthetic file among them, nothing of the machine's disk in them, small."""
    for path in FOLDER.iterdir():
        assert path.stat().st_size < 100_000
        assert "/tmp" not in path.read_text("utf-8")  # noqa: S108
    for what in ("latency", "energy"):
        assert recorded(what).note.startswith("measured")
        assert recorded(what).environment.device_name == "NVIDIA H200"


def test_the_latency_is_what_the_session_derived() -> None:
    """Samples, warm-up, stop reason, interval, evidence and doubts, to the last bit."""
    assert plain(latency()) == EXPECTED["latency"]


def test_the_energy_is_what_the_session_derived() -> None:
    """Windows that end at steps of the real counter, idle draw, doubts, to the last bit."""
    assert plain(energy()) == EXPECTED["energy"]


def test_every_recorded_run_is_asked_for() -> None:
    """The rules stop at the same run: none is left over."""
    found = latency()
    assert len(found.samples) + found.warmup == len(recorded("latency").runs)


def test_the_figures_agree_with_what_can_be_read_off_the_recording_by_hand() -> None:
    """A median of the device's times, and joules over the whole of the loaded time."""
    runs = recorded("latency").runs
    found = latency()
    assert found.median == median(run.device_s for run in runs[found.warmup :])
    assert all(run.device_s <= run.wall_s for run in runs)
    # From the first counter reading under load to the last: warm-up and gaps included.
    events = recorded("energy").events
    readings = [e for e in events if isinstance(e.what, Counter | GpuReading)]
    loaded = [e for e in readings if e.at_s > events[-1].at_s - 3.0]
    joules = (loaded[-1].what.energy_j or 0) - (loaded[0].what.energy_j or 0)
    watts = joules / (loaded[-1].at_s - loaded[0].at_s)
    assert energy().mean_watts == pytest.approx(watts, rel=0.05)


def test_a_virtual_machines_slow_host_is_a_doubt_and_the_clocks_are_none() -> None:
    """Enqueueing took as long as the device; NVML saw full clocks and nobody else."""
    found = latency()
    (doubt,) = found.doubts
    assert doubt.startswith("launch-bound")
    assert set(found.extra["sm_clock_mhz"]) == {1980}
    assert energy().doubts == ("few windows: 2",)
    assert slower_doubts(energy(), WORKLOAD.batch_size, found.median) == []


def test_a_shorter_protocol_on_the_same_runs_tells_nearly_the_same() -> None:
    """Fewer warm-up runs and samples: the median stays within the device's own spread."""
    found = latency(Protocol(**{**EXPECTED["protocol"], "min_warmup_s": 0.0, "max_samples": 12}))
    assert len(found.samples) <= 12
    assert found.warmup < latency().warmup
    assert found.median == pytest.approx(latency().median, rel=0.05)
