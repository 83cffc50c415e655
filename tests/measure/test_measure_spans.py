"""Spans of a profiler, attributed by hand: each kernel and each microsecond has one owner."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilnas.arch import Architecture, Stage
from dilnas.errors import DeviceError
from dilnas.measure.breakdown import breakdown_of
from dilnas.measure.breakdown_ranges import _trace
from dilnas.measure.spans import BATCH, CORE, OUTSIDE, PART, Span, Trace, attribute
from dilnas.records import (
    DeviceRates,
    Workload,
)

SMALL = Architecture(
    stages=(
        Stage(dim=24, num_heads=3, msda_depth=1, global_depth=1),
        Stage(dim=48, num_heads=3, global_depth=1),
    ),
    num_classes=10,
)
RATES = DeviceRates(macs_per_s=50e9, bytes_per_s=25e9)
HERE = Workload(batch_size=2, height=32, width=48, threads=1)


def device_trace() -> Trace:
    """Two batches on a GPU: launched from thread 1, derived in thread 2, one kernel by nobody."""
    spans, kernels = [], []
    for i, slower in enumerate((1.0, 2.0)):
        at, number = 1000.0 * i, 10 * i
        engine = "autograd::engine::evaluate_function: "
        spans += [
            Span(BATCH, at, at + 900, 1),
            Span(PART + "stage 1", at + 10, at + 400, 1),
            Span("aten::linear", at + 20, at + 60, 1, number + 1),
            Span("aten::addmm", at + 25, at + 55, 1, number + 2, kernels_us=30 * slower),
            Span("cudaLaunchKernel", at + 40, at + 50, 1),
            Span(CORE + "msda", at + 100, at + 300, 1),
            Span("aten::permute", at + 105, at + 110, 1, number + 3),
            Span("_Portable", at + 120, at + 200, 1, number + 4, kernels_us=50 * slower),
            Span("aten::copy_", at + 130, at + 150, 1, -1, kernels_us=10 * slower),
            Span(CORE, at + 210, at + 290, 1),
            Span("aten::linear", at + 220, at + 280, 1, number + 5, kernels_us=20 * slower),
            Span("aten::contiguous", at + 310, at + 320, 1, number + 6, kernels_us=5 * slower),
            Span("aten::mean", at + 450, at + 460, 1, number + 7, kernels_us=1 * slower),
            Span(engine + "_PortableBackward", at + 500, at + 600, 2, number + 4),
            Span("_PortableBackward", at + 510, at + 580, 2, number + 4, kernels_us=70 * slower),
            Span("aten::add_", at + 585, at + 595, 2, -1, kernels_us=4 * slower),
            Span(engine + "AddmmBackward0", at + 610, at + 700, 2, number + 2),
            Span("aten::mm", at + 620, at + 650, 2, -1, kernels_us=60 * slower),
            Span(engine + "torch::autograd::AccumulateGrad", at + 700, at + 720, 2),
            Span("aten::copy_", at + 705, at + 715, 2, -1, kernels_us=2 * slower),
        ]
        kernels += [(at + 100, 252 * slower), (at + 400, 3.0 * slower)]
    return Trace(spans=tuple(spans), kernels_us=tuple(kernels))


def test_kernels_belong_to_the_span_that_launched_them() -> None:
    """By part and operator, backward ones by sequence number, copies named, the rest outside."""
    first, second = attribute(device_trace(), on_device=True)
    assert {key: (one.time_us, one.copy_us) for key, one in first.spent.items()} == {
        ("stage 1", "linear"): (30 + 20 + 60, 0),
        ("stage 1", "msda"): (50 + 10 + 70, 10),
        ("stage 1", "copy"): (5, 5),
        ("stage 1", "add"): (4, 0),
        (OUTSIDE, "other"): (1 + 3, 0),
        (OUTSIDE, "copy"): (2, 2),
    }
    assert first.total_us == 255
    assert second.total_us == 2 * first.total_us


class Event:
    """An event as Kineto gives it: methods, nanoseconds; numbers as a CUDA profile has them."""

    def __init__(self, name: str, start: int, end: int, **others: Any) -> None:
        known = {
            "device": "CPU", "thread": 1, "end_thread": 1, "sequence": -1, "number": 0, "link": 0,
            "annotation": False, "kind": "cpu_op",
        }  # fmt: skip
        values = {**known, **others}
        kind = SimpleNamespace(name=values["device"])
        for method, value in (
            ("name", name), ("start_ns", start * 1000), ("end_ns", end * 1000),
            ("device_type", kind), ("start_thread_id", values["thread"]),
            ("end_thread_id", values["end_thread"]), ("sequence_nr", values["sequence"]),
            ("correlation_id", values["number"]), ("linked_correlation_id", values["link"]),
            ("is_async", False), ("is_user_annotation", values["annotation"]),
            ("activity_type", values["kind"]),
        ):  # fmt: skip
            setattr(self, method, lambda value=value: value)


def test_device_events_are_linked_to_the_operator_that_launched_them() -> None:
    """Kernels, copies and fills count once; a range's shadow, waits and runtime calls do not."""
    gpu: dict[str, Any] = {"device": "CUDA", "link": 7, "kind": "kernel"}
    trace = _trace(
        [
            Event(BATCH, 0, 100, number=5, annotation=True, kind="user_annotation"),
            Event("aten::addmm", 10, 30, number=7, sequence=3),
            Event("aten::add", 40, 50, number=8),
            Event("cudaLaunchKernel", 12, 15, number=90, link=7, kind="cuda_runtime"),
            Event("profiler::_record_function_enter_new", 1, 2, number=6),
            Event("begins here", 1, 2, number=9, end_thread=2),
            Event("gemm", 60, 80, number=90, **gpu),
            Event("Memset (Device)", 80, 81, number=91, **gpu),
            Event(BATCH, 60, 81, **{**gpu, "kind": "gpu_user_annotation"}),
            Event("other range", 60, 81, annotation=True, **{**gpu, "link": 5}),
            Event("Stream Sync", 60, 100, **{**gpu, "kind": "cuda_sync"}),
        ]
    )
    assert [(s.name, s.sequence, s.kernels_us) for s in trace.spans] == [
        (BATCH, -1, 0), ("aten::addmm", 3, 21), ("aten::add", -1, 0),
    ]  # fmt: skip
    assert trace.kernels_us == ((60, 20), (80, 1))


def test_a_runtime_call_outside_of_operators_gets_no_kernels() -> None:
    """Its number is of another series than the operators' and may be the same by chance."""
    trace = _trace(
        [
            Event(BATCH, 0, 100, number=5),
            Event("aten::addmm", 10, 30, number=7),
            Event("cudaDeviceSynchronize", 85, 99, number=7, kind="cuda_runtime"),
            Event("cuLaunchKernelEx", 84, 85, number=5, kind="cuda_driver"),
            Event("Lazy Function Loading", 12, 14, number=0, thread=99, kind="overhead"),
            Event("gemm", 60, 80, number=90, link=7, device="CUDA", kind="kernel"),
            Event("by nobody", 80, 84, number=91, link=0, device="CUDA", kind="kernel"),
        ]
    )
    assert {s.name: s.kernels_us for s in trace.spans if s.kernels_us} == {"aten::addmm": 20}
    (batch,) = attribute(trace, on_device=True)
    assert batch.total_us == 24
    assert batch.spent[OUTSIDE, "other"].time_us == 24


def test_the_order_of_the_events_does_not_matter() -> None:
    """A profiler lists threads one after the other, the backward one perhaps first."""
    trace = device_trace()
    turned = replace(trace, spans=trace.spans[::-1])
    for on_device in (True, False):
        assert attribute(turned, on_device=on_device) == attribute(trace, on_device=on_device)


def test_on_a_cpu_a_span_in_another_thread_runs_beside_the_batch() -> None:
    """The batch's time is its range's; what the calling thread waited for is outside."""
    first, _ = attribute(device_trace(), on_device=False)
    assert first.total_us == pytest.approx(900)
    assert first.spent["stage 1", "msda"].time_us == pytest.approx(5 + 80)
    assert first.spent["stage 1", "linear"].time_us == pytest.approx(40 + 60)
    outside = sum(one.time_us for (part, _), one in first.spent.items() if part == OUTSIDE)
    assert outside == pytest.approx(900 - 390)


def test_a_gpu_that_waits_is_idle_for_what_is_left_of_the_plain_median() -> None:
    """Kernels of the batches' mean and idle time sum to the plain median: launch-bound is named."""
    gpu = replace(HERE, device="cuda", mode="train")
    found = breakdown_of(device_trace(), SMALL, gpu, plain_s=1e-3, rates=RATES)
    busy = 255e-6 * 1.5
    assert found.operators[0].name == "idle"
    assert found.operators[0].time_s == pytest.approx(1e-3 - busy)
    assert found.total_s == pytest.approx(1e-3)
    for rows in (found.parts, found.operators):
        assert sum(one.time_s for one in rows) == pytest.approx(1e-3)
    assert found.bottleneck == (
        "The GPU waits for the host 62% of the time: launch-bound; a larger batch, a CUDA graph or"
        " a faster host would help."
    )
    assert found.doubts == ("few batches were observed: 2",)


def test_kernels_that_sum_to_more_than_the_plain_median_are_doubtful() -> None:
    """Nothing is idle then, and the two figures are named."""
    gpu = replace(HERE, device="cuda")
    found = breakdown_of(device_trace(), SMALL, gpu, plain_s=1e-4, rates=RATES)
    assert {row.name: row.time_s for row in found.operators}["idle"] == 0
    assert found.doubts[-1].startswith("instruments: kernels sum to 0.38 ms, the plain median")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_trace_without_a_batch_is_refused(device: str) -> None:
    """A profiler that saw nothing is no breakdown of zero seconds."""
    with pytest.raises(DeviceError, match="the profiler saw no batch"):
        breakdown_of(
            Trace(spans=(Span("aten::add", 0, 1, 1),)), SMALL, replace(HERE, device=device),
            plain_s=1e-3, rates=RATES,
        )  # fmt: skip


@st.composite
def nested(draw: st.DrawFn, start: int = 0, end: int = 10_000, depth: int = 3) -> list[Span]:
    """Spans of one thread within [start, end], none of them half in another."""
    names = ["aten::linear", "aten::copy_", "what", PART + "stem", CORE + "msda", CORE]
    edges = sorted(draw(st.lists(st.integers(start, end), max_size=6)))
    out = []
    for begin, stop in zip(edges[::2], edges[1::2], strict=False):
        out.append(Span(draw(st.sampled_from(names)), begin, stop, 1, draw(st.integers(-1, 9))))
        if depth and stop - begin > 1:
            out += draw(nested(begin, stop, depth - 1))
    return out


@given(nested())
@settings(deadline=None)
def test_any_nesting_of_spans_sums_to_the_batch(spans: list[Span]) -> None:
    """Whatever lies within a batch, its parts sum to its own time."""
    trace = Trace(spans=(Span(BATCH, -1, 10_001, 1), *spans))
    (batch,) = attribute(trace, on_device=False)
    assert batch.total_us == pytest.approx(10_002)
    assert sum(one.time_us for one in batch.spent.values()) == pytest.approx(10_002)
    assert all(one.time_us >= 0 for one in batch.spent.values())
