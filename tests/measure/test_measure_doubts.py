"""Doubts: recorded readings in, sentences out."""

from __future__ import annotations

from pathlib import Path

import pytest

from dilnas.measure.cpu import CpuUse
from dilnas.measure.doubts import cpu_doubts, gpu_doubts, launch_doubts, sample_doubts
from dilnas.measure.nvml import Gpu, GpuReading
from dilnas.measure.sampling import Protocol, Sampled


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
    late = sample_doubts(sampled(*[1.0] * 20, stopped_by="time"), Protocol())
    assert any(text.startswith("stopped by time") for text in late)
    short = sample_doubts(sampled(*[1e-6] * 20), Protocol())
    assert any("near the clock's own cost" in text for text in short)


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


def test_a_machine_without_nvml_or_gpu_says_why() -> None:
    """The real library, asked for a GPU that no machine has."""
    gpu = Gpu.of("00000000-0000-0000-0000-000000000000")
    assert gpu.absent
    assert gpu.read() == GpuReading(absent=gpu.absent)
    assert gpu.driver() is None


class ReplayLibrary:
    """NVML as recorded: some questions are refused, as on MIG slices and consumer cards."""

    class NVMLError(Exception):
        """As pynvml's."""

    NVML_CLOCK_SM = 1
    NVML_TEMPERATURE_GPU = 0

    def nvmlDeviceGetClockInfo(self, handle: object, kind: int) -> int:  # noqa: N802
        return 1980

    def nvmlDeviceGetPowerUsage(self, handle: object) -> int:  # noqa: N802
        return 350_500

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: object) -> int:  # noqa: N802
        return 0x4 | 0x40 | 0x1

    def __getattr__(self, name: str) -> object:
        def refuse(*_: object) -> None:
            raise self.NVMLError(name)

        return refuse


def test_a_refused_question_is_missing_and_the_rest_is_read() -> None:
    """Units are turned to watts, reasons to words, idle is no reason, refusals are listed."""
    read = Gpu(library=ReplayLibrary(), handle=object()).read()
    assert (read.sm_clock_mhz, read.power_w) == (1980, 350.5)
    assert read.throttle_reasons == ("power cap", "thermal slowdown (hardware)")
    assert {"base clock", "temperature", "energy"} <= set(read.missing)
    assert read.mig is None
