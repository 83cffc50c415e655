"""Where the time of one batch goes: by part and by operator, beside what must be done.

Times come from ``torch.profiler`` over steady batches of a model built here (``breakdown_ranges``),
shared out by ``spans``; multiply-adds and bytes are exact (``dilnas.cost.traffic``); the roofs are
this device's own rates (``rates``).

**CPU**: what each operator did itself on the calling thread; Python between operators is "other".
Instruments cost time: the total stands beside the plain median, and a difference raises a doubt.

**CUDA**: the duration of each kernel, which the profiler does not stretch. What is left of the
plain median is "idle": the GPU waits for the host. Both sum to the total.

Compiled models and CUDA graphs run kernels that span operators, or that no operator launches: they
get one row, "whole model", with the plain median as its time.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dilnas.arch import Architecture
from dilnas.cost.traffic import TrafficRow, traffic
from dilnas.errors import DeviceError
from dilnas.measure.breakdown_ranges import observe
from dilnas.measure.breakdown_words import bottleneck
from dilnas.measure.device import open_device
from dilnas.measure.machine import settings
from dilnas.measure.rates import measure_rates
from dilnas.measure.sampling import Progress
from dilnas.measure.spans import IDLE, OTHER, OUTSIDE, Batch, Spent, Trace, attribute
from dilnas.measure.workload import check_device, fits, prepare_module
from dilnas.records import Breakdown, BreakdownRow, Cost, DeviceRates, Workload

if TYPE_CHECKING:
    import torch

__all__ = ["WHOLE", "breakdown_of", "measure_breakdown"]

WHOLE = "whole model"
"""The only row where operators cannot be told apart."""

DIFFERENCE = 0.1
"""Doubtful when the instrumented batch differs from the plain one by more."""

SPREAD = 0.1
"""Doubtful when the middle half of the instrumented batches spans more of their median."""


def measure_breakdown(
    architecture: Architecture, workload: Workload, cost: Cost, *, plain_s: float,
    rates: DeviceRates | None = None, on_progress: Progress | None = None,
) -> Breakdown:  # fmt: skip
    """Time of one batch by part and by operator.

    Args:
        architecture: what is run; the model is built here.
        workload: how, on which device.
        cost: its exact cost, for the check that it fits.
        plain_s: seconds of one batch without instruments: the median of the latency.
        rates: what the device can do; None measures it, about two seconds.
        on_progress: told what is being done.

    Raises DeviceError where the device cannot do it or the profiler sees nothing of it.
    """
    from dilnas.model import build_model

    device = open_device(workload.device)
    if rates is None:
        rates = measure_rates(workload, device, on_progress=on_progress)
    if workload.compile != "eager":
        return _undivided(architecture, workload, plain_s, rates)
    looks = [device.look()]
    with settings(workload), fits(workload):
        if on_progress is not None:
            on_progress("breakdown", 0.0)
        check_device(workload, cost)
        built = []

        def build() -> torch.nn.Module:
            built.append(build_model(architecture))
            return built[0]

        call = prepare_module(build, architecture.in_chans, workload).call
        trace = observe(call, built[0], device, on_progress=on_progress)
    looks.append(device.look())
    doubts = device.doubts(looks)
    return breakdown_of(trace, architecture, workload, plain_s=plain_s, rates=rates, doubts=doubts)


def breakdown_of(
    trace: Trace, architecture: Architecture, workload: Workload, *, plain_s: float,
    rates: DeviceRates, doubts: Sequence[str] = (),
) -> Breakdown:  # fmt: skip
    """A trace of batches as a Breakdown; no device is touched. DeviceError for an empty trace."""
    on_device = workload.device.startswith("cuda")
    batches = attribute(trace, on_device=on_device)
    if not batches or not all(batch.total_us > 0 for batch in batches):
        raise DeviceError("the profiler saw no batch", where="--breakdown", got=workload.device)
    spent = _mean(batches)
    found = [*doubts, *_batch_doubts(batches)]
    busy_s = sum(one.time_us for one in spent.values()) / 1e6
    if on_device:
        spent[OUTSIDE, IDLE] = Spent(max(plain_s - busy_s, 0.0) * 1e6)
    total_s = sum(one.time_us for one in spent.values()) / 1e6
    found += _difference(total_s, plain_s, on_device)
    parts, operators = _rows(spent, traffic(architecture, workload))
    return Breakdown(
        parts=parts, operators=operators, total_s=total_s, plain_s=plain_s, rates=rates,
        bottleneck=bottleneck(parts, operators, rates),
        method=_method(workload, len(batches)),
        doubts=tuple(found),
    )  # fmt: skip


def _mean(batches: Sequence[Batch]) -> dict[tuple[str, str], Spent]:
    """The mean of the middle half of the batches by total: sums stay sums, spikes fall away."""
    ordered = sorted(batches, key=lambda batch: batch.total_us)
    cut = len(ordered) // 4
    kept = ordered[cut : len(ordered) - cut]
    out: dict[tuple[str, str], Spent] = {}
    for batch in kept:
        for key, one in batch.spent.items():
            entry = out.setdefault(key, Spent())
            entry.time_us += one.time_us / len(kept)
            entry.copy_us += one.copy_us / len(kept)
    return out


def _rows(
    spent: Mapping[tuple[str, str], Spent], moved: Sequence[TrafficRow]
) -> tuple[tuple[BreakdownRow, ...], tuple[BreakdownRow, ...]]:
    """Parts in the network's order, then what is outside; operators, the largest first."""
    parts = [*dict.fromkeys(row.part for row in moved), OUTSIDE]
    operators = dict.fromkeys(row.operator for row in moved)
    operators |= dict.fromkeys([*(operator for _, operator in spent), OTHER])
    by_part = [
        _row(
            name,
            [one for (part, _), one in spent.items() if part == name],
            [row for row in moved if row.part == name],
        )
        for name in parts
    ]
    by_operator = [
        _row(
            name,
            [one for (_, operator), one in spent.items() if operator == name],
            [row for row in moved if row.operator == name],
        )
        for name in operators
    ]
    return tuple(by_part), tuple(sorted(by_operator, key=lambda row: -row.time_s))


def _row(name: str, spent: Sequence[Spent], moved: Sequence[TrafficRow]) -> BreakdownRow:
    return BreakdownRow(
        name=name,
        time_s=sum(one.time_us for one in spent) / 1e6,
        macs=sum(row.macs for row in moved),
        moved_bytes=sum(row.moved_bytes for row in moved),
        copy_s=sum(one.copy_us for one in spent) / 1e6,
    )


def _undivided(
    architecture: Architecture, workload: Workload, plain_s: float, rates: DeviceRates
) -> Breakdown:
    row = _row(WHOLE, [Spent(plain_s * 1e6)], traffic(architecture, workload))
    return Breakdown(
        parts=(row,), operators=(row,), total_s=row.time_s, plain_s=plain_s, rates=rates,
        bottleneck=bottleneck((row,), (row,), rates),
        method=f"median latency; under {workload.compile} kernels cannot be told apart by operator,"
        " and fused ones move fewer bytes than the operators' sum",
    )  # fmt: skip


def _method(workload: Workload, batches: int) -> str:
    what = (
        "duration of each kernel; idle is what is left of the plain median"
        if workload.device.startswith("cuda")
        else "what each operator did itself on the calling thread; other is Python between them"
    )
    train = (
        "; backward operators by autograd's sequence numbers" if workload.mode == "train" else ""
    )
    return f"torch.profiler, mean of the middle half of {batches} batches; {what}{train}"


def _batch_doubts(batches: Sequence[Batch]) -> list[str]:
    totals = [batch.total_us for batch in batches]
    if len(totals) < 4:
        return [f"few batches were observed: {len(totals)}"]
    low, median, high = statistics.quantiles(totals, n=4, method="inclusive")
    if (high - low) / median <= SPREAD:
        return []
    return [f"spread: the middle half of the batches spans {(high - low) / median:.0%}"]


def _difference(total_s: float, plain_s: float, on_device: bool) -> list[str]:
    change = total_s / plain_s - 1 if plain_s > 0 else 0.0
    if abs(change) <= DIFFERENCE:
        return []
    what = "kernels sum to" if on_device else "the instrumented batch takes"
    return [
        f"instruments: {what} {total_s * 1e3:.2f} ms, the plain median is {plain_s * 1e3:.2f} ms"
        f" ({change:+.0%})"
    ]
