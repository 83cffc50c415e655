"""What a device can do, and the sentence that holds a breakdown against it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from dilnas.errors import DeviceError
from dilnas.measure.breakdown_words import bottleneck
from dilnas.measure.on_cpu import CpuDevice
from dilnas.measure.rates import best_run, measure_rates
from dilnas.measure.spans import OUTSIDE
from dilnas.records import (
    BreakdownRow,
    DeviceRates,
    Workload,
)

RATES = DeviceRates(macs_per_s=50e9, bytes_per_s=25e9)
HERE = Workload(batch_size=2, height=32, width=48, threads=1)


def test_rates_of_this_cpu_are_positive_and_finite() -> None:
    """Both are observed, in the workload's type, and torch's threads stay as they were."""
    threads = torch.get_num_threads()
    found = measure_rates(replace(HERE, threads=1))
    assert math.isfinite(found.macs_per_s)
    assert found.macs_per_s > 0
    assert math.isfinite(found.bytes_per_s)
    assert found.bytes_per_s > 0
    assert torch.get_num_threads() == threads


def taking(*seconds: float) -> tuple[Callable[[], None], CpuDevice]:
    """A call that takes each of ``seconds`` in turn, and a CPU whose clock only it moves."""
    now, left = [0.0], list(seconds)

    def call() -> None:
        now[0] += left.pop(0)

    return call, CpuDevice(clock=lambda: now[0])


def test_the_best_run_is_the_roof_and_the_first_does_not_count() -> None:
    """The first run finds kernels; then at least three, for 0.3 s of the device's clock."""
    best, median = best_run(*taking(0.01, 0.2, 0.1, 0.15, 9.0))
    assert (best, median) == (pytest.approx(0.1), pytest.approx(0.15))


def test_a_clock_that_stands_still_is_refused() -> None:
    """A rate of infinity is no rate."""
    with pytest.raises(DeviceError, match="took no time"):
        best_run(*taking(*[0.0] * 300))


def row(name: str, time_s: float, macs: int = 0, moved: int = 0, copy_s: float = 0) -> BreakdownRow:
    return BreakdownRow(name=name, time_s=time_s, macs=macs, moved_bytes=moved, copy_s=copy_s)


def said(*operators: BreakdownRow) -> str:
    total = sum(one.time_s for one in operators)
    parts = [row("stage 3", 0.7 * total), row(OUTSIDE, 0.3 * total)]
    return bottleneck(parts, operators, RATES)


END = " Of the parts, stage 3 takes most: 70%."


@pytest.mark.parametrize(
    ("operators", "sentence"),
    [
        (
            [row("linear", 0.6, macs=24_000_000_000, moved=1), row("conv", 0.4, macs=6 * 10**9)],
            "Linear layers take 60% of the time for 80% of the MACs: bound by compute, at 80% of"
            " this device's matmul rate.",
        ),
        (
            [row("gelu", 0.6, moved=9 * 10**9), row("conv", 0.4, macs=10**9)],
            "GELU takes 60% of the time for none of the MACs: bound by memory, at 60% of this"
            " device's copy rate.",
        ),
        (
            [row("msda", 0.6, 10**8, 10**9, copy_s=0.15), row("conv", 0.4, macs=10**11)],
            "MSDA takes 60% of the time for under 1% of the MACs: 7% of this device's copy rate is"
            " reached, so memory, the nearer roof, is not the limit; 25% of that time are layout"
            " copies.",
        ),
        (
            [row("add", 0.6, moved=30 * 10**9), row("conv", 0.4, macs=10**9)],
            "Sums take 60% of the time for none of the MACs: faster than this device copies (200%):"
            " the data stay in caches.",
        ),
        (
            [row("copy", 0.6, copy_s=0.6), row("conv", 0.4, macs=10**9)],
            "Layout copies take 60% of the time: they compute nothing.",
        ),
        (
            [row("other", 0.6), row("conv", 0.4, macs=10**9)],
            "Python between operators and operators that compute nothing take 60% of the time:"
            " bound by the host.",
        ),
        (
            [row("conv", 0.6, macs=27 * 10**9), row("idle", 0.4)],
            "Convolutions take 60% of the time for 100% of the MACs: bound by compute, at 90% of"
            " this device's matmul rate. The GPU waits for the host 40% of the time: a larger"
            " batch, a CUDA graph or a faster host would help.",
        ),
    ],
)
def test_the_bottleneck_is_named(operators: list[BreakdownRow], sentence: str) -> None:
    """The largest operator, what holds it back by the roofs, and the part that takes most."""
    assert said(*operators) == sentence + END


def test_what_stays_farthest_behind_its_roof_is_named_beside_the_largest() -> None:
    """Linear layers are largest and near their roof; MSDA has more seconds to gain."""
    rows = (row("linear", 0.55, macs=24 * 10**9, moved=1), row("msda", 0.45, 10**8, 10**9))
    assert " Most to gain: MSDA, 45% of the time at 9% of the copy rate. " in said(*rows)


def test_an_operator_of_little_time_is_no_gain() -> None:
    """Below a twentieth of the time it is not worth a sentence."""
    rows = (row("linear", 0.96, macs=24 * 10**9, moved=1), row("msda", 0.04, 10**7, 10**8))
    assert "Most to gain" not in said(*rows)


def test_no_time_is_said_and_not_divided_by() -> None:
    """Rows without any time have no bottleneck."""
    assert said(row("conv", 0.0, macs=1)) == "No time was observed."
