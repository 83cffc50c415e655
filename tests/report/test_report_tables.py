"""Tables and documents of a Profile: golden text, and sums that must hold for any architecture."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from dilnas.arch import Architecture, Stage
from dilnas.cost import cost
from dilnas.measure import profile
from dilnas.records import (
    Energy,
    Environment,
    Measurement,
    Memory,
    Profile,
    Workload,
    profile_dict,
)
from dilnas.report import cost_frame, profile_json, profile_view, profiles_frame
from dilnas.report.rows import operator_rows, stage_rows
from dilnas.report.tables import ShareBar, share_bar
from dilnas.variants import variant

GOLDEN = Path(__file__).parent / "golden"
OVERWRITE = "DILNAS_OVERWRITE_GOLDEN"
"""Set to 1 to write the golden files anew; then read the difference before committing it."""


def text_of(shown: Profile, width: int = 100) -> str:
    """As a pipe gets it, without spaces at line ends."""
    console = Console(width=width, no_color=True, force_terminal=False, highlight=False)
    with console.capture() as captured:
        console.print(profile_view(shown))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def check_golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get(OVERWRITE) == "1":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def recorded() -> Profile:
    """A measured profile as if from a device: a replay, so that its text is stable."""
    return replace(
        profile("tiny", latency=False),
        workload=Workload(batch_size=8, height=224, width=224, dtype="bf16", device="cpu"),
        environment=Environment(
            device_name="Replay CPU", platform="any", python="3.11.0", torch="2.13.0",
            dilnas="0", threads=2,
        ),
        measurement=Measurement(
            quantity="latency_s",
            samples=tuple(0.1 + 0.001 * i for i in range(21)),
            warmup=6,
            doubts=("other processes used 0.9 of 2 cores meanwhile", "[bold]not markup[/bold]"),
            extra={
                "median_low_s": 0.108, "median_high_s": 0.112, "peak_memory_bytes": 123_456_789,
                "memory_method": "tensors alive at once",
            },
        ),
    )  # fmt: skip


def complete() -> Profile:
    """As from a GPU, with everything that can be measured on one."""
    return replace(
        recorded(),
        workload=Workload(
            batch_size=1, height=224, width=224, dtype="fp16", device="cuda:0",
            compile="graph", channels_last=True,
        ),
        environment=Environment(
            device_name="Replay GPU", platform="any", python="3.12.0", torch="2.11.0",
            dilnas="0", threads=1,
        ),
        measurement=Measurement(
            quantity="latency_s", samples=(0.0025,), warmup=1,
            doubts=("few samples: 1, the protocol asks for 20",),
            extra={
                "median_low_s": 0.0024, "median_high_s": 0.0026, "enqueue_median_s": 0.0001,
                "wall_median_s": 0.0027, "l2_cache": "warm, not flushed", "capture_s": 0.42,
            },
        ),
        memory=Memory(
            method="a fresh process, replayed", weights_bytes=34_500_000, input_bytes=301_056,
            activation_peak_bytes=5_700_000, workspace_bytes=8_519_680, context_bytes=410_000_000,
            allocated_peak_bytes=49_020_736, reserved_peak_bytes=67_108_864,
            device_process_bytes=477_108_864, resident_set_peak_bytes=1_200_000_000,
            closed_form_bytes=40_501_056, doubts=("the context was read once",),
        ),
        energy=Energy(
            joules_per_image=0.1234, joules_per_image_above_idle=0.1, mean_watts=312.4,
            idle_watts=70.0, window_joules=(640.0, 636.0), window_s=(2.0, 2.1),
            window_images=(5200, 5150), counter="NVML total energy",
        ),
        missing={"breakdown": "out of memory on cuda:0"},
    )  # fmt: skip


@pytest.mark.parametrize("name", ["tiny", "small", "base"])
def test_the_tables_of_a_variant_are_as_they_were(name: str) -> None:
    """What `dilnas profile --variant NAME --no-latency` shows changes only on purpose."""
    check_golden(f"{name}.txt", text_of(profile(name, latency=False)))


def test_the_tables_of_a_measurement_are_as_they_were() -> None:
    """Median with interval, p95, images/s, memory, workload, device and doubts, never as markup."""
    text = text_of(recorded())
    check_golden("measured.txt", text)
    assert "median 110.00 ms [108.00, 112.00]" in text
    assert "p5 101.00 ms   p95 119.00 ms   p99 119.80 ms" in text
    assert "[bold]not markup[/bold]" in text


@pytest.mark.parametrize("width", [80, 120])
def test_everything_that_a_gpu_tells_is_shown(width: int) -> None:
    """Host times, four memory levels, energy above idle, what is missing, each part's doubts."""
    text = text_of(complete(), width)
    check_golden(f"complete_{width}.txt", text)
    joined = " ".join(text.split())
    for words in (
        "tensors 40.5 MB = weights 34.5 + input 0.3 + activations 5.7 MB",
        "closed form 40.5 MB", "allocated 49.0 MB", "reserved 67.1 MB", "workspace 8.5 MB",
        "context 410.0 MB", "process by NVML 477.1 MB", "resident set 1,200.0 MB",
        "energy 0.1234 J/image above idle 0.1 J/image", "mean 312 W", "idle 70 W",
        "enqueue 0.10 ms", "wall 2.70 ms", "captured in 0.4 s",
        "batch 1, 224 x 224, fp16, inference, CUDA graph, channels last",
        "missing: breakdown: out of memory on cuda:0",
        "doubt: latency: few samples", "doubt: memory: the context was read once",
    ):  # fmt: skip
        assert words in joined
    assert max(map(len, text.splitlines())) <= width


def test_one_of_a_thing_is_not_many() -> None:
    """One sample, one warm-up run, one thread."""
    text = text_of(complete())
    assert "1 sample after 1 warm-up run\n" in text
    cpu = replace(complete(), workload=replace(complete().workload, device="cpu"))
    assert "Replay GPU, 1 thread " in text_of(cpu)


def test_no_share_bar_is_cut_where_the_terminal_is_narrow() -> None:
    """At 80 columns Base at 800 x 1280 fits, its bars shorter and still in proportion."""
    shown = profile("base", img_size=(800, 1280), latency=False)
    narrow, wide = text_of(shown, 80), text_of(shown, 100)
    assert "…" not in narrow + wide
    assert max(map(len, narrow.splitlines())) <= 80

    def bars(text: str) -> list[int]:
        lines = [line for line in text.splitlines() if line.startswith(("stem", "stage"))]
        return [sum(line.count(c) for c in "█▉▊▋▌▍▎▏") for line in lines]

    assert max(bars(narrow)) < max(bars(wide))
    assert [bar > 1 for bar in bars(narrow)] == [bar > 1 for bar in bars(wide)]


@given(shares=st.lists(st.floats(0, 1), min_size=1, max_size=6), width=st.integers(1, 40))
def test_a_bar_takes_the_room_that_it_has_and_no_more(shares: list[float], width: int) -> None:
    """The largest fills what there is, up to its 16 characters; a larger share is never shorter."""
    console = Console(width=width, no_color=True, force_terminal=False)
    lengths = []
    for share in sorted(shares):
        with console.capture() as captured:
            console.print(ShareBar(share, max(shares)))
        lengths.append(len(captured.get().strip()))
    assert lengths == sorted(lengths)
    assert lengths[-1] == min(len(share_bar(max(shares))), width)


def test_a_failure_is_shown_in_place_of_a_measurement() -> None:
    """With what was tried and where."""
    failed = replace(recorded(), measurement=None, failure="--batch-size: does not fit (got 8)")
    text = text_of(failed)
    assert "failed: --batch-size: does not fit (got 8)" in text
    assert "batch 8, 224 x 224, bf16, inference, eager" in text
    assert "doubts" not in text


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("tiny", ("17.239 M", "3.177", "the paper prints 3.2 G for Tiny: the same")),
        (
            "small",
            ("24.058 M", "4.613", "the paper prints 4.8 G for Small; the official code gives"),
        ),
        ("base", ("47.432 M", "9.962", "10.0 G for Base with token labeling: the same")),
    ],
)
def test_the_published_figures_are_shown_and_held_against_the_count(
    name: str, figures: tuple[str, ...]
) -> None:
    """Params, GFLOPs and what the paper prints."""
    text = text_of(profile(name, latency=False))
    for figure in figures:
        assert figure in text


def test_published_figures_are_for_the_papers_networks_at_the_papers_size_only() -> None:
    """Other classes, another size or another layout have no published row."""
    assert profile(variant("small", num_classes=10), latency=False).notes == ()
    assert profile("small", img_size=(224, 256), latency=False).notes == ()
    assert len(profile(variant("small"), latency=False).notes) == 2


stages = st.builds(
    Stage,
    dim=st.sampled_from([24, 48, 96]),
    num_heads=st.sampled_from([6, 12]),
    msda_depth=st.integers(0, 3),
    global_depth=st.integers(1, 2),
    window_size=st.sampled_from([3, 5]),
    dilations=st.sampled_from([(1,), (1, 2), (1, 2, 3)]),
)
architectures = st.builds(
    Architecture,
    stages=st.lists(stages, min_size=1, max_size=4).map(tuple),
    num_classes=st.sampled_from([0, 10]),
)


@given(architectures)
@settings(max_examples=30, deadline=None)
def test_rows_sum_to_totals(architecture: Architecture) -> None:
    """Parts sum to params and FLOPs, operators to FLOPs, shares to 1."""
    exact = cost(architecture, 64, 96)
    parts, operators = stage_rows(exact, architecture), operator_rows(exact)
    assert sum(row["params"] for row in parts) == exact.params
    assert sum(row["flops"] for row in parts) == exact.flops
    assert sum(row["macs"] for row in parts) == exact.macs
    assert sum(row["flops"] for row in operators) == exact.flops
    assert sum(row["flops_share"] for row in parts) == pytest.approx(1)
    frame = cost_frame(exact)
    assert frame["params"].sum() == exact.params
    assert (
        frame[["conv", "linear", "matmul", "batch_norm", "layer_norm"]].sum().sum() == exact.flops
    )


@given(st.floats(0, 1))
def test_a_share_bar_is_never_longer_than_its_column(share: float) -> None:
    """From nothing to 16 characters."""
    assert len(share_bar(share)) <= 16


def test_the_document_round_trips_and_every_number_is_finite() -> None:
    """JSON of a measured profile reads back: same architecture, same samples, derived figures."""
    shown = recorded()
    data = json.loads(profile_json(shown), parse_constant=pytest.fail)
    assert data == json.loads(json.dumps(profile_dict(shown)))
    assert Architecture.from_dict(data["architecture"]) == shown.architecture
    assert data["key"] == shown.architecture.key
    assert data["cost"]["flops"] == 3_177_221_696 == sum(r["flops"] for r in data["cost"]["rows"])
    assert data["measurement"]["samples"] == list(shown.measurement.samples)  # type: ignore[union-attr]
    assert data["measurement"]["images_per_s"] == pytest.approx(8 / 0.11)
    assert Workload(**data["workload"]) == shown.workload


def test_a_document_keeps_text_with_brackets_as_it_is() -> None:
    """Shortening lists of numbers must not touch what stands in a string."""
    shown = replace(recorded(), name="[ 1, 2 ]", notes=("[\n 1,\n 2\n]",))
    assert json.loads(profile_json(shown))["name"] == "[ 1, 2 ]"
    assert json.loads(profile_json(shown))["notes"] == ["[\n 1,\n 2\n]"]


def test_profiles_become_one_frame() -> None:
    """Measured and unmeasured ones side by side, a unit in every column."""
    frame = profiles_frame([recorded(), profile("base", latency=False), complete()])
    assert list(frame["name"]) == ["tiny", "base", "tiny"]
    assert frame["median_ms"][0] == pytest.approx(110)
    assert frame["median_ms"].isna()[1]
    assert list(frame["compile"]) == ["eager", "eager", "graph"]
    assert frame["peak_memory_mb"][0] == pytest.approx(123.456789)
    assert frame["peak_memory_mb"][2] == pytest.approx(49.020736)
    assert frame["joules_per_image"][2] == pytest.approx(0.1234)
    assert list(frame["doubts"].fillna(-1)) == [2, -1, 2]


def test_the_cost_is_shown_without_torch_numpy_or_pandas() -> None:
    """The path of `--no-latency` imports none of the heavy packages."""
    code = (
        "import sys; from dilnas.measure import profile; from dilnas.report import profile_view,"
        " profile_json; p = profile('base', latency=False); profile_view(p); profile_json(p);"
        " print([m for m in ('torch', 'numpy', 'pandas', 'plotly') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
