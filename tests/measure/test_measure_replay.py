"""What was recorded is given back: the same numbers, rules and doubts, without the device."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from simulated_gpu import FOLDER, GPUS, PROTOCOL, environment, recordings

from dilnas.errors import DeviceError
from dilnas.measure import Protocol, measure_latency
from dilnas.measure.cpu import CpuUse
from dilnas.measure.device import NullDevice, Run, open_device
from dilnas.measure.energy import measure_energy
from dilnas.measure.nvml import GpuReading
from dilnas.measure.on_cpu import CpuDevice
from dilnas.measure.recording import Counter, Event, Sleep
from dilnas.measure.replay import Recorder, Recording, ReplayDevice
from dilnas.records import Workload

QUICK = Protocol(min_samples=6, max_samples=40, min_s=0.0, max_s=0.5, min_warmup_s=0.0)


def never() -> None:
    raise AssertionError("a replay does not run the call")


def test_a_session_on_the_real_cpu_replays_to_the_last_bit(tmp_path: Path) -> None:
    """Samples, warm-up, stop reason, interval, evidence and doubts: equal through a file."""
    a = torch.randn(96, 64)
    recorder = Recorder(CpuDevice())
    real = measure_latency(lambda: a @ a.T, Workload(), QUICK, device=recorder)
    recorder.recording.save(tmp_path / "cpu.json")
    loaded = Recording.load(tmp_path / "cpu.json")
    assert loaded == recorder.recording
    assert measure_latency(never, Workload(), QUICK, device=ReplayDevice(loaded)) == real


def test_the_doubts_of_a_cpu_replay_too() -> None:
    """Readings of the CPU are kept as those of a GPU are."""
    looks = [
        CpuUse(wall_s=wall, own_s=own, busy_s=busy, stolen_s=0.0, cores=2)
        for wall, own, busy in ((0.0, 0.0, 0.0), (10.0, 8.0, 18.0))
    ]
    recording = Recording.of(environment(), [looks[0], *[Run(0.1, 0.1)] * 30, looks[1]], "cpu")
    device = ReplayDevice(recording)
    protocol = Protocol(min_samples=24, max_samples=24, min_warmup=6, min_warmup_s=0.0)
    found = measure_latency(never, Workload(), protocol, device=device)
    assert found.doubts == ("other processes used 1.0 of 2 cores meanwhile",)
    assert found.extra["other_cores"] == 1.0


@pytest.mark.parametrize("name", sorted(GPUS))
def test_a_recorded_file_replays_by_the_same_protocol_to_its_end(name: str) -> None:
    """Every run that was recorded is asked for, and no other."""
    recording = Recording.load(FOLDER / f"synthetic-{name}.json")
    device = ReplayDevice(recording)
    found = measure_latency(never, Workload(device="cuda:0"), PROTOCOL, device=device)
    assert len(found.samples) + found.warmup == len(recording.runs)
    assert found.samples == tuple(run.device_s for run in recording.runs[found.warmup :])
    assert device.clock() == recording.events[-1].at_s


def test_the_files_are_what_their_script_makes_and_say_that_they_are_synthetic() -> None:
    """No synthetic number can be taken for a measured one."""
    made = recordings()
    assert set(made) == {path.name for path in FOLDER.iterdir()}
    for name, recording in made.items():
        assert Recording.load(FOLDER / name) == recording
        assert recording.note.startswith("synthetic")


numbers = st.floats(0, 1e6)
maybe = st.none() | numbers
words = st.text(max_size=8)
events = st.one_of(
    st.builds(Run, numbers, numbers, maybe, st.integers(1, 9)),
    st.builds(Counter, maybe),
    st.builds(Sleep, numbers),
    st.builds(
        GpuReading, absent=words, missing=st.lists(words, max_size=3).map(tuple),
        sm_clock_mhz=st.none() | st.integers(0, 9999), energy_j=maybe,
        mig=st.none() | st.booleans(), throttle_reasons=st.lists(words, max_size=2).map(tuple),
    ),
    st.builds(
        CpuUse, wall_s=numbers, own_s=numbers, busy_s=maybe, stolen_s=maybe,
        cores=st.integers(1, 99), missing=words, waited_s=maybe, turbo=st.none() | st.booleans(),
        affinity=st.lists(st.integers(0, 99), max_size=4).map(tuple), governor=st.none() | words,
    ),
)  # fmt: skip


@given(st.lists(events, max_size=12), words)
def test_a_recording_survives_its_file_exactly(tmp_path_factory, whats, device) -> None:
    """Also None, empty tuples and numbers with all their digits."""
    recording = Recording.of(environment(), whats, device)
    path = tmp_path_factory.mktemp("recording") / "one.json"
    recording.save(path)
    assert Recording.load(path) == recording


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text[: len(text) // 2], "Expecting|Unterminated|delimiter"),
        (lambda text: "[]", "no recording"),
        (lambda text: "", "Expecting value"),
        (lambda text: text.replace('recording": 1', 'recording": 9'), "is 9, not 1"),
        (lambda text: text.replace('"environment"', '"surroundings"'), "'environment' is missing"),
        (lambda text: text.replace('"run"', '"walk"', 1), "unknown event 'walk'"),
        (lambda text: text.replace('"wall_s": ', '"wall_s": "a" ,"x": ', 1), "no recording"),
        (lambda text: text.replace('"device_s": ', '"device_s": "a", "x": ', 1), "no number"),
        (lambda text: text.replace('"at_s": 0.', '"at_s": 99.', 1), "time goes back"),
    ],
)  # fmt: skip
def test_a_damaged_recording_is_one_clear_line(tmp_path: Path, damage, says: str) -> None:
    """Half a file, another version, an unknown event, time that goes back."""
    text = (FOLDER / "synthetic-quiet.json").read_text()
    path = tmp_path / "damaged.json"
    path.write_text(damage(text))
    assert path.read_text() != text
    with pytest.raises(DeviceError, match=says) as caught:
        Recording.load(path)
    assert "\n" not in str(caught.value)
    assert "damaged.json" in str(caught.value)


def test_a_recording_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    """Not a traceback of open()."""
    with pytest.raises(DeviceError, match=r"none\.json"):
        Recording.load(tmp_path / "none.json")


def test_a_replay_ends_with_its_recording() -> None:
    """No number is made up: not for more runs, not for another number of calls."""
    device = ReplayDevice(Recording.of(environment(), [Run(0.1, 0.2, None, 3)]))
    with pytest.raises(DeviceError, match="number of calls"):
        device.run(never)
    assert device.run(never, 3) == Run(0.1, 0.2, None, 3)
    with pytest.raises(DeviceError, match="ended after 1 runs"):
        device.run(never, 3)


def test_what_was_not_recorded_here_is_answered_as_of_that_moment() -> None:
    """Looks and counters: the last before; before any: the first look; without any: the reason."""
    cold, hot = GpuReading(temperature_c=40, energy_j=5.0), GpuReading(temperature_c=70)
    whats = [Run(1.0, 1.0), cold, Run(1.0, 1.0), hot, Run(1.0, 1.0)]
    device = ReplayDevice(Recording.of(environment(), whats))
    assert device.look() == cold
    assert device.energy_j() is None
    for _ in range(2):
        device.run(never)
    assert device.energy_j() == 5.0
    device.run(never)
    assert device.look() == hot
    assert ReplayDevice(Recording.of(environment(), [])).look().absent
    assert ReplayDevice(Recording.of(environment(), [])).energy_j() is None


def test_time_passes_as_recorded_and_as_slept() -> None:
    """A sleep that was recorded takes its recorded time, another what was asked for; a recorded
    one that is not slept takes none."""
    recording = Recording(
        environment=environment(),
        events=[
            Event(0.5, Run(0.5, 0.5)), Event(2.6, Sleep(2.0)), Event(3.0, Run(0.25, 0.25)),
        ],
    )  # fmt: skip
    faithful = ReplayDevice(recording)
    faithful.run(never)
    faithful.sleep(2.0)
    assert faithful.clock() == 2.6
    faithful.run(never)
    assert faithful.clock() == 3.0
    other = ReplayDevice(recording)
    other.sleep(10.0)
    other.run(never)
    assert other.clock() == 10.5
    other.run(never)
    assert math.isclose(other.clock(), 11.0)


def test_no_device_answers_every_question_with_what_is_missing() -> None:
    """What can be said without one is said; what cannot raises one clear line."""
    device = NullDevice("there is no GPU here")
    assert device.look() == GpuReading(absent="there is no GPU here")
    assert device.doubts([device.look()]) == [
        "nothing is known of the device: there is no GPU here"
    ]
    assert device.evidence([]) == {"absent": "there is no GPU here"}
    assert device.energy_j() is None
    assert device.clock() == 0.0
    device.sleep(1e9)
    device.synchronize()
    with pytest.raises(DeviceError, match="there is no GPU here"):
        device.environment()
    with pytest.raises(DeviceError, match="there is no GPU here"):
        measure_latency(never, Workload(), device=device)
    assert measure_energy(never, 1, device) == "there is no GPU here"


def test_the_cpu_is_opened_by_name() -> None:
    """The door that measure_latency uses."""
    assert open_device("cpu").name == "cpu"
