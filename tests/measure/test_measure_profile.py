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


def test_one_workload_has_its_memory_in_a_fresh_process_and_says_why_it_has_no_energy() -> None:
    """The habit of a single profile, on a CPU; H != W, one input channel, batch of two."""
    found = profile(SMALL, device="cpu", batch_size=2, img_size=(16, 40), protocol=QUICK)
    assert found.measurement is not None
    assert found.environment is not None
    assert len(found.measurement.samples) in {2, 3}
    assert found.memory is not None, found.missing
    assert found.memory.weights_bytes >= found.cost.weight_bytes()
    assert found.memory.input_bytes == 2 * 1 * 16 * 40 * 4
    assert found.energy is None
    assert found.missing is not None
    assert found.missing["energy"]
    assert found.name == SMALL.key


def test_parts_that_are_not_wanted_are_neither_there_nor_missing() -> None:
    """The time alone."""
    found = profile(
        SMALL, device="cpu", img_size=(16, 40), protocol=QUICK, memory=False, energy=False
    )
    assert found.measurement is not None
    assert (found.memory, found.energy, found.breakdown, found.counters) == (None, None, None, ())
    assert found.missing is None
    assert "peak_memory_bytes" not in found.measurement.extra


def test_a_breakdown_stands_beside_the_time_that_it_explains() -> None:
    """Its plain time is the median of the samples."""
    found = profile(
        SMALL, device="cpu", img_size=(32, 64), protocol=QUICK,
        memory=False, energy=False, breakdown=True,
    )  # fmt: skip
    assert found.measurement is not None
    assert found.breakdown is not None, found.missing
    assert found.breakdown.plain_s == found.measurement.median
    assert found.breakdown.bottleneck


def test_counters_need_no_device() -> None:
    """They stand beside the exact cost, residual 0."""
    found = profile(SMALL, img_size=(32, 64), latency=False, counters=True)
    assert found.measurement is None
    assert {report.residual for report in found.counters} == {0}
    assert len(found.counters) == 3


def test_the_callers_torch_is_left_as_it_was() -> None:
    """Threads, random state, TF32 switches and gradient mode survive a profile."""
    torch.manual_seed(7)
    before = (torch.get_num_threads(), torch.get_rng_state(), torch.is_grad_enabled())
    tf32 = torch.backends.cuda.matmul.fp32_precision
    profile(SMALL, device="cpu", threads=1, img_size=(16, 24), protocol=QUICK, memory=False)
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
    """Building, warming up and sampling each have their word, in that order."""
    said: list[str] = []
    profile(
        SMALL, device="cpu", img_size=(16, 24), protocol=QUICK, memory=False, energy=False,
        on_progress=lambda doing, _: said.append(doing),
    )  # fmt: skip
    assert said[0] == "building the model"
    assert said.index("warm-up") < said.index("sample 1") == said.index("sample 2") - 1
    assert "warm-up" in said
    assert "sample 1" in said


def test_what_is_refused_beforehand_is_not_said_to_be_built() -> None:
    """On a busy machine, where progress is told early, the refusal is still the only line."""
    said: list[str] = []
    with pytest.raises(DeviceError, match="does not fit into memory"):
        profile(
            "tiny", device="cpu", batch_size=100_000, on_progress=lambda what, _: said.append(what)
        )
    assert said == []


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"), "does not fit"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "does not fit"),
        (torch.AcceleratorError("CUDA error: out of memory\nSearch for it"), "does not fit"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(h)`"),
            "does not fit",
        ),
        (
            RuntimeError("GET was unable to find an engine to execute this computation"),
            "for want of memory",
        ),
        (ValueError("Expected more than 1 value per channel when training"), "larger batch"),
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
        {"threads": -1}, {"spec_or_architecture": 3}, {"compile": "jit"}, {"breakdown": True},
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
