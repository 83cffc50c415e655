"""Latency and memory of real callables on the CPU; no test asserts how long anything takes."""

from __future__ import annotations

import itertools
import statistics

import pytest
import torch
from simulated_gpu import SimulatedGpu
from torch import nn

from dilnas.measure import Protocol, measure_latency
from dilnas.measure.memory import peak_memory, tally_bytes
from dilnas.measure.on_cpu import CpuDevice
from dilnas.records import Measurement, Workload

QUICK = Protocol(min_samples=6, max_samples=12, min_s=0.0, max_s=1.0, min_warmup_s=0.0)


def test_a_measurement_keeps_the_raw_samples_and_derives_the_rest() -> None:
    """With a clock that steps, the samples are exactly its steps, in order."""
    ticks = itertools.count()
    call_count = 0

    def call() -> None:
        nonlocal call_count
        call_count += 1

    found = measure_latency(call, Workload(), QUICK, device=CpuDevice(lambda: float(next(ticks))))
    assert found.quantity == "latency_s"
    assert call_count == found.warmup + len(found.samples)
    assert set(found.samples) == {1.0}
    assert found.extra["median_low_s"] <= found.median <= found.extra["median_high_s"]


class CountingClock:
    """Each reading takes one tick of 1 µs; nothing else makes time pass but ``busy``."""

    def __init__(self) -> None:
        self.ticks = 0
        self.readings = 0

    def __call__(self) -> float:
        self.ticks += 1
        self.readings += 1
        return self.ticks * 1e-6

    def busy(self) -> None:
        self.ticks += 10_000


def test_the_harness_adds_one_reading_of_the_clock_to_a_sample() -> None:
    """A call of 10,000 ticks is a sample of 10,001: the closing reading, 0.01 %, and nothing else.

    How long a reading of a real clock takes is what ``benchmarks/harness.py`` shows.
    """
    clock = CountingClock()
    found = measure_latency(clock.busy, Workload(), QUICK, device=CpuDevice(clock))
    assert {round(sample * 1e6) for sample in found.samples} == {10_001}


def test_nothing_but_the_call_happens_between_the_readings_of_a_sample() -> None:
    """No reading of the clock, no look, no progress while the call runs, and none in between."""
    clock, order = CountingClock(), []
    device = CpuDevice(clock)
    look = device.look

    def call() -> None:
        order.append(("call", clock.readings))

    def watched() -> object:
        order.append(("look", clock.readings))
        return look()

    device.look = watched  # type: ignore[method-assign, assignment]
    found = measure_latency(
        call, Workload(), QUICK, device=device,
        on_progress=lambda *_: order.append(("progress", clock.readings)),
    )  # fmt: skip
    calls = [at for what, at in order if what == "call"]
    others = {at for what, at in order if what != "call"}
    assert len(calls) == found.warmup + len(found.samples)
    assert not others & set(calls)
    assert len(set(calls)) == len(calls)


def test_calls_in_a_row_are_timed_together() -> None:
    """Two readings of the clock for all of them, not for each."""
    clock = CountingClock()
    run = CpuDevice(clock).run(clock.busy, 7)
    assert clock.readings == 2
    assert (run.calls, round(run.wall_s * 1e6)) == (7, 70_001)


def test_doubts_and_evidence_are_of_the_samples_not_of_the_warm_up() -> None:
    """Looks before the last one of the warm-up are left out."""
    device = SimulatedGpu(call_s=0.04, readings=lambda t: {"temperature_c": 95 if t < 0.6 else 50})
    protocol = Protocol(min_warmup_s=1.5, min_s=1.0, max_s=2.0)
    found = measure_latency(lambda: None, Workload(device="cuda:0"), protocol, device=device)
    assert set(found.extra["temperature_c"]) == {50}
    assert found.doubts == ()


def test_a_real_callable_is_measured() -> None:
    """A matrix product has positive samples, an interval around the median and a stop reason."""
    a = torch.randn(64, 48)
    found = measure_latency(lambda: a @ a.T, Workload(), QUICK)
    assert isinstance(found, Measurement)
    assert all(sample > 0 for sample in found.samples)
    assert found.median == statistics.median(found.samples)
    assert found.extra["stopped_by"] in {"precision", "time", "count"}


def test_an_error_of_the_callable_is_not_swallowed() -> None:
    """What the callable raises reaches the caller."""

    def call() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        measure_latency(call, Workload(), QUICK)


def test_the_tally_of_a_chain_is_its_two_largest_neighbours() -> None:
    """Three maps of the same size, of which two are alive at once; H != W."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 1)).eval()
    image = torch.randn(2, 3, 24, 40)
    one_map = 2 * 8 * 24 * 40 * 4

    def call() -> torch.Tensor:
        with torch.inference_mode():
            return net(image)

    call()
    assert tally_bytes(call) == 2 * one_map
    assert tally_bytes(call) == 2 * one_map


def test_writing_in_place_and_views_cost_nothing() -> None:
    """Only storages that are new count."""
    x = torch.zeros(10, 7)

    def call() -> None:
        x.add_(1).view(7, 10).t().mul_(2)

    assert tally_bytes(call) == 0


def test_training_holds_more_than_inference() -> None:
    """The backward pass needs the activations that inference lets go."""
    net = nn.Sequential(*(nn.Sequential(nn.Linear(64, 64), nn.GELU()) for _ in range(6)))
    x = torch.randn(128, 64)

    def infer() -> torch.Tensor:
        with torch.inference_mode():
            return net(x)

    def train() -> None:
        net.zero_grad(set_to_none=True)
        net(x).sum().backward()

    assert tally_bytes(train) > 2 * tally_bytes(infer)


def test_peak_memory_adds_up_and_counts_a_shared_tensor_once() -> None:
    """Peak = resident + activations; tied weights are held once."""
    weight = torch.randn(16, 16)
    found = peak_memory(lambda: weight @ weight, "cpu", [weight, weight, weight.t()])
    assert found["resident_bytes"] == 16 * 16 * 4
    assert found["activation_peak_bytes"] == 16 * 16 * 4
    assert found["peak_memory_bytes"] == 2 * 16 * 16 * 4
    assert found["rss_high_water_bytes"] > found["peak_memory_bytes"]
