"""Doubts: recorded readings in, sentences out."""

from __future__ import annotations

import itertools
import math
import random
import re
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from simulated_gpu import FOLDER, GPUS, PROTOCOL

from dilnas.measure import measure_latency
from dilnas.measure.cpu import CpuUse, cpu_model, is_virtual
from dilnas.measure.doubts import (
    cpu_doubts,
    gpu_doubts,
    guest_doubts,
    launch_doubts,
    sample_doubts,
)
from dilnas.measure.nvml import GpuReading
from dilnas.measure.replay import Recording, ReplayDevice
from dilnas.measure.sampling import Protocol, Sampled, collect
from dilnas.measure.shape import independent_samples, two_heaps
from dilnas.records import Workload


def sampled(*samples: float, stopped_by: str = "precision", steady: bool = True) -> Sampled:
    return Sampled(samples=samples, warmup=6, steady=steady, stopped_by=stopped_by)


def test_quiet_samples_give_no_doubt() -> None:
    """Nothing is said when there is nothing to say."""
    assert sample_doubts(sampled(*[0.01, 0.0101] * 20), Protocol()) == []


def test_each_fault_of_the_samples_has_its_sentence() -> None:
    """Few samples, a wide middle half, a drift and an unsteady start are told apart."""
    few = sample_doubts(sampled(0.1, 0.1), Protocol(min_samples=20))
    assert few == ["few samples: 2, the protocol asks for 20"]
    wide = sample_doubts(sampled(*[0.9, 1.0, 1.1, 1.2] * 10), Protocol())
    assert any(text.startswith("spread:") for text in wide)
    drifting = sample_doubts(sampled(*[1.0] * 20, *[1.2] * 20), Protocol())
    assert any(text.startswith("drift:") and "+18" in text for text in drifting)
    assert "not steady after 6 warm-up runs" in sample_doubts(
        sampled(*[1.0] * 20, steady=False), Protocol()
    )
    short_of = sample_doubts(sampled(*[1.0] * 8), Protocol(min_samples=4))
    assert short_of == ["few samples: 8, too few for percentiles"]
    short = sample_doubts(sampled(*[1e-6] * 20), Protocol())
    assert any("near the clock's own cost" in text for text in short)


def test_a_median_that_is_not_known_well_says_how_well() -> None:
    """Two measurements surer than 2.5 % agree within 5 %; one that is not says so."""
    rng = random.Random(0)
    wide = sampled(*[rng.uniform(0.8, 1.2) for _ in range(40)])
    found = [text for text in sample_doubts(wide, Protocol()) if "the median is known" in text]
    assert len(found) == 1
    assert re.fullmatch(r"the median is known to ±\d+\.\d% only", found[0])
    quiet = sampled(*[rng.uniform(0.99, 1.01) for _ in range(40)], stopped_by="time")
    assert sample_doubts(quiet, Protocol()) == []


def bursty(seed: int, quiet_s: float, slow_s: float) -> Sampled:
    """A call of 0.1 s, 1.3 times slower in bursts, by the default protocol on a paper clock."""
    rng = random.Random(seed)
    now, until, slow = 0.0, 0.0, False

    def once() -> float:
        nonlocal now, until, slow
        if now >= until:
            slow = not slow
            until = now + rng.expovariate(1 / (slow_s if slow else quiet_s))
        seconds = 0.1 * (1.3 if slow else 1.0) * max(rng.gauss(1, 0.015), 0.5)
        now += seconds
        return seconds

    return collect(once, Protocol(), clock=lambda: now)


@pytest.mark.parametrize(("quiet_s", "slow_s"), [(1.0, 0.5), (1.0, 1.0), (0.5, 0.3)])
def test_repeated_medians_agree_within_5_percent_or_say_why(quiet_s: float, slow_s: float) -> None:
    """Other load in bursts shorter than the sampling, seen in the samples alone: of two runs that
    disagree, one at least is doubted."""
    taken = [bursty(seed, quiet_s, slow_s) for seed in range(12)]
    medians = [statistics.median(each.samples) for each in taken]
    doubted = [bool(sample_doubts(each, Protocol())) for each in taken]
    for i, j in itertools.combinations(range(len(taken)), 2):
        apart = max(medians[i], medians[j]) / min(medians[i], medians[j]) - 1
        assert apart <= 0.05 or doubted[i] or doubted[j], (i, j, apart)


def test_two_clusters_are_told_with_their_shares() -> None:
    """Two clock states, a quarter of the samples in the slower."""
    rng = random.Random(1)
    states = [rng.gauss(12 if i % 4 == 0 else 10, 0.05) / 1e3 for i in range(200)]
    found = sample_doubts(sampled(*states), Protocol())
    assert [text for text in found if text.startswith("two clusters")] == [
        "two clusters: 75% of the samples near 10 ms, 25% near 12.01 ms"
    ]


@pytest.mark.parametrize("law", ["normal", "flat", "tail"])
@pytest.mark.parametrize("n", [20, 40, 80, 200])
def test_one_heap_is_not_two(law: str, n: int) -> None:
    """Of 200 draws of normal, uniform and exponential samples, however wide, at most two."""
    rng = random.Random(n)
    draw = {
        "normal": lambda: max(rng.gauss(10, 2), 1.0),
        "flat": lambda: rng.uniform(5, 15),
        "tail": lambda: 8 + rng.expovariate(0.3),
    }[law]
    found = [two_heaps([draw() for _ in range(n)]) for _ in range(200)]
    assert sum(heaps is not None for heaps in found) <= 2


def test_outliers_are_not_a_heap_and_near_heaps_are_one() -> None:
    """A tenth of the samples at least, a twentieth of the median apart at least."""
    rng = random.Random(2)
    assert two_heaps([rng.gauss(20 if i % 20 == 0 else 10, 0.1) for i in range(200)]) is None
    assert two_heaps([rng.gauss(10.3 if i % 2 else 10, 0.01) for i in range(200)]) is None
    assert two_heaps([10.0] * 50) is None
    assert two_heaps([10.0, 20.0]) is None


def test_independent_samples_are_worth_their_number() -> None:
    """And twenty equal neighbours about one."""
    rng = random.Random(5)
    free = [rng.gauss(10, 1) for _ in range(400)]
    assert independent_samples(free) > 200
    held = [value for value in free[:20] for _ in range(20)]
    assert 10 < independent_samples(held) < 60
    assert independent_samples([1.0] * 30) == 30
    assert independent_samples([1.0, 2.0]) == 2


def test_samples_that_hang_together_say_what_they_are_worth() -> None:
    """A slow swing within the spread: none of the other doubts sees it."""
    swing = [1 + 0.01 * math.sin(i / 40) for i in range(200)]
    found = sample_doubts(sampled(*swing), Protocol())
    assert len(found) == 1
    assert found[0].startswith("successive samples hang together: 200 are worth")


def use(wall: float, own: float, busy: float | None, stolen: float = 0.0) -> CpuUse:
    return CpuUse(
        wall_s=wall, own_s=own, busy_s=busy, stolen_s=stolen, cores=2, missing="no /proc/stat"
    )


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (use(10, 15, 15), []),
        (use(10, 8, 18), ["other processes used 1.0 of 2 cores meanwhile"]),
        (use(10, 15, 15, stolen=1.0), ["the hypervisor withheld 5.0% of the CPU time"]),
        (use(10, 15, None), ["other load on the CPU unknown: no /proc/stat"]),
        (use(0.1, 0.0, 0.2), []),
    ],
)
def test_cpu_time_of_others_is_told(after: CpuUse, expected: list[str]) -> None:
    """What this process did itself is no doubt; what others took is."""
    assert cpu_doubts(use(0, 0, 0 if after.busy_s is not None else None), after) == expected


def now(**settings: object) -> CpuUse:
    quiet = {"cores": 8, "affinity": (0, 1, 2, 3), "threads": 4, "governor": "performance"}
    counters = {"wall_s": 10.0, "own_s": 9.0, "busy_s": 9.0, "stolen_s": 0.0, "waited_s": 5.0}
    return CpuUse(**{**quiet, **counters, **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, []),
        ({"threads": 5}, ["5 threads on 4 cores"]),
        ({"threads": 5, "affinity": (3,)}, ["5 threads on 1 core"]),
        ({"threads": 9, "affinity": ()}, ["9 threads on 8 cores"]),
        (
            {"governor": "powersave", "scaling_driver": "acpi-cpufreq"},
            ['the governor "powersave" keeps the CPU at its lowest clock'],
        ),
        ({"governor": "powersave", "scaling_driver": "intel_pstate"}, []),
        ({"waited_s": 5.1}, []),
        ({"waited_s": 8.0}, ["its threads waited 0.30 s of each second for a core"]),
        ({"busy_s": 12.0}, []),
        ({"busy_s": 14.0}, ["other processes used 0.5 of 8 cores meanwhile"]),
    ],
)
def test_settings_and_waiting_of_the_cpu_are_told(
    settings: dict[str, object], expected: list[str]
) -> None:
    """Threads without cores, a governor that keeps clocks low, time on the run queue."""
    before = now(wall_s=0.0, own_s=0.0, busy_s=0.0)
    assert cpu_doubts(before, now(**settings)) == expected


def test_the_settings_of_this_cpu_are_read_or_none(tmp_path: Path) -> None:
    """Governor, driver and turbo from sysfs as Intel's and the generic driver write it; waiting
    from schedstat, over all threads."""
    frequency = tmp_path / "cpu" / "cpu0" / "cpufreq"
    frequency.mkdir(parents=True)
    (frequency / "scaling_governor").write_text("performance\n")
    (frequency / "scaling_driver").write_text("intel_pstate\n")
    (tmp_path / "cpu" / "intel_pstate").mkdir()
    (tmp_path / "cpu" / "intel_pstate" / "no_turbo").write_text("1\n")
    for task, waited in (("1", 2_000_000_000), ("2", 500_000_000)):
        (tmp_path / "task" / task).mkdir(parents=True)
        (tmp_path / "task" / task / "schedstat").write_text(f"99 {waited} 7\n")
    found = CpuUse.now(threads=3, cpus=tmp_path / "cpu", tasks=tmp_path / "task")
    assert (found.governor, found.scaling_driver) == ("performance", "intel_pstate")
    assert found.turbo is False
    assert found.waited_s == 2.5
    assert found.threads == 3
    none = CpuUse.now(cpus=tmp_path / "none", tasks=tmp_path / "none")
    assert (none.governor, none.turbo, none.waited_s) == (None, None, None)
    generic = tmp_path / "generic" / "cpufreq"
    generic.mkdir(parents=True)
    (generic / "boost").write_text("1\n")
    assert CpuUse.now(cpus=tmp_path / "generic").turbo is True


def test_the_kernel_counters_are_read_by_their_manual(tmp_path: Path) -> None:
    """Idle and waiting are not busy; steal stands alone."""
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 10 50 9999 999 5 5 30 7 7\ncpu0 1 1 1 1\n")
    now = CpuUse.now(stat)
    assert now.busy_s == pytest.approx(1.70)
    assert now.stolen_s == pytest.approx(0.30)
    absent = CpuUse.now(tmp_path / "none")
    assert absent.busy_s is None
    assert "FileNotFoundError" in absent.missing


def reading(**changes: object) -> GpuReading:
    quiet = {
        "sm_clock_mhz": 1700, "base_clock_mhz": 1755, "temperature_c": 60, "other_processes": 0,
        "mig": False, "power_limit_w": 700.0, "default_power_limit_w": 700.0,
    }  # fmt: skip
    return GpuReading(**{**quiet, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sm_clock_mhz": 1200}, "SM clock fell to 1200 MHz"),
        ({"throttle_reasons": ("power cap",)}, "held back: power cap"),
        ({"temperature_c": 90}, "90 °C"),
        ({"temperature_c": 78, "slowdown_temperature_c": 80}, "78 °C, it slows down at 80 °C"),
        ({"sm_clock_mhz": 1200, "base_clock_kind": "maximum clock"}, "of 1755 MHz maximum"),
        ({"other_processes": 2}, "2 other processes on the GPU"),
        ({"mig": True}, "MIG"),
        ({"power_limit_w": 350.0}, "power capped at 350 W of 700 W"),
        ({"missing": ("base clock",)}, "NVML does not report base clock"),
    ],
)
def test_each_gpu_reading_that_is_wrong_has_its_sentence(
    changes: dict[str, object], words: str
) -> None:
    """One doubt, naming what was read."""
    found = gpu_doubts([reading(), reading(**changes)])
    assert len(found) == 1
    assert words in found[0]


RECORDED = {
    "quiet": [],
    "clock-ramp-up": [],
    "thermal-throttle": [
        "two clusters: 24% of the samples near 39.82 ms, 76% near 59.9 ms",
        "the median is known to ±13.0% only",
        "successive samples hang together: ",
        "SM clock fell to 1320 MHz of 1980 MHz base",
        "clocks were held back: thermal slowdown (software)",
        "GPU at 91 °C, it slows down at 92 °C",
    ],
    "power-cap": ["clocks were held back: power cap", "power capped at 350 W of 700 W"],
    "mig": ["a MIG slice: other slices share memory bandwidth and power"],
    "other-process": ["1 other process on the GPU"],
    "nvml-absent": ["clocks, throttling and temperature unknown: NVML: Driver Not Loaded"],
    "nvml-refusing": ["NVML does not report base clock, throttling, processes"],
    "maximum-clock": ["SM clock fell to 1400 MHz of 1980 MHz maximum"],
    "launch-bound": ["launch-bound: enqueueing takes 98% of the device time"],
    "two-clocks": [
        "spread: the middle half of the samples spans 19",
        "two clusters: 60% of the samples near 39.95 ms, 40% near 48.02 ms",
        "the median is known to ±3.9% only",
    ],
}
"""How each sentence begins, in order; there are no others."""


@pytest.mark.parametrize("name", sorted(GPUS))
def test_each_recorded_session_has_its_doubts(name: str) -> None:
    """The whole way from recorded readings to the sentences of a Measurement."""
    device = ReplayDevice(Recording.load(FOLDER / f"synthetic-{name}.json"))
    found = measure_latency(lambda: None, Workload(device="cuda:0"), PROTOCOL, device=device)
    assert len(found.doubts) == len(RECORDED[name]), found.doubts
    for doubt, beginning in zip(found.doubts, RECORDED[name], strict=True):
        assert doubt.startswith(beginning)


def test_a_quiet_gpu_gives_no_doubt_and_a_silent_one_says_so() -> None:
    """Absent NVML is told, never hidden."""
    assert gpu_doubts([reading(), reading()]) == []
    assert gpu_doubts([GpuReading(absent="NVML: refused")] * 2) == [
        "clocks, throttling and temperature unknown: NVML: refused"
    ]


def test_launch_bound_is_told_from_enqueue_time() -> None:
    """Above 80 % of device time the CPU is the bottleneck."""
    assert launch_doubts(0.010, 0.005) == []
    assert "95%" in launch_doubts(0.010, 0.0095)[0]


def test_a_processor_is_told_by_its_model_where_its_name_is_hidden(tmp_path: Path) -> None:
    """Hypervisors call many of them alike; other architectures have no such numbers."""
    file = tmp_path / "cpuinfo"
    file.write_text(
        "processor\t: 0\ncpu family\t: 6\nmodel\t\t: 207\nmodel name\t: Intel(R) Xeon(R)\n"
        "stepping\t: 2\n\nprocessor\t: 1\ncpu family\t: 6\nmodel\t\t: 143\nstepping\t: 8\n"
    )
    assert cpu_model(file) == "family 6 model 207 stepping 2"
    file.write_text("processor\t: 0\nCPU part\t: 0xd0c\nmodel\t: 1\n")
    assert cpu_model(file) is None
    assert cpu_model(tmp_path / "absent") is None


def test_a_virtual_machine_is_said_beside_a_time_that_stands_alone(tmp_path: Path) -> None:
    """Its neighbours leave no trace; a real machine, a GPU and one that does not tell have none."""
    guest = tmp_path / "guest"
    guest.write_text("processor\t: 0\nflags\t\t: fpu sse2 hypervisor avx\n")
    bare = tmp_path / "bare"
    bare.write_text("flags\t\t: fpu sse2 avx\nbugs\t\t: hypervisor\n")
    told = [is_virtual(path) for path in (guest, bare, tmp_path / "absent")]
    assert told == [True, False, False]
    counters = CpuUse(wall_s=0, own_s=0, busy_s=0, stolen_s=0, cores=2, virtual=True)
    assert "virtual machine" in guest_doubts(counters)[0]
    assert guest_doubts(replace(counters, virtual=False)) == []
    assert guest_doubts(GpuReading(absent="no NVML")) == []
