"""Where the time goes: sums that hold, ranges that leave nothing behind, kernels by their span.

Nothing here says how fast something is.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import linear

from dilnas.arch import Architecture, Stage
from dilnas.cost import cost
from dilnas.cost.traffic import traffic
from dilnas.measure.breakdown import WHOLE, measure_breakdown
from dilnas.measure.breakdown_ranges import observe, ranges
from dilnas.measure.device import open_device
from dilnas.measure.spans import OTHER, OUTSIDE, attribute
from dilnas.model import build_model
from dilnas.model.attention import Projection
from dilnas.records import (
    Breakdown,
    DeviceRates,
    Workload,
    profile_dict,
    profile_from_dict,
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
PARTS = ["stem", "stage 1", "stage 2", "head", OUTSIDE]


def measured(workload: Workload) -> Breakdown:
    exact = cost(SMALL, workload.height, workload.width)
    return measure_breakdown(SMALL, workload, exact, plain_s=0.01, rates=RATES)


def sums(found: Breakdown) -> tuple[float, float]:
    return sum(row.time_s for row in found.parts), sum(row.time_s for row in found.operators)


@pytest.fixture(scope="module", params=["inference", "train"])
def real(request: pytest.FixtureRequest) -> tuple[Workload, Breakdown]:
    """A breakdown taken on this CPU."""
    workload = replace(HERE, mode=request.param)
    return workload, measured(workload)


def test_both_lists_sum_to_the_total(real: tuple[Workload, Breakdown]) -> None:
    """No time is dropped and none counted twice; every row has a finite, non-negative time."""
    _, found = real
    for total in sums(found):
        assert total == pytest.approx(found.total_s, rel=1e-9)
    for row in (*found.parts, *found.operators):
        assert 0 <= row.copy_s <= row.time_s * (1 + 1e-9)
        assert math.isfinite(row.time_s)
    assert found.total_s > 0
    assert found.plain_s == 0.01


def test_every_part_and_operator_of_the_network_has_its_row_and_its_time(
    real: tuple[Workload, Breakdown],
) -> None:
    """Stem, stages, head and what is outside; each operator that must do something was seen."""
    workload, found = real
    assert [row.name for row in found.parts] == PARTS
    assert all(row.time_s > 0 for row in found.parts)
    times = {row.name: row.time_s for row in found.operators}
    for row in traffic(SMALL, workload):
        assert times[row.operator] > 0, row.operator
    assert OTHER in times
    assert [*times.values()] == sorted(times.values(), reverse=True)


def test_rows_bear_exact_macs_and_bytes(real: tuple[Workload, Breakdown]) -> None:
    """Those of ``traffic``, by part and by operator; what is outside has none."""
    workload, found = real
    exact = traffic(SMALL, workload)
    for rows in (found.parts, found.operators):
        assert sum(row.macs for row in rows) == sum(row.macs for row in exact)
        assert sum(row.moved_bytes for row in rows) == sum(row.moved_bytes for row in exact)
    outside = found.parts[-1]
    assert (outside.macs, outside.moved_bytes) == (0, 0)


def test_a_breakdown_says_how_it_was_taken(real: tuple[Workload, Breakdown]) -> None:
    """Method, bottleneck, and a doubt where instruments change the total: here plain is made up."""
    _, found = real
    assert "torch.profiler" in found.method
    assert found.bottleneck.endswith(".")
    assert any(text.startswith("instruments: ") for text in found.doubts) == (
        abs(found.total_s / 0.01 - 1) > 0.1
    )


def test_the_backward_pass_lies_where_the_forward_pass_did() -> None:
    """Every backward node of every operator kind is booked in a part, not outside."""
    network = build_model(SMALL).train()
    images = torch.randn(2, 3, 32, 48)
    trace = observe(lambda: network(images).square().mean().backward(), network, open_device("cpu"))
    nodes = Counter(
        span.name.rsplit(": ")[-1] for span in trace.spans if span.name.startswith("autograd::")
    )
    assert {"ConvolutionBackward0", "AddmmBackward0", "_PortableBackward"} <= set(nodes)
    for batch in attribute(trace, on_device=False):
        spent = batch.spent
        outside = {operator for part, operator in spent if part == OUTSIDE}
        assert outside <= {"other", "copy"}
        assert ("stage 1", "msda") in spent
        assert ("stage 2", "msda") not in spent
        assert ("stem", "attention") not in spent


def test_a_projection_that_runs_as_a_matrix_product_is_the_convolution_it_counts_as(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on CUDA: its time stands beside its multiply-adds, which are a convolution's."""

    def product(self: Projection, x: torch.Tensor) -> torch.Tensor:
        rows = x.permute(0, 2, 3, 1)
        return linear(rows, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)

    monkeypatch.setattr(Projection, "forward", product)
    one = SMALL.replace(stages=SMALL.stages[:1], pos_embed="none")
    network = build_model(one)
    images = torch.randn(2, 3, HERE.height, HERE.width)
    trace = observe(lambda: network(images), network, open_device("cpu"))
    (first, *_) = attribute(trace, on_device=False)
    assert first.spent["stage 1", "conv"].time_us > 0
    assert first.spent["stage 1", "linear"].time_us > 0


def test_hooks_are_gone_afterwards_also_when_a_batch_fails() -> None:
    """The network has as many hooks as before: none."""
    network = build_model(SMALL)

    def hooks() -> int:
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())

    with pytest.raises(RuntimeError, match="half-way"), ranges(network):
        assert hooks() > 0
        network.stages[1].register_forward_hook(_fail)
        network(torch.randn(1, 3, 32, 48))
    network.stages[1]._forward_hooks.clear()
    assert hooks() == 0
    with torch.profiler.profile() as profiler:  # and no range was left open
        network(torch.randn(1, 3, 32, 48))
    assert not [event.name for event in profiler.events() or () if "dilnas|" in event.name]


def _fail(*_: object) -> None:
    raise RuntimeError("half-way")


def test_torchs_settings_are_as_they_were() -> None:
    """Threads, random state and the rates' own matrices leave nothing behind."""
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    measured(HERE)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_half_types_and_a_network_without_classes_are_broken_down() -> None:
    """bf16 inference, batch norms and GELU included; no classifier."""
    plain = SMALL.replace(num_classes=0, pos_embed="none")
    found = measure_breakdown(
        plain, replace(HERE, dtype="bf16"), cost(plain, 32, 48), plain_s=0.01, rates=RATES
    )
    for total in sums(found):
        assert total == pytest.approx(found.total_s, rel=1e-9)
    assert "add" in {row.name for row in found.operators}


@pytest.mark.parametrize("kind", ["compile", "graph"])
def test_compiled_models_get_one_row(kind: str) -> None:
    """Kernels span operators: the whole model, its median, its exact work, and why."""
    found = measured(replace(HERE, compile=kind))
    assert [row.name for row in (*found.parts, *found.operators)] == [WHOLE, WHOLE]
    assert found.total_s == found.plain_s == 0.01
    assert found.parts[0].macs == 2 * cost(SMALL, 32, 48).macs
    assert "cannot be told apart" in found.method


def test_a_breakdown_survives_json(real: tuple[Workload, Breakdown]) -> None:
    """Written into a profile's document and read back, it is the same."""
    from dilnas.measure import profile

    workload, found = real
    whole = replace(
        profile(SMALL, img_size=(32, 48), latency=False), workload=workload, breakdown=found
    )
    data = json.loads(json.dumps(profile_dict(whole), allow_nan=False))
    assert profile_from_dict(data).breakdown == found
