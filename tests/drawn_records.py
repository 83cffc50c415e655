"""Random records and Profiles, for hypothesis: every field varies, every number is finite."""

from __future__ import annotations

from typing import Any

from drawn import architectures
from hypothesis import strategies as st

from dilnas.cost import cost
from dilnas.records import (
    VERDICTS,
    Breakdown,
    BreakdownRow,
    Comparison,
    Contender,
    CounterReport,
    CounterRow,
    DeviceRates,
    Energy,
    Environment,
    Measurement,
    Memory,
    Prediction,
    Profile,
    Verdict,
    Workload,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
sentences = st.lists(texts, max_size=3).map(tuple)
finite = st.floats(-1e12, 1e12)
positive = st.floats(1e-9, 1e9)
counts = st.integers(0, 10**15)
maybe_count = st.none() | counts
free = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | finite | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)
"""What ``facts`` and ``extra`` may hold: JSON."""

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
"""Anything that a JSON parser can give, NaN and Infinity included."""

extras: st.SearchStrategy[dict[str, Any]] = st.dictionaries(texts, free, max_size=3)


def workloads(height: int = 224, width: int = 224) -> st.SearchStrategy[Workload]:
    """Any workload on images of that size."""
    return st.builds(
        Workload, batch_size=st.integers(1, 4096), height=st.just(height), width=st.just(width),
        dtype=st.sampled_from(["fp32", "tf32", "fp16", "bf16"]), device=texts,
        mode=st.sampled_from(["inference", "train"]),
        compile=st.sampled_from(["eager", "compile", "graph"]), channels_last=st.booleans(),
        threads=st.integers(0, 256),
    )  # fmt: skip


environments = st.builds(
    Environment, device_name=texts, platform=texts, python=texts, torch=texts, dilnas=texts,
    threads=st.integers(0, 256), facts=extras,
)  # fmt: skip
measurements = st.builds(
    Measurement, quantity=st.just("latency_s"),
    samples=st.lists(positive, min_size=1, max_size=8).map(tuple), warmup=counts,
    doubts=sentences, extra=extras,
)  # fmt: skip
memories = st.builds(
    Memory, method=texts, weights_bytes=counts, input_bytes=counts,
    activation_peak_bytes=maybe_count, workspace_bytes=maybe_count, context_bytes=maybe_count,
    allocated_peak_bytes=maybe_count, reserved_peak_bytes=maybe_count,
    device_process_bytes=maybe_count, resident_set_peak_bytes=maybe_count,
    closed_form_bytes=maybe_count, doubts=sentences,
)  # fmt: skip
rates = st.builds(DeviceRates, macs_per_s=positive, bytes_per_s=positive, doubts=sentences)
breakdown_rows = st.lists(
    st.builds(
        BreakdownRow, name=texts, time_s=positive, macs=counts, moved_bytes=counts, copy_s=positive
    ),
    max_size=3,
).map(tuple)
breakdowns = st.builds(
    Breakdown, parts=breakdown_rows, operators=breakdown_rows, total_s=positive, plain_s=positive,
    rates=rates, bottleneck=texts, method=texts, doubts=sentences,
)  # fmt: skip
counter_rows = st.builds(
    CounterRow, operator=texts, counted=counts, closed_form=counts, why=texts,
    explained=st.integers(-(10**15), 10**15),
)  # fmt: skip
counters = st.builds(
    CounterReport, counter=texts, version=texts, convention=texts,
    rows=st.lists(counter_rows, max_size=3).map(tuple), blind_to=sentences,
    unguarded_total=maybe_count,
)  # fmt: skip
predictions = st.builds(
    Prediction, quantity=texts, value=finite, low=finite, high=finite, coverage=st.floats(0, 1),
    held_out_error=positive, source=texts,
)  # fmt: skip


@st.composite
def energies(draw: st.DrawFn) -> Energy:
    """Windows of one number."""
    windows = draw(st.integers(0, 4))
    joules = draw(st.lists(positive, min_size=windows, max_size=windows))
    return Energy(
        joules_per_image=draw(positive), joules_per_image_above_idle=draw(st.none() | finite),
        mean_watts=draw(positive), idle_watts=draw(st.none() | positive),
        window_joules=tuple(joules), window_s=tuple(x / 2 for x in joules),
        window_images=tuple(range(windows)), counter=draw(texts), doubts=draw(sentences),
    )  # fmt: skip


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    """Any Profile: counted, measured in part or in full, or failed."""
    architecture = draw(architectures(max_stages=2, max_dim=12))
    height, width = (architecture.stride * draw(st.integers(1, 3)) for _ in range(2))
    return Profile(
        name=draw(texts), architecture=architecture, workload=draw(workloads(height, width)),
        cost=cost(architecture, height, width), environment=draw(st.none() | environments),
        measurement=draw(st.none() | measurements), memory=draw(st.none() | memories),
        energy=draw(st.none() | energies()), breakdown=draw(st.none() | breakdowns),
        counters=draw(st.lists(counters, max_size=2).map(tuple)),
        predictions=draw(st.lists(predictions, max_size=2).map(tuple)), failure=draw(texts),
        missing=draw(st.none() | st.dictionaries(texts, texts, max_size=2)), notes=draw(sentences),
    )  # fmt: skip


samples = st.lists(positive, min_size=1, max_size=5).map(tuple)
comparisons = st.builds(
    Comparison, workload=workloads(), environment=environments, control_s=samples,
    contenders=st.lists(
        st.builds(
            Contender, name=texts, spec=texts, parameters=counts, samples_s=samples,
            key=st.none() | texts, gflops=st.none() | positive,
        ),
        max_size=3,
    ).map(tuple),
    verdicts=st.lists(
        st.builds(
            Verdict, name=texts, baseline=texts, ratio=positive, low=positive, high=positive,
            noise_low=positive, noise_high=positive, verdict=st.sampled_from(VERDICTS), why=texts,
        ),
        max_size=2,
    ).map(tuple),
    seed=counts, doubts=sentences, extra=extras,
)  # fmt: skip
