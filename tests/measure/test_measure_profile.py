"""`profile`: cost first, then what this machine shows; the caller's torch is left as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dilnas.arch import Architecture, Stage
from dilnas.cost import cost
from dilnas.errors import DeviceError, DilnasError, InputError
from dilnas.measure import Protocol, choose_device, environment, profile
from dilnas.measure.cpu import available_memory_bytes
from dilnas.measure.machine import settings
from dilnas.measure.memory import peak_memory
from dilnas.measure.workload import fits, memory_need, prepare
from dilnas.records import Workload
from dilnas.variants import variant

SMALL = Architecture(
    stages=(
        Stage(dim=12, num_heads=3, msda_depth=1, global_depth=1),
        Stage(dim=24, num_heads=3, global_depth=1),
    ),
    num_classes=10,
    in_chans=1,
)
QUICK = Protocol(
    min_samples=2, max_samples=3, min_warmup=1, min_warmup_s=0.0, max_warmup_s=0.1, min_s=0.0
)


def test_a_variant_is_known_by_name_file_and_value(tmp_path: Path) -> None:
    """ "small", its file and its Architecture are one network; only the name shown differs."""
    path = tmp_path / "mine.json"
    path.write_text(variant("small").to_json())
    found = [profile(spec, latency=False) for spec in ("small", path, variant("small"))]
    assert [p.name for p in found] == ["small", "mine", "small"]
    assert all(p.cost == found[0].cost for p in found)
    assert all(p.measurement is None and p.environment is None for p in found)
    assert found[0].workload.device == "none"


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("mode", ["inference", "train"])
def test_every_dtype_and_mode_of_the_cpu_is_measured(dtype: str, mode: str) -> None:
    """H != W, one input channel, batch of two."""
    found = profile(
        SMALL, device="cpu", batch_size=2, dtype=dtype, mode=mode, img_size=(16, 40), protocol=QUICK
    )
    assert found.measurement is not None
    assert found.environment is not None
    assert (found.workload.dtype, found.workload.mode) == (dtype, mode)
    assert len(found.measurement.samples) in {2, 3}
    assert found.measurement.extra["peak_memory_bytes"] > found.measurement.extra["resident_bytes"]
    assert found.name == SMALL.key


def test_measured_memory_equals_the_closed_form() -> None:
    """Peak = closed form (weights, image, live activations) + batch norm buffers, exactly."""
    found = profile(SMALL, device="cpu", batch_size=4, img_size=(64, 96), protocol=QUICK)
    assert found.measurement is not None
    image = 4 * 1 * 64 * 96 * 4
    buffers = found.measurement.extra["resident_bytes"] - found.cost.weight_bytes() - image
    assert 0 <= buffers < 10_000
    peak = found.measurement.extra["peak_memory_bytes"]
    assert peak == found.cost.memory_bytes(batch_size=4) + buffers


def test_the_callers_torch_is_left_as_it_was() -> None:
    """Threads, random state, TF32 switches and gradient mode survive a profile."""
    torch.manual_seed(7)
    before = (torch.get_num_threads(), torch.get_rng_state(), torch.is_grad_enabled())
    tf32 = torch.backends.cuda.matmul.fp32_precision
    profile(SMALL, device="cpu", threads=1, img_size=(16, 24), protocol=QUICK)
    assert torch.get_num_threads() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert torch.is_grad_enabled() == before[2]
    assert torch.backends.cuda.matmul.fp32_precision == tf32


@pytest.mark.parametrize(("dtype", "expected"), [("fp32", "ieee"), ("tf32", "tf32")])
def test_tf32_is_on_exactly_where_asked(dtype: str, expected: str) -> None:
    """fp32 means full fp32; the switch is back afterwards, after an error too."""
    matmul = torch.backends.cuda.matmul
    found = matmul.fp32_precision
    with pytest.raises(ZeroDivisionError), settings(Workload(device="cuda", dtype=dtype)):
        assert matmul.fp32_precision == expected
        raise ZeroDivisionError
    assert matmul.fp32_precision == found


def test_progress_is_told() -> None:
    """Building, warming up, sampling and memory each have their word."""
    said: list[str] = []
    profile(
        SMALL, device="cpu", img_size=(16, 24), protocol=QUICK,
        on_progress=lambda doing, _: said.append(doing),
    )  # fmt: skip
    assert said[0] == "building the model"
    assert said[-1] == "peak memory"
    assert "warm-up" in said
    assert "sample 1" in said


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"), "does not fit"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "does not fit"),
        (RuntimeError("\"gelu\" not implemented for 'Half'"), "no fp16 kernel"),
    ],
)
def test_what_a_device_cannot_do_is_one_line(error: Exception, says: str) -> None:
    """Out of memory and a missing half-precision kernel are the user's to know."""
    with pytest.raises(DeviceError, match=says), fits(Workload(dtype="fp16", device="cpu")):
        raise error


def test_a_bug_is_not_dressed_up_as_a_users_error() -> None:
    """Another RuntimeError passes through."""
    with pytest.raises(RuntimeError, match="shape"), fits(Workload()):
        raise RuntimeError("shape mismatch")


@pytest.mark.parametrize(
    "arguments",
    [
        {"batch_size": 0}, {"batch_size": True}, {"batch_size": 1.5}, {"img_size": (32,)},
        {"img_size": (32, 33)}, {"img_size": "224"}, {"dtype": "FP32"}, {"mode": ""},
        {"threads": -1}, {"spec_or_architecture": 3},
    ],
)  # fmt: skip
def test_bad_arguments_are_refused_before_torch_is_asked(arguments: dict[str, object]) -> None:
    """InputError, with latency or without."""
    with pytest.raises(InputError):
        profile(**{"spec_or_architecture": SMALL, "latency": False, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["", "gpu", "cuda:x", "cpu:0x", "CUDA"])
def test_an_unknown_device_is_refused(device: str) -> None:
    """With what there is."""
    with pytest.raises(DilnasError, match="cpu \\| cuda"):
        choose_device(device)


def test_the_environment_says_enough_to_compare() -> None:
    """Device, versions, threads and cores are there, and JSON can hold them."""
    where = environment("cpu")
    assert where.device_name
    assert where.torch == torch.__version__
    assert where.threads == torch.get_num_threads()
    assert where.facts["affinity_cores"] >= 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", ["fp32", "tf32", "fp16", "bf16"])
def test_a_gpu_is_measured_by_events(dtype: str) -> None:
    """Device time, enqueue time and wall time stand side by side, memory is the allocator's."""
    found = profile("tiny", device="cuda", batch_size=2, dtype=dtype, protocol=QUICK)
    assert found.measurement is not None
    assert found.environment is not None
    extra = found.measurement.extra
    assert 0 < found.measurement.median <= extra["wall_median_s"] * 1.05
    assert extra["enqueue_median_s"] <= extra["wall_median_s"]
    assert extra["reserved_bytes"] >= extra["peak_memory_bytes"] >= extra["resident_bytes"]
    assert found.environment.facts["compute_capability"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_batch_that_does_not_fit_a_gpu_is_one_line() -> None:
    """And the next, smaller one runs."""
    with pytest.raises(DeviceError, match="does not fit"):
        profile("tiny", device="cuda", batch_size=200_000, protocol=QUICK)
    assert profile("tiny", device="cuda", protocol=QUICK).measurement is not None


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["tiny", "base"])
def test_the_memory_that_training_is_said_to_need_holds_what_it_takes(
    name: str, dtype: str
) -> None:
    """A refusal errs on the safe side, and by less than a factor of three."""
    architecture = variant(name)
    exact = cost(architecture, 96, 64)
    workload = Workload(batch_size=4, height=96, width=64, dtype=dtype, mode="train", device="cpu")
    runnable = prepare(architecture, workload, exact)
    taken = peak_memory(runnable.call, "cpu", runnable.resident)["peak_memory_bytes"]
    assert taken <= 1.02 * memory_need(workload, exact) <= 3 * taken


def test_memory_is_what_the_machine_and_the_container_have_left(tmp_path: Path) -> None:
    """Version 2 of control groups, version 1, none, and no limit."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:    4000 kB\n")
    assert available_memory_bytes(meminfo, tmp_path) == 4_096_000
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory_bytes(meminfo, tmp_path) == 4_096_000
    (tmp_path / "memory.max").write_text("5000\n")
    assert available_memory_bytes(meminfo, tmp_path) == 4000
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("700\n")
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text("900\n")
    assert available_memory_bytes(meminfo, tmp_path) == 0
    assert available_memory_bytes(tmp_path / "absent", tmp_path) is None
