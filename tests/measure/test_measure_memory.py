"""Memory in fresh processes: real ones on the CPU, synthetic readings for a GPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from dilnas.arch import Architecture, Stage
from dilnas.cost import cost
from dilnas.cost.memory import inference_peak_bytes, training_peak_bytes
from dilnas.cost.memory_mixed import mixed_peak_bytes
from dilnas.errors import DeviceError, InputError
from dilnas.measure.fresh import run_fresh
from dilnas.measure.memory import measure_memory, memory_record, tally_bytes
from dilnas.measure.memory_child import (
    _msda_of,
    _process_reading,
    _used_by_device,
    allocator_peak,
)
from dilnas.measure.memory_form import closed_form
from dilnas.records import Memory, Workload

SMALL = Architecture(
    stages=(
        Stage(dim=24, num_heads=4, msda_depth=2, window_size=3, dilations=(1, 2)),
        Stage(dim=48, num_heads=4, global_depth=2, msda_depth=0),
    ),
    num_classes=10,
)
SIZE = (64, 96)

SYNTHETIC_GPU = {
    "kind": "cuda",
    "weights_bytes": 68_963_984,
    "input_bytes": 4_816_896,
    "tally_bytes": 120_000_000,
    "first_peak_bytes": 230_000_000,
    "allocated_peak_bytes": 202_400_000,
    "reserved_peak_bytes": 260_046_848,
    "reserved_bytes": 255_852_544,
    "process_bytes": 790_626_304,
    "resident_set_peak_bytes": 1_900_000_000,
    "method": ["CUDA caching allocator"],
}
"""Made up, not measured: figures of the size that a Tiny inference batch of 8 could give."""


def small(mode: str) -> tuple[Workload, Memory]:
    """SMALL measured in a fresh process."""
    workload = Workload(batch_size=3, height=SIZE[0], width=SIZE[1], mode=mode, threads=1)
    return workload, measure_memory(SMALL, workload, cost(SMALL, *SIZE))


@pytest.mark.parametrize("mode", ["inference", "train"])
def test_the_parts_of_a_cpu_workload_add_up(mode: str) -> None:
    """Tensors equal the closed form to the byte, the allocator's peak is at least that, the
    resident set holds the allocator's peak and the libraries, and there is no doubt."""
    workload, found = small(mode)
    form, _ = closed_form(SMALL, workload)
    assert found.closed_form_bytes == form
    assert found.weights_bytes + found.input_bytes + found.activation_peak_bytes == form
    assert found.input_bytes == 3 * 3 * SIZE[0] * SIZE[1] * 4
    assert found.allocated_peak_bytes == form + found.workspace_bytes
    assert found.workspace_bytes >= 0
    assert found.resident_set_peak_bytes > found.context_bytes + found.weights_bytes
    assert found.reserved_peak_bytes is found.device_process_bytes is None
    assert found.doubts == ()


def test_a_batch_that_does_not_fit_is_the_childs_own_line() -> None:
    """The child's DeviceError arrives with its kind and words, from any working directory, and
    the process that asks has no need of torch."""
    script = (
        "import sys; from dilnas.measure.memory import measure_memory;"
        "from dilnas.variants import variant; from dilnas.cost import cost;"
        "from dilnas.errors import DeviceError; from dilnas.records import Workload\n"
        "a = variant('tiny')\n"
        "w = Workload(batch_size=1 << 19, device='cpu')\n"
        "try: measure_memory(a, w, cost(a))\n"
        "except DeviceError as error: print(error)\n"
        "assert 'torch' not in sys.modules"
    )
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", script], cwd="/", capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": root}, check=True,
    )  # fmt: skip
    assert "does not fit" in done.stdout
    assert done.stdout.count("\n") == 1


def test_the_allocators_peak_of_a_chain_is_its_two_largest_neighbours() -> None:
    """1000, 500, 2000 and 100 rows, two alive at a time: 2500 rows; freeing what was there before
    the call counts nothing."""
    before = [torch.empty(7000, 30)]

    def call() -> torch.Tensor:
        before.clear()
        a = torch.empty(1000, 30)
        b = torch.empty(500, 30)
        del a
        c = torch.empty(2000, 30)
        del b
        d = torch.empty(100, 30)
        del c
        return d

    assert allocator_peak(call) == 2500 * 30 * 4


def test_scratch_space_inside_of_an_operator_is_the_allocators() -> None:
    """kthvalue sorts a copy of values and indices that no tensor of the caller shows."""
    x = torch.randn(64, 96)

    def call() -> object:
        return x.kthvalue(3, 1)

    outputs, scratch = 64 * (4 + 8), 64 * 96 * (4 + 8)
    assert tally_bytes(call) == outputs
    assert allocator_peak(call) == outputs + scratch


def test_a_cost_of_another_size_is_refused() -> None:
    """Before a process is started."""
    with pytest.raises(InputError, match="another image size"):
        measure_memory(SMALL, Workload(height=64, width=64), cost(SMALL, *SIZE))


def test_closed_forms_follow_the_workload() -> None:
    """Half types have one, in training on CUDA; the CPU's autocast and fused kernels a reason."""
    half = Workload(batch_size=2, height=64, width=96, dtype="bf16")
    assert closed_form(SMALL, half) == (inference_peak_bytes(SMALL, 64, 96, 2, 2), "")
    train = Workload(batch_size=2, height=64, width=96, mode="train")
    assert closed_form(SMALL, train) == (training_peak_bytes(SMALL, 64, 96, 2), "")
    mixed = Workload(batch_size=2, height=64, width=96, mode="train", dtype="fp16", device="cuda")
    assert closed_form(SMALL, mixed, "fused") == (mixed_peak_bytes(SMALL, 64, 96, 2), "")
    assert closed_form(SMALL, mixed, "portable")[0] is None
    dense = SMALL.replace(stages=(Stage(dim=12, num_heads=3, global_depth=2),))
    assert closed_form(dense, mixed, "portable")[0] == mixed_peak_bytes(dense, 64, 96, 2)
    for changes in ({"dtype": "bf16", "mode": "train"}, {"compile": "compile"}):
        form, why = closed_form(SMALL, Workload(height=64, width=96, **changes))
        assert form is None
        assert why.startswith("no closed form")


def test_the_closed_form_follows_how_msda_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fused or portable has its own; any other backend, or a mixture, a reason why not."""
    for mode, form in (("inference", inference_peak_bytes), ("train", training_peak_bytes)):
        what = Workload(batch_size=2, height=64, width=96, mode=mode)
        assert closed_form(SMALL, what, "fused") == (form(SMALL, 64, 96, 2, fused=True), "")
    none = closed_form(SMALL, what, "by matmul")
    assert none == (None, "no closed form with MSDA by matmul")
    found = [_msda_of(*counts) for counts in ((2, 2), (3, 2), (2, 0), (0, 0))]
    assert found == ["fused", "fused in 2 blocks of 3", "portable", "portable"]
    monkeypatch.setenv("DILNAS_MSDA", "matmul")
    assert [_msda_of(2, 0), _msda_of(0, 0)] == ["by matmul", "portable"]


def test_a_backend_that_is_not_modelled_has_no_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable reaches the fresh process, and the method says what ran."""
    monkeypatch.setenv("DILNAS_MSDA", "oracle")
    _, found = small("inference")
    assert found.closed_form_bytes is None
    assert "MSDA by oracle" in found.method
    assert found.doubts == ()


# --- readings of a GPU, synthetic ---------------------------------------------------------------


def gpu(form: int | None = None, **changes: object) -> Memory:
    """The synthetic readings, changed."""
    return memory_record({**SYNTHETIC_GPU, **changes}, form)


def test_four_levels_of_a_gpu_add_up() -> None:
    """Tensors, workspace, what is reserved and the context are differences of the readings."""
    found = gpu(193_780_880)
    tensors = found.weights_bytes + found.input_bytes + found.activation_peak_bytes
    assert tensors + found.workspace_bytes == found.allocated_peak_bytes
    assert found.context_bytes == 790_626_304 - 255_852_544
    assert found.allocated_peak_bytes < found.reserved_peak_bytes < found.device_process_bytes
    assert found.doubts == ()
    assert "the first call allocated more: 230,000,000 bytes" in found.method


@pytest.mark.parametrize(
    ("changes", "doubt"),
    [
        ({"allocated_peak_bytes": 190_000_000}, "below the 193,780,880 that tensors held"),
        ({"reserved_peak_bytes": 200_000_000}, "200,000,000 bytes reserved"),
        ({"process_bytes": 200_000_000}, "NVML counts 200,000,000"),
        ({"process_bytes": None, "process_missing": "NVML: Not Supported"}, "Not Supported"),
        ({"doubts": ["the device's difference"]}, "the device's difference"),
    ],
)
def test_a_sum_that_does_not_come_out_is_a_doubt(changes: dict, doubt: str) -> None:
    """Each contradiction between the readings is said, once, and nothing is hidden."""
    found = gpu(193_780_880, **changes)
    assert len(found.doubts) == 1
    assert doubt in found.doubts[0]


def test_unknown_parts_are_none_not_zero() -> None:
    """Without NVML there is no context; a compiled call has no tensors apart from workspace."""
    found = gpu(process_bytes=None, process_missing="no NVML", tally_bytes=None)
    assert found.context_bytes is found.device_process_bytes is None
    assert found.activation_peak_bytes is found.workspace_bytes is None
    assert found.allocated_peak_bytes == 202_400_000


def test_tensors_that_leave_the_closed_form_are_a_doubt() -> None:
    """More than 5 % off on a GPU, whose kernels keep other statistics, is said in per cent."""
    assert gpu(190_000_000).doubts == ()
    (doubt,) = gpu(150_000_000).doubts
    assert "+29.2 %" in doubt


def test_a_resident_set_that_nothing_explains_is_a_doubt() -> None:
    """300 MB more than libraries and allocator together."""
    readings = {
        "kind": "cpu", "weights_bytes": 4_000_000, "input_bytes": 1_000_000,
        "tally_bytes": 10_000_000, "allocated_peak_bytes": 20_000_000,
        "context_bytes": 230_000_000, "resident_set_peak_bytes": 550_000_000,
    }  # fmt: skip
    (doubt,) = memory_record(readings).doubts
    assert "300 MB more" in doubt
    assert memory_record({**readings, "resident_set_peak_bytes": 270_000_000}).doubts == ()


def test_a_memory_is_plain_data() -> None:
    """JSON takes it as it is."""
    assert json.loads(json.dumps(asdict(gpu(193_780_880))))["workspace_bytes"] == 8_619_120


class FakeNvml(ModuleType):
    """A synthetic NVML: one GPU, the given processes as (number, bytes)."""

    NVMLError = type("NVMLError", (Exception,), {})
    NVMLLibraryMismatchError = type("NVMLLibraryMismatchError", (Exception,), {})

    def __init__(self, *processes: tuple[int, int | None], refuses: str = "") -> None:
        super().__init__("pynvml")
        self.processes, self.refuses = processes, refuses

    def nvmlInit(self) -> None:  # noqa: N802
        if self.refuses:
            raise self.NVMLError(self.refuses)

    def __getattr__(self, name: str) -> object:
        running = [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.processes]
        return {
            "nvmlDeviceGetCount": lambda: 1,
            "nvmlDeviceGetHandleByIndex": lambda index: "gpu",
            "nvmlDeviceGetHandleByUUID": lambda uuid: "gpu",
            "nvmlDeviceGetUUID": lambda gpu: b"GPU-1234",
            "nvmlDeviceGetMemoryInfo": lambda gpu: SimpleNamespace(used=900_000_000),
            "nvmlDeviceGetComputeRunningProcesses": lambda gpu: running,
        }[name]


class OldDriver(FakeNvml):
    """A driver without a function that the package needs."""

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: object) -> object:  # noqa: N802
        raise self.NVMLLibraryMismatchError("Unversioned function called")


@pytest.mark.parametrize(
    ("nvml", "process", "words"),
    [
        (FakeNvml((os.getpid(), 700_000_000), (1, 5)), 700_000_000, None),
        (FakeNvml((os.getpid(), None)), 600_000_000, "does not tell it for this process"),
        (FakeNvml((os.getpid(), 0)), 600_000_000, "does not tell it for this process"),
        (OldDriver(), None, "NVML: Unversioned function called"),
        (FakeNvml((1, 5), (2, 6)), 600_000_000, "and 1 other processes use the device"),
        (FakeNvml(refuses="Driver Not Loaded"), None, "NVML: Driver Not Loaded"),
    ],
)
def test_the_process_is_found_by_nvml_or_by_difference(
    monkeypatch: pytest.MonkeyPatch, nvml: FakeNvml, process: int | None, words: str | None
) -> None:
    """By number; in a container, where numbers differ, by what the device gained, with a doubt."""
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    before = {} if nvml.refuses else {"GPU-1234": 300_000_000}
    assert set(_used_by_device()) == set(before)
    found = _process_reading("1234", before)
    assert found["process_bytes"] == process
    said = [*found.get("doubts", []), *([found["process_missing"]] if process is None else [])]
    assert (words is None and not said) or words in said[0]


# --- the fresh process --------------------------------------------------------------------------

CHILD = """
import os, signal, sys, time
from dilnas.errors import SpaceError
from dilnas.measure.fresh import answer

def measure(request):
    {body}

sys.exit(answer(measure))
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes a module whose ``measure(request)`` has the given body; returns its name."""

    def make(body: str) -> str:
        (tmp_path / "measuring_child.py").write_text(CHILD.format(body=body))
        return "measuring_child"

    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return make


def test_a_child_answers_and_may_chatter(child) -> None:
    """What libraries print to stdout, also past Python, does not reach the answer."""
    name = child("print('hello'); os.system('echo native'); return {'got': request['x'] + 1}")
    assert run_fresh(name, {"x": 41}) == {"got": 42}


def test_a_childs_error_keeps_its_kind(child) -> None:
    """A DilnasError of the child is the same error here, one line."""
    name = child("raise SpaceError('no such axis', where='axis', expected=3, got=(1, 2))")
    with pytest.raises(Exception, match=r"axis: no such axis \(expected 3, got \(1, 2\)\)") as e:
        run_fresh(name, {})
    assert type(e.value).__name__ == "SpaceError"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL: most likely the system ran out"),
        ("os.abort()", "killed by SIGABRT"),
        ("raise ZeroDivisionError('by zero')", "ZeroDivisionError: by zero"),
        ("os._exit(7)", "exit 7"),
        ("os._exit(0)", "failed: no message"),
    ],
)
def test_a_child_that_dies_is_one_clear_line(child, body: str, words: str) -> None:
    """Killed for want of memory, crashed, with a bug or silently: a DeviceError each."""
    with pytest.raises(DeviceError) as caught:
        run_fresh(child(body), {}, where="memory")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_last_words_of_a_child_are_kept(child) -> None:
    """The traceback is a note of the error, not part of its line."""
    with pytest.raises(DeviceError) as caught:
        run_fresh(child("raise ZeroDivisionError('by zero')"), {})
    assert "Traceback" in caught.value.__notes__[0]


def test_a_child_that_hangs_is_ended(
    child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time-out the process is gone and the error says how long it was waited for."""
    name = child("open('pid', 'w').write(str(os.getpid())); time.sleep(600)")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeviceError, match="within 3 s"):
        run_fresh(name, {}, timeout_s=3.0)
    assert gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_child_ends_with_its_parent(child, tmp_path: Path, number: int) -> None:
    """Ctrl-C in the parent alone, and the parent's sudden death, end the measuring process."""
    if number == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("only Linux tells a child that its parent died")
    name = child("open('pid', 'w').write(str(os.getpid())); time.sleep(600)")
    script = (  # a background job of a shell ignores Ctrl-C: not here
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"from dilnas.measure.fresh import run_fresh; run_fresh({name!r}, {{}})"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"},
    ) as parent:  # fmt: skip
        pid = 0
        deadline = time.monotonic() + 60
        while not pid and time.monotonic() < deadline:
            time.sleep(0.05)
            text = (tmp_path / "pid").read_text() if (tmp_path / "pid").exists() else ""
            pid = int(text or 0)
        assert pid
        parent.send_signal(number)
        parent.wait(60)
    assert gone(pid)


def gone(pid: int) -> bool:
    """Whether a process ends within a minute."""
    for _ in range(600):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if sys.platform == "linux":
            stat = Path(f"/proc/{pid}/stat")
            if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True  # dead, and its new parent has not looked yet
        time.sleep(0.1)
    return False
