"""NVML as it answers, as it refuses and as it has changed; no test needs a GPU."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from dilnas.measure.nvml import Gpu, GpuReading

UUID = "ffc79498-8ff3-c2dc-3b0d-fafd804516ae"


class RecordedLibrary:
    """NVML as recorded: ``answers`` by question; what is not among them is refused."""

    class NVMLError(Exception):
        """As pynvml's."""

    class NVMLLibraryMismatchError(Exception):
        """As pynvml's: the driver is older than the package. No NVMLError."""

    NVML_CLOCK_SM = 1
    NVML_TEMPERATURE_GPU = 0
    NVML_TEMPERATURE_THRESHOLD_SLOWDOWN = 1

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvml"):
            raise AttributeError(name)

        def ask(*words: Any) -> Any:
            self.asked.append(name)
            answer = self.answers.get(name, self.NVMLError(f"{name}: Not Supported"))
            answer = answer(*words) if callable(answer) else answer
            if isinstance(answer, Exception):
                raise answer
            return answer

        return ask


H200 = {
    "nvmlDeviceGetClockInfo": 1980,
    "nvmlDeviceGetDefaultApplicationsClock": 1980,
    "nvmlDeviceGetMaxClockInfo": 1980,
    "nvmlDeviceGetTemperature": 41,
    "nvmlDeviceGetTemperatureThreshold": 92,
    "nvmlDeviceGetPowerUsage": 350_500,
    "nvmlDeviceGetEnforcedPowerLimit": 700_000,
    "nvmlDeviceGetPowerManagementDefaultLimit": 700_000,
    "nvmlDeviceGetTotalEnergyConsumption": 1_234_567,
    "nvmlDeviceGetCurrentClocksEventReasons": 0x1,
    "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=os.getpid())],
    "nvmlDeviceGetMigMode": [0, 0],
}
"""Answers in NVML's own units: MHz, °C, mW, mJ."""


def gpu(**changes: Any) -> Gpu:
    return Gpu(library=RecordedLibrary(**{**H200, **changes}), handle=object())


def refused() -> Exception:
    return RecordedLibrary.NVMLError("Not Supported")


def test_a_machine_without_nvml_or_gpu_says_why() -> None:
    """The real library, asked for a GPU that no machine has."""
    found = Gpu.of("00000000-0000-0000-0000-000000000000")
    assert found.absent
    assert found.read() == GpuReading(absent=found.absent)
    assert found.energy_j() is None
    assert found.driver() is None


def test_units_are_those_of_the_names() -> None:
    """Watts and joules, not thousandths; nothing is missing."""
    assert gpu().read() == GpuReading(
        sm_clock_mhz=1980, base_clock_mhz=1980, base_clock_kind="default application clock",
        temperature_c=41, slowdown_temperature_c=92, power_w=350.5, power_limit_w=700.0,
        default_power_limit_w=700.0, energy_j=1234.567, other_processes=0, mig=False,
    )  # fmt: skip
    assert gpu().energy_j() == 1234.567


def test_a_refused_question_is_missing_and_the_rest_is_read() -> None:
    """One by one: every reading can be refused alone, and the others stay."""
    names = {
        "nvmlDeviceGetClockInfo": ("clock", "sm_clock_mhz"),
        "nvmlDeviceGetTemperature": ("temperature", "temperature_c"),
        "nvmlDeviceGetPowerUsage": ("power", "power_w"),
        "nvmlDeviceGetEnforcedPowerLimit": ("power limit", "power_limit_w"),
        "nvmlDeviceGetPowerManagementDefaultLimit": ("default limit", "default_power_limit_w"),
        "nvmlDeviceGetTotalEnergyConsumption": ("energy", "energy_j"),
        "nvmlDeviceGetComputeRunningProcesses": ("processes", "other_processes"),
    }
    for question, (name, field) in names.items():
        found = gpu(**{question: refused()})
        for reading in (found.read(), found.read()):
            assert reading.missing == (name,)
            assert getattr(reading, field) is None
            assert sum(getattr(reading, each) is None for _, each in names.values()) == 1


def test_everything_refused_is_a_reading_of_nothing() -> None:
    """NVML that answers no question at all raises nothing."""
    found = Gpu(library=RecordedLibrary(), handle=object())
    reading = found.read()
    assert {"clock", "base clock", "temperature", "throttling", "processes"} <= set(reading.missing)
    assert reading.mig is None
    assert reading.throttle_reasons == ()
    assert found.energy_j() is None
    assert found.driver() is None


@pytest.mark.parametrize("nothing", [2**32 - 1, 2**64 - 1])
def test_all_bits_set_is_no_number(nothing: int) -> None:
    """NVML_VALUE_NOT_AVAILABLE must not become 4 GW."""
    reading = gpu(nvmlDeviceGetPowerUsage=nothing).read()
    assert reading.power_w is None
    assert reading.missing == ("power",)
    assert gpu(nvmlDeviceGetTotalEnergyConsumption=nothing).energy_j() is None


@pytest.mark.parametrize("margin", [50, 2**32 - 2, 0])
def test_a_margin_is_no_temperature_at_which_a_gpu_slows_down(margin: int) -> None:
    """50 °C left, or -2, in the place of 90 °C would make every reading a doubt."""
    assert gpu(nvmlDeviceGetTemperatureThreshold=margin).read().slowdown_temperature_c is None


def test_the_maximum_clock_stands_in_for_application_clocks_and_says_so() -> None:
    """Deprecated since CUDA 13, refused by some GPUs, 0 on others."""
    for answer in (refused(), 0):
        reading = gpu(nvmlDeviceGetDefaultApplicationsClock=answer).read()
        assert (reading.base_clock_mhz, reading.base_clock_kind) == (1980, "maximum clock")
        assert reading.missing == ()
    neither = gpu(
        nvmlDeviceGetDefaultApplicationsClock=refused(), nvmlDeviceGetMaxClockInfo=refused()
    ).read()
    assert (neither.base_clock_mhz, neither.base_clock_kind) == (None, None)
    assert neither.missing == ("base clock",)


def test_throttle_reasons_are_words_by_the_new_name_and_the_old() -> None:
    """Idle and user-set clocks are no reason for doubt; a driver before 535 knows the old name."""
    bits = 0x1 | 0x2 | 0x4 | 0x40
    expected = ("power cap", "thermal slowdown (hardware)")
    assert gpu(nvmlDeviceGetCurrentClocksEventReasons=bits).read().throttle_reasons == expected
    old = gpu(
        nvmlDeviceGetCurrentClocksEventReasons=refused(),
        nvmlDeviceGetCurrentClocksThrottleReasons=bits,
    )
    assert old.read().throttle_reasons == expected
    assert old.read().missing == ()


@pytest.mark.parametrize(
    ("pids", "others"),
    [
        ([], 0),
        ([os.getpid()], 0),
        ([os.getpid(), 7, 7], 1),
        ([2_000_000], 0),
        ([2_000_000, 2_000_001], 1),
    ],
)
def test_this_process_is_not_another_also_under_a_containers_numbers(
    pids: list[int], others: int
) -> None:
    """NVML lists the host's numbers: one of those is this process, which has its context."""
    processes = [SimpleNamespace(pid=pid) for pid in pids]
    found = gpu(nvmlDeviceGetComputeRunningProcesses=processes).read()
    assert found.other_processes == others


def test_a_driver_older_than_the_package_is_a_refusal() -> None:
    """pynvml then raises an error that is no NVMLError."""
    mismatch = RecordedLibrary.NVMLLibraryMismatchError("versions differ")
    assert gpu(nvmlDeviceGetComputeRunningProcesses=mismatch).read().missing == ("processes",)


def test_what_does_not_change_is_asked_for_once() -> None:
    """A look costs a question a reading, and is taken between samples."""
    found = gpu()
    assert found.read() == found.read()
    assert found.library.asked.count("nvmlDeviceGetDefaultApplicationsClock") == 1
    assert found.library.asked.count("nvmlDeviceGetClockInfo") == 2


def test_a_mig_slice_is_found_and_its_whole_gpu_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA gives the slice's UUID without its prefix; clocks and energy are the GPU's."""
    handles = {f"GPU-{UUID}": "gpu", "MIG-11111111": "slice"}

    def handle(uuid: str) -> str:
        if uuid not in handles:
            raise RecordedLibrary.NVMLError("Not Found")
        return handles[uuid]

    library = RecordedLibrary(
        nvmlInit=None, nvmlDeviceGetHandleByUUID=handle,
        nvmlDeviceGetDeviceHandleFromMigDeviceHandle=lambda part: f"gpu of {part}",
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert Gpu.of(UUID).handle == Gpu.of(f"GPU-{UUID}").handle == "gpu"
    assert Gpu.of("11111111").handle == Gpu.of("MIG-11111111").handle == "gpu of slice"
    assert Gpu.of("22222222").absent == "NVML: Not Found"
