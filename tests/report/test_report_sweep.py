"""The table of a sweep: golden text from hand-made Profiles, and what must hold for any of them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from dilnas.arch import Architecture, Stage
from dilnas.cost import cost
from dilnas.records import (
    Breakdown,
    CounterReport,
    CounterRow,
    DeviceRates,
    Energy,
    Environment,
    Measurement,
    Profile,
    Workload,
)
from dilnas.report.sweep import grouped, progress_line, sweep_view

GOLDEN = Path(__file__).parent / "golden"
OVERWRITE = "DILNAS_OVERWRITE_GOLDEN"
"""Set to 1 to write the golden files anew; then read the difference before committing it."""

SMALL = Architecture(
    stages=(Stage(dim=12, num_heads=3, msda_depth=1), Stage(dim=24, num_heads=3, global_depth=1)),
    num_classes=10,
)
GPU = Environment(
    device_name="Replay GPU", platform="any", python="3.12.0", torch="2.11.0", dilnas="0",
    threads=8,
)  # fmt: skip


def row(median_s: float | None, *, doubts: tuple[str, ...] = (), **workload: Any) -> Profile:
    """A profile of SMALL; without a median, one that has failed."""
    w = Workload(**{"device": "cuda", "height": 64, "width": 96, **workload})
    plan = Profile(
        name="small", architecture=SMALL, workload=w, cost=cost(SMALL, w.height, w.width),
        environment=GPU,
    )  # fmt: skip
    if median_s is None:
        why = f"--batch-size: out of memory on cuda: {w.batch_size} x 64 x 96 in {w.dtype}"
        return replace(plan, failure=f"{why} ({w.mode}) does not fit")
    extra = {
        "median_low_s": 0.99 * median_s, "median_high_s": 1.02 * median_s,
        "peak_memory_bytes": 1_500_000 * w.batch_size,
    }  # fmt: skip
    samples = tuple(median_s * (1 + 0.01 * i) for i in range(-5, 6))
    return replace(
        plan,
        measurement=Measurement(quantity="latency_s", samples=samples, doubts=doubts, extra=extra),
    )


def many() -> list[Profile]:
    """Batch size, dtype, mode and the way to run vary; two do not fit; doubts differ."""
    spread = "spread: the middle half of the samples spans {}% of the median"
    clock = "clocks were held back: SwPowerCap"
    return [
        row(0.0004, batch_size=1, doubts=(spread.format("5.1"),)),
        row(0.0021, batch_size=64, doubts=(clock, spread.format("7.5"))),
        row(None, batch_size=4096),
        row(0.00025, batch_size=1, compile="graph", doubts=(spread.format("6.0"),)),
        row(0.0019, batch_size=64, compile="compile", channels_last=False),
        row(0.0125, batch_size=64, dtype="bf16", mode="train", doubts=(clock,)),
        row(None, batch_size=4096, dtype="bf16", mode="train"),
    ]


def text_of(profiles: list[Profile], width: int) -> str:
    """As a pipe gets it, without spaces at line ends."""
    console = Console(width=width, no_color=True, force_terminal=False, highlight=False)
    with console.capture() as captured:
        console.print(sweep_view(profiles))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def check_golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get(OVERWRITE) == "1":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_of_a_sweep_is_as_it_was(width: int) -> None:
    """A row a workload, failures on their rows, doubts below; nothing is cut or too wide."""
    text = text_of(many(), width)
    check_golden(f"sweep_{width}.txt", text)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert " ".join(text.split()).count("out of memory on cuda: 4096 x 64 x 96 in") == 2


def test_columns_that_do_not_fit_are_named_and_doubts_never_go() -> None:
    """Percentiles go first; the reader is told."""
    narrow, wide = text_of(many(), 80), text_of(many(), 120)
    assert "p95 ms" in wide
    assert "no room for" not in wide
    assert "no room for p95 ms" in narrow
    assert " doubts\n" in narrow


def test_eager_compiled_and_graph_are_told_apart_wherever_they_stand() -> None:
    """As a column where they vary, above the table where they do not."""
    lines = text_of(many(), 120).splitlines()
    assert sum(" eager " in line for line in lines) == 5
    assert sum("CUDA graph" in line for line in lines) == 1
    assert sum("torch.compile" in line for line in lines) == 1
    graph = text_of([row(0.1, compile="graph"), row(0.2, compile="graph", batch_size=2)], 80)
    assert "workload 64 x 96, fp32, inference, CUDA graph   2 workloads" in graph


def test_what_varies_is_a_column_and_what_does_not_stands_above() -> None:
    """Image sizes as a column, the dtype once."""
    text = text_of([row(0.1), row(0.2, height=96, width=64)], 80)
    assert "#  image  batch  median ms" in text
    assert "64x96" in text
    assert "96x64" in text
    assert "workload fp32, inference, eager   2 workloads" in text


def test_a_sweep_in_which_everything_failed_has_its_reasons() -> None:
    """No figures, no doubts."""
    text = text_of([row(None, batch_size=8), row(None, batch_size=16)], 120)
    assert text.count("does not fit") == 2
    assert "2 workloads, 2 failed" in text
    assert "doubt:" not in text


def test_energy_is_a_column_where_it_was_measured() -> None:
    """And why it is missing elsewhere stands below."""
    energy = Energy(
        joules_per_image=0.25, joules_per_image_above_idle=None, mean_watts=1.0, idle_watts=None,
        window_joules=(1.0,), window_s=(1.0,), window_images=(4,), counter="replay",
    )  # fmt: skip
    other = replace(row(0.2, batch_size=2), missing={"energy": "the counter stood still"})
    text = text_of([replace(row(0.1), energy=energy), other], 120)
    assert "J/image" in text
    assert "0.25" in text
    assert "missing: energy: the counter stood still (row 2)" in text


def test_counters_stand_once_an_image_size() -> None:
    """Not once a row."""
    report = CounterReport(
        counter="replay", version="1", convention="a multiply-add is 1",
        rows=(CounterRow(operator="conv", counted=7_654_321, closed_form=7_654_321),),
    )  # fmt: skip
    rows = [replace(row(0.1, batch_size=b), counters=(report,)) for b in (1, 2, 4)]
    once = text_of(rows, 120).count("replay")
    assert once >= 1
    other = replace(row(0.1, height=96, width=64), counters=(report,))
    assert text_of([*rows, other], 120).count("replay") == 2 * once


def test_the_bottleneck_of_a_row_stands_below() -> None:
    """Where a breakdown was taken."""
    breakdown = Breakdown(
        parts=(), operators=(), total_s=1.0, plain_s=1.0, bottleneck="Unfolding takes half.",
        rates=DeviceRates(macs_per_s=1.0, bytes_per_s=1.0), method="replay",
    )  # fmt: skip
    text = text_of([row(0.1), replace(row(0.2, batch_size=2), breakdown=breakdown)], 80)
    assert "bottleneck of row 2 Unfolding takes half." in text


def test_a_sentence_stands_once_with_its_rows_and_the_range_of_its_numbers() -> None:
    """Also for rows in a run, for all rows, and for words that hold digits."""
    assert grouped([["a 1.5%"], [], ["a -3%"], ["b"]]) == ["a -3 to 1.5% (rows 1, 3)", "b (row 4)"]
    assert grouped([["fp16 is 2x"], ["fp16 is 2x"]]) == ["fp16 is 2x (all rows)"]
    assert grouped([["x"], ["x"], ["x"], [], ["x"]]) == ["x (rows 1–3, 5)"]
    assert grouped([["only 1"]]) == ["only 1"]
    assert grouped([[], []]) == []


@given(st.lists(st.lists(st.text(max_size=12), max_size=3), min_size=2, max_size=6))
def test_no_sentence_is_lost_by_grouping(by_row: list[list[str]]) -> None:
    """Whatever it says: as many lines as sentences that differ by more than numbers."""
    import re

    bare = {re.sub(r"(?<![\w.])[-+]?\d+(?:\.\d+)?", "0", t) for texts in by_row for t in texts}
    assert len(grouped(by_row)) == len(bare)


def test_a_finished_row_is_one_line_in_a_log() -> None:
    """Place, workload and figure, or why there is none."""
    first, *_, last = many()
    assert progress_line(1, 7, first) == (
        "[1/7] batch 1, 64x96, fp32, inference, eager: 0.400 ms, 2,500 images/s"
    )
    assert progress_line(7, 7, last).startswith(
        "[7/7] batch 4096, 64x96, bf16, train, eager: --batch-size: out of memory on cuda"
    )
