"""Joules an image on a GPU whose power is known by law, and from its recording."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import Any

import pytest
from simulated_gpu import FOLDER, SimulatedGpu, record_energy

from dilnas.errors import InputError
from dilnas.measure.energy import measure_energy
from dilnas.measure.on_cpu import CpuDevice
from dilnas.measure.replay import Recorder, Recording, ReplayDevice
from dilnas.records import Energy


def never() -> None:
    raise AssertionError("the call is not run")


def energy(device: Any, images: int = 8, **options: Any) -> Energy:
    found = measure_energy(never, images, device, **{"windows": 5, "window_s": 2.0, **options})
    assert isinstance(found, Energy), found
    return found


@pytest.mark.parametrize("step_s", [0.02, 0.1, 0.25])
@pytest.mark.parametrize("call_s", [0.0004, 0.004, 0.013])
def test_the_law_is_found_again(step_s: float, call_s: float) -> None:
    """500 W under load, 100 W idle, 8 images a call: known to 1 %, whatever the counter's step."""
    found = energy(SimulatedGpu(call_s=call_s, step_s=step_s))
    truth = 500 * call_s / 8  # one synchronisation a burst, not a call
    assert found.joules_per_image == pytest.approx(truth, rel=0.01)
    assert found.mean_watts == pytest.approx(500, rel=0.01)
    assert found.idle_watts == pytest.approx(100, rel=0.05)
    assert found.joules_per_image_above_idle == pytest.approx(0.8 * truth, rel=0.03)
    assert found.doubts == ()


def test_windows_are_as_many_and_as_long_as_asked_for_and_add_up() -> None:
    """Raw joules, seconds and images are kept; the median is theirs."""
    found = energy(SimulatedGpu(), windows=4, window_s=0.7)
    assert len(found.window_joules) == len(found.window_s) == len(found.window_images) == 4
    assert all(0.7 <= length <= 0.7 + 0.15 for length in found.window_s)
    assert all(count % 8 == 0 for count in found.window_images)
    each = sorted(j / n for j, n in zip(found.window_joules, found.window_images, strict=True))
    assert found.joules_per_image == pytest.approx((each[1] + each[2]) / 2)
    assert found.counter == "NVML total energy"


def test_a_recorded_session_gives_the_same_energy_to_the_last_bit(tmp_path: Path) -> None:
    """Through its file, the call not run."""
    recorder = Recorder(SimulatedGpu(call_s=0.004))
    first = measure_energy(never, 8, recorder, windows=3, window_s=0.5)
    assert record_energy() == Recording.load(FOLDER / "synthetic-energy.json")
    loaded = ReplayDevice(Recording.load(FOLDER / "synthetic-energy.json"))
    assert measure_energy(never, 8, loaded, windows=3, window_s=0.5) == first


def test_a_call_longer_than_a_window_makes_it_longer_and_is_told() -> None:
    """At least one call a window; its ends are then not known well."""
    found = energy(SimulatedGpu(call_s=0.3), windows=3, window_s=0.5)
    assert min(found.window_images) >= 8
    assert found.joules_per_image == pytest.approx(500 * 0.3 / 8, rel=0.05)
    assert any("the ends of the windows are known to" in text for text in found.doubts)


@pytest.mark.parametrize(
    ("gpu", "words"),
    [
        ({"readings": lambda _: {"mig": True}}, "whole GPU, other MIG slices included"),
        ({"readings": lambda _: {"other_processes": 2}}, "other processes draw on the GPU"),
        ({"device_name": "NVIDIA GH200 480GB"}, "the counter is that of the module"),
        ({"readings": lambda _: {"throttle_reasons": ("power cap",)}}, "held back: power cap"),
        ({"readings": lambda t: {"sm_clock_mhz": 1980 if t < 6 else 800}}, "fell to 800 MHz"),
        ({"slower": lambda t: 1.0 if t < 12 else 1.5}, "windows differ by"),
        ({"busy_w": 100.0, "idle_w": 101.0}, "drew no more under load"),
    ],
)
def test_each_doubt_has_its_sentence(gpu: dict[str, Any], words: str) -> None:
    """What the counter covers, what held clocks back, windows that differ."""
    assert any(words in text for text in energy(SimulatedGpu(**gpu)).doubts)


def test_few_windows_are_told() -> None:
    """Two cannot show a spread."""
    assert "few windows: 2" in energy(SimulatedGpu(), windows=2).doubts


@pytest.mark.parametrize(
    ("gpu", "why"),
    [
        ({"readings": lambda _: {"absent": "NVML: Driver Not Loaded"}}, "NVML: Driver Not Loaded"),
        ({"readings": lambda _: {"energy_j": None}}, "NVML does not tell this GPU's energy"),
        ({"step_s": math.inf}, r"the energy counter did not move in 1\.\d s"),
    ],
)
def test_without_a_counter_the_reason_is_the_answer(gpu: dict[str, Any], why: str) -> None:
    """No number is made up."""
    found = measure_energy(never, 1, SimulatedGpu(**gpu))
    assert isinstance(found, str)
    assert re.search(why, found)


class Reset(SimulatedGpu):
    """Its driver is loaded anew after nine seconds: the counter is far below."""

    def energy_j(self) -> float | None:
        found = super().energy_j()
        return found if found is None or self.now < 9 else found / 10


class Falls(SimulatedGpu):
    """NVML stops answering after nine seconds."""

    def energy_j(self) -> float | None:
        return super().energy_j() if self.now < 9 else None


def test_a_counter_that_goes_back_or_falls_silent_gives_no_energy() -> None:
    """In the middle of the windows."""
    assert "went back" in str(measure_energy(never, 1, Reset()))
    assert "stopped answering" in str(measure_energy(never, 1, Falls()))


def test_idle_draw_that_is_not_known_leaves_the_first_figure() -> None:
    """A counter that stands still without load: above idle is None, and a doubt says why."""

    class Sleeps(SimulatedGpu):
        def sleep(self, seconds: float) -> None:
            self._pass(seconds, 0.0)

    found = energy(Sleeps())
    assert found.idle_watts is None
    assert found.joules_per_image_above_idle is None
    assert any(text.startswith("idle draw unknown") for text in found.doubts)
    assert found.mean_watts == pytest.approx(500, rel=0.01)


def test_windows_slower_than_the_latency_are_told() -> None:
    """The energy of a GPU that waits for its host is not that of the work alone."""
    slowed = SimulatedGpu(call_s=0.005)
    (doubt,) = energy(slowed, median_s=0.004).doubts
    assert doubt.startswith("a batch took 5.0")
    assert doubt.endswith("ms in the windows, its latency is 4 ms: the device has waited")
    assert energy(SimulatedGpu(call_s=0.004), median_s=0.004).doubts == ()


def test_idle_draw_that_still_falls_is_told() -> None:
    """A GPU that has just worked draws more than one at rest."""

    class Cooling(SimulatedGpu):
        def sleep(self, seconds: float) -> None:
            self._pass(seconds, 200.0 if self.now < 2.2 else 100.0)

    assert any("idle draw was still changing" in text for text in energy(Cooling()).doubts)


def test_a_cpu_has_none_and_bad_numbers_are_refused() -> None:
    """One clear line each."""
    assert measure_energy(never, 1, CpuDevice()) == "a CPU has no energy counter that is read here"
    for options in ({"windows": 0}, {"window_s": 0.0}, {"window_s": math.nan}):
        with pytest.raises(InputError, match="positive"):
            measure_energy(never, 1, SimulatedGpu(), **options)
    with pytest.raises(InputError, match="images"):
        measure_energy(never, 0, SimulatedGpu())


def test_progress_tells_the_windows() -> None:
    """The share never goes back."""
    said: list[tuple[str, float]] = []
    measure_energy(
        never, 1, SimulatedGpu(), windows=3, window_s=0.3,
        on_progress=lambda *words: said.append(words),
    )  # fmt: skip
    assert [doing for doing, _ in said][-1] == "energy: window 3"
    assert all(0 <= one[1] <= other[1] <= 1 for one, other in itertools.pairwise(said))
