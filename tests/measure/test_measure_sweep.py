"""`sweep`: the product of its axes, every workload a Profile, and one that fails stops no other."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dilnas.arch import Architecture, Stage
from dilnas.errors import DeviceError, DilnasError, InputError
from dilnas.measure import Protocol
from dilnas.measure.limits import COMPILES, DTYPES, MODES
from dilnas.measure.plan import MAX_WORKLOADS, Axes, Parts, plans
from dilnas.measure.sweeping import sweep
from dilnas.measure.workload import prepare_module
from dilnas.records import Profile, Workload

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
TOO_MANY = 1 << 20
"""A batch of which no machine has the memory at ``LARGE``: refused before anything is built."""
LARGE = ((128, 160),)


@pytest.fixture
def one_thread() -> Iterator[None]:
    found = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(found)


def quick(**axes: Any) -> tuple[Profile, ...]:
    return sweep(SMALL, **{"device": "cpu", "protocol": QUICK, "img_sizes": ((16, 40),), **axes})


def test_every_dtype_and_mode_of_the_cpu_is_a_row_with_time_and_memory(one_thread: None) -> None:
    """H != W, one input channel; in the order of the axes; told to the caller as they are done."""
    told: list[Profile] = []
    dtypes = ("fp32", "fp16", "bf16")
    found = quick(batch_sizes=(2,), dtypes=dtypes, modes=MODES, on_profile=told.append)
    assert told == list(found)
    assert [(p.workload.mode, p.workload.dtype) for p in found] == list(product(MODES, dtypes))
    for profile in found:
        assert profile.measurement is not None
        assert profile.environment is not None
        assert profile.failure == ""
        assert len(profile.measurement.samples) in {2, 3}
        extra = profile.measurement.extra
        assert extra["peak_memory_bytes"] > extra["resident_bytes"] > 0
        assert profile.memory is None
        assert profile.energy is None


def test_the_memory_beside_a_rows_time_equals_the_closed_form(one_thread: None) -> None:
    """Peak = closed form (weights, images, live activations) + batch norm buffers, exactly."""
    for profile in quick(batch_sizes=(1, 4), img_sizes=((64, 96), 32)):
        assert profile.measurement is not None
        extra, batch = profile.measurement.extra, profile.workload.batch_size
        image = batch * 1 * profile.workload.height * profile.workload.width * 4
        buffers = extra["resident_bytes"] - profile.cost.weight_bytes() - image
        assert 0 <= buffers < 10_000
        assert extra["peak_memory_bytes"] == profile.cost.memory_bytes(batch) + buffers


def test_a_batch_that_does_not_fit_is_a_row_that_says_so_and_the_sweep_goes_on() -> None:
    """The rows before and after are measured; the failed one keeps its cost and its device."""
    first, second, third = quick(batch_sizes=(1, TOO_MANY, 2), img_sizes=LARGE)
    assert first.measurement is not None
    assert third.measurement is not None
    assert second.measurement is None
    assert "does not fit into memory" in second.failure
    assert "\n" not in second.failure
    assert second.cost == first.cost
    assert second.environment is not None
    assert second.workload.device == "cpu"


def test_a_dtype_that_the_device_has_not_is_a_row_too() -> None:
    """TF32 on a CPU."""
    fp32, tf32 = quick(dtypes=("fp32", "tf32"))
    assert fp32.measurement is not None
    assert "CUDA devices only" in tf32.failure


def test_a_cuda_graph_on_a_cpu_is_a_row_beside_the_eager_one() -> None:
    """The two are told apart by the workload."""
    eager, graph = quick(compiles=("eager", "graph"))
    assert (eager.workload.compile, graph.workload.compile) == ("eager", "graph")
    assert eager.measurement is not None
    assert graph.failure == ("--cuda-graph: CUDA graphs exist on CUDA devices only (got cpu)")


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ({"batch_sizes": (TOO_MANY,), "img_sizes": LARGE}, "does not fit"),
        ({"dtypes": ("tf32",)}, "CUDA devices only"),
        ({"compiles": ("graph",)}, "CUDA graphs exist on CUDA devices only"),
    ],
)
def test_the_only_workload_that_cannot_be_done_is_an_error(axes: dict[str, Any], says: str) -> None:
    """There is nothing to go on with."""
    with pytest.raises(DeviceError, match=says):
        quick(**axes)


class FullAfter(nn.Module):
    """Runs ``calls`` times, then raises what CUDA raises, holding a tensor while it does."""

    def __init__(self, calls: int, error: Exception) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.left, self.error = calls, error

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        held = images * self.weight
        if self.left == 0:
            raise self.error
        self.left -= 1
        return held.sum((1, 2, 3))


OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 9.00 GiB. GPU 0 has 1.00 GiB free"


def test_running_out_of_memory_in_the_middle_of_a_sweep_costs_one_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error comes while samples are taken; the others are measured and nothing is leaked.

    The model stands in for a large one; what it raises, and all that follows, is real.
    """
    import dilnas.model

    def build(architecture: Architecture) -> nn.Module:
        building = len(built)
        calls = 2 if building == 1 else 10_000
        model = FullAfter(calls, torch.OutOfMemoryError(OUT_OF_MEMORY))
        built.append(weakref.ref(model))
        return model

    built: list[weakref.ref[nn.Module]] = []
    monkeypatch.setattr(dilnas.model, "build_model", build)
    first, second, third = quick(batch_sizes=(1, 2, 4))
    assert [model() for model in built] == [None, None, None]
    assert second.failure == (
        "--batch-size: out of memory on cpu: 2 x 16 x 40 in fp32 (inference) does not fit"
    )
    assert second.measurement is None
    assert first.measurement is not None
    assert third.measurement is not None


def test_a_bug_in_the_middle_of_a_sweep_is_not_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """It passes through, and what was measured before it has been told to the caller."""
    import dilnas.model

    told: list[Profile] = []

    def build(architecture: Architecture) -> nn.Module:
        return FullAfter(2 if told else 10_000, RuntimeError("shapes cannot be multiplied"))

    monkeypatch.setattr(dilnas.model, "build_model", build)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        quick(batch_sizes=(1, 2), on_profile=told.append)
    assert [p.workload.batch_size for p in told] == [1]


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ({"batch_sizes": (1, 0)}, "--batch-size: out of range"),
        ({"batch_sizes": ()}, "--batch-size: must not be empty"),
        ({"batch_sizes": (1, 8, 1)}, "--batch-size: named twice"),
        ({"batch_sizes": 8}, "--batch-size: must be a list"),
        ({"batch_sizes": (True,)}, "--batch-size: out of range"),
        ({"img_sizes": (32, (32, 33))}, "img_size: image sides must be multiples"),
        ({"img_sizes": (32, (32, 32))}, "--img-size: named twice"),
        ({"img_sizes": ("32",)}, "--img-size: must be one side"),
        ({"dtypes": ("fp32", "fp8")}, "--dtype: unknown choice"),
        ({"dtypes": "fp32"}, "--dtype: must be a list"),
        ({"modes": ("inference", "play")}, "--mode: unknown choice"),
        ({"compiles": ("eager", "jit")}, "compile: unknown choice"),
        ({"threads": -1}, "--threads"),
        ({"batch_sizes": range(1, MAX_WORKLOADS + 2)}, "too many workloads"),
        ({"latency": False, "breakdown": True}, "--breakdown: needs a measurement"),
        ({"compiles": ("compile",), "breakdown": True}, "eager mode only"),
    ],
)
def test_what_is_wrong_beforehand_is_refused_before_anything_is_measured(
    axes: dict[str, Any], says: str
) -> None:
    """One line, though the first workload of the list could have been run."""
    told: list[Profile] = []
    with pytest.raises(InputError, match=says) as caught:
        quick(on_profile=told.append, **axes)
    assert "\n" not in str(caught.value)
    assert told == []


def test_a_device_that_is_not_there_is_an_error_and_no_column_of_failures() -> None:
    """No row could be measured."""
    with pytest.raises(DilnasError, match="cpu \\| cuda"):
        quick(device="tpu", batch_sizes=(1, 2))


lists = st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True)


@given(
    lists,
    st.lists(st.sampled_from([32, (32, 64), (64, 32)]), min_size=1, unique=True),
    st.lists(st.sampled_from(DTYPES), min_size=1, unique=True),
    st.lists(st.sampled_from(MODES), min_size=1, unique=True),
    st.lists(st.sampled_from(COMPILES), min_size=1, unique=True),
)
def test_the_workloads_are_the_product_of_the_axes_and_costs_are_shared(
    batches: list[int],
    sizes: list[Any],
    dtypes: list[str],
    modes: list[str],
    compiles: list[str],
) -> None:
    """Each combination once, in order; one Cost an image size, however many rows there are."""
    axes = Axes(batch_sizes=batches, img_sizes=sizes, dtypes=dtypes, modes=modes, compiles=compiles)
    found = plans(SMALL, axes, Parts(), None)
    sides = [size if isinstance(size, tuple) else (size, size) for size in sizes]
    assert [
        ((w.height, w.width), w.mode, w.compile, w.dtype, w.batch_size)
        for w in (p.workload for p in found)
    ] == list(product(sides, modes, compiles, dtypes, batches))
    assert len({id(p.cost) for p in found}) == len(sizes)
    assert all(
        (p.cost.height, p.cost.width) == (p.workload.height, p.workload.width) for p in found
    )


def test_progress_says_which_row_is_measured() -> None:
    """Number and count stand before what is being done."""
    said: list[str] = []
    quick(batch_sizes=(1, 2), on_progress=lambda doing, _: said.append(doing))
    assert said[0] == "1 of 2, building the model"
    assert "2 of 2, warm-up" in said
    assert any(text.startswith("2 of 2, sample") for text in said)


def test_the_callers_torch_survives_a_sweep_over_training_and_half_precision() -> None:
    """Threads, random state and gradient mode, failed rows included."""
    torch.manual_seed(7)
    before = (torch.get_num_threads(), torch.get_rng_state(), torch.is_grad_enabled())
    with torch.no_grad():
        quick(dtypes=("fp32", "tf32", "bf16"), modes=MODES, threads=1)
        assert not torch.is_grad_enabled()
    assert torch.get_num_threads() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert torch.is_grad_enabled() == before[2]


def test_channels_last_reaches_images_and_weights() -> None:
    """The convolution sees both in that format, and the record says so."""
    seen: list[tuple[bool, bool]] = []

    class Convolution(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            last = torch.channels_last
            seen.append(
                (images.is_contiguous(memory_format=last),
                 self.conv.weight.is_contiguous(memory_format=last))
            )  # fmt: skip
            return self.conv(images).mean((2, 3))

    for channels_last in (True, False):
        prepare_module(Convolution, 3, Workload(height=8, width=12, channels_last=channels_last))
    assert seen == [(True, True), (False, False)]
    (profile,) = quick(channels_last=True, memory=False, energy=False)
    assert profile.workload.channels_last


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("answer", [(1, 2), {"out": 1}, None, [torch.zeros(1)]], ids=repr)
def test_a_model_that_does_not_return_one_tensor_is_one_line(mode: str, answer: object) -> None:
    """A tuple, a dict, a list, nothing: in inference and in training."""

    class Answers(nn.Linear):
        def forward(self, images: torch.Tensor) -> Any:
            return answer

    with pytest.raises(InputError, match="must return one tensor") as caught:
        prepare_module(lambda: Answers(2, 2), 3, Workload(height=8, width=12, mode=mode))
    assert type(answer).__name__ in str(caught.value)


def test_any_module_is_made_runnable_and_its_parameters_are_counted() -> None:
    """Not only a DilateFormer: what `compare` does with a factory."""
    model = nn.Sequential(nn.Conv2d(5, 2, 1), nn.Flatten(), nn.Linear(2 * 8 * 12, 3))
    workload = Workload(batch_size=4, height=8, width=12, dtype="bf16")
    runnable = prepare_module(lambda: model, 5, workload)
    out = runnable.call()
    assert out.shape == (4, 3)
    assert out.dtype == torch.bfloat16
    assert runnable.parameters == 5 * 2 + 2 + 2 * 8 * 12 * 3 + 3
    assert runnable.extra == {}


def test_two_builds_of_one_model_have_the_same_weights_and_images() -> None:
    """Seed 0 each time, so that two contenders differ by what they are and not by luck."""

    def build() -> nn.Module:
        return nn.Linear(12, 3)

    workload = Workload(height=8, width=12)
    one, other = (prepare_module(build, 3, workload).resident for _ in range(2))
    for left, right in zip(one, other, strict=True):
        assert torch.equal(left, right)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_compiled_model_is_told_apart_from_an_eager_one(mode: str, one_thread: None) -> None:
    """Its row says compile and how long compiling took, which is in no sample."""
    rows = quick(compiles=("eager", "compile"), batch_sizes=(1, 2), modes=(mode,))
    assert [(p.workload.compile, p.workload.batch_size) for p in rows] == [
        ("eager", 1), ("eager", 2), ("compile", 1), ("compile", 2)
    ]  # fmt: skip
    for profile in rows:
        assert profile.measurement is not None, profile.failure
        extra = profile.measurement.extra
        assert ("compile_s" in extra) == (profile.workload.compile == "compile")
        if profile.workload.compile == "compile":
            assert extra["compile_s"] > max(profile.measurement.samples)


def test_what_does_not_compile_is_one_line_that_names_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A C++ compiler that is not there."""
    from torch._inductor import config

    class Sums(nn.Linear):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return (super().forward(images).sin() + images.sum()).mean((1, 2, 3))

    # A cache of its own: what was compiled before would be found again without any compiler.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    workload = Workload(height=8, width=12, compile="compile")
    with (
        # Not by monkeypatch, which would leave the option deleted to whoever compiles next.
        config.patch({"cpp.cxx": (str(tmp_path / "no-such-compiler"),)}),
        pytest.raises(DeviceError, match=r"--compile: torch\.compile failed") as caught,
    ):
        prepare_module(lambda: Sums(12, 3), 3, workload)
    assert "\n" not in str(caught.value)
    torch.compiler.reset()
