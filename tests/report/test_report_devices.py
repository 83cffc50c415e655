"""The table over devices: golden text at 80 and 120 columns, and what holds whatever comes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from drawn_records import profiles
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from dilnas.arch import Architecture, Stage
from dilnas.errors import InputError
from dilnas.measure import profile as run_profile
from dilnas.records import Energy, Environment, Measurement, Memory, Profile, Workload
from dilnas.report.chosen import select_profiles, sorted_profiles
from dilnas.report.devices import devices_view
from dilnas.report.frames import profiles_frame

GOLDEN = Path(__file__).parent / "golden"
OVERWRITE = "DILNAS_OVERWRITE_GOLDEN"
GPU = Environment(
    device_name="Replay GPU 100", platform="any", python="3.12.0", torch="2.11.0", dilnas="0",
    threads=8,
)  # fmt: skip
CPU = replace(GPU, device_name="Replay CPU", torch="2.13.0", threads=2)
OWN = Architecture(
    stages=(Stage(dim=12, num_heads=3, msda_depth=1), Stage(dim=24, num_heads=3, global_depth=1)),
    num_classes=10,
)


def text_of(shown: list[Profile], width: int) -> str:
    """As a pipe gets it, without spaces at line ends."""
    console = Console(width=width, no_color=True, force_terminal=False, highlight=False)
    with console.capture() as captured:
        console.print(devices_view(shown, width))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def seen(median_s: float, *doubts: str) -> Measurement:
    """A latency of 21 samples."""
    return Measurement(
        quantity="latency_s", samples=tuple(median_s * (0.9 + 0.01 * i) for i in range(21)),
        warmup=6, doubts=doubts,
        extra={"median_low_s": median_s * 0.98, "median_high_s": median_s * 1.02},
    )  # fmt: skip


def on_gpu(name: str, batch: int, dtype: str, median_s: float, *doubts: str, **run: str) -> Profile:
    """A full profile as if from a GPU."""
    return replace(
        run_profile(name, latency=False),
        workload=Workload(batch_size=batch, dtype=dtype, device="cuda", **run),  # type: ignore[arg-type]
        environment=GPU, measurement=seen(median_s, *doubts),
        memory=Memory(
            method="fresh process", weights_bytes=70_000_000, input_bytes=600_000 * batch,
            activation_peak_bytes=12_000_000 * batch, allocated_peak_bytes=75_000_000 * batch,
            reserved_peak_bytes=90_000_000 * batch,
        ),
        energy=Energy(
            joules_per_image=0.25, joules_per_image_above_idle=0.2, mean_watts=400.0,
            idle_watts=80.0, window_joules=(800.0,), window_s=(2.0,), window_images=(3200,),
            counter="NVML total energy",
        ),
    )  # fmt: skip


def several() -> list[Profile]:
    """Two devices, three networks, a failure, something missing, and a cost alone."""
    clocks = "SM clock {} MHz, {} % of the base clock"
    own = run_profile(OWN, latency=False, img_size=(224, 320))
    full = on_gpu("base", 512, "fp32", 1.0, mode="train")
    return [
        on_gpu("tiny", 64, "bf16", 0.0123, clocks.format(1000, 60)),
        on_gpu("tiny", 1, "bf16", 0.00321, "launch-bound: enqueue takes 97 % of the time"),
        on_gpu("tiny", 1, "bf16", 0.00111, clocks.format(1100, 66), compile="graph"),
        replace(
            full, measurement=None, memory=None, energy=None,
            failure="CUDA out of memory: a batch of 512 needs about 160 GB and 139 GB are free;"
            " try a smaller batch",
        ),
        on_gpu("base", 64, "bf16", 0.1),
        replace(
            own, name="runs/first#12", environment=CPU, measurement=seen(0.0123),
            workload=replace(own.workload, device="cpu"),
            missing={"energy": "energy is not measured on CPU"},
        ),
        run_profile("small", latency=False),
    ]  # fmt: skip


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_is_as_it_was(width: int) -> None:
    """No line is longer than the terminal; the file changes only on purpose."""
    text = text_of(several(), width)
    path = GOLDEN / f"devices-{width}.txt"
    if os.environ.get(OVERWRITE) == "1":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= width


def test_what_the_paper_prints_stands_beside_its_networks_only() -> None:
    """FLOPs and accuracy as printed; no speed, which was not at hand; nothing for a user's own."""
    text = text_of(several(), 120)
    assert "paper: 3.2 GFLOPs, 82.1 % top-1" in text
    assert "paper: with token labeling 10.0 GFLOPs, 84.9 % top-1" in text
    assert "one A100 at batch 256" in text
    alone = text_of([p for p in several() if p.name.startswith("runs/")], 120)
    assert "paper" not in alone


def test_what_all_lines_share_is_said_once() -> None:
    """A device with one dtype has it in its first line, with two it is a column."""
    gpu = [p for p in several() if p.environment == GPU]
    assert "dtype" in text_of(gpu, 120)
    same = text_of([p for p in gpu if p.workload.dtype == "bf16"], 120)
    assert "dtype" not in same and same.count("bf16") == 1


def test_implementations_of_msda_are_told_apart() -> None:
    """Where the environment says which was asked for."""
    (first, *_) = several()
    kinds = [
        replace(first, environment=replace(GPU, facts={"msda_backend": kind}))
        for kind in ("portable", "triton")
    ]
    lines = text_of(kinds, 120).splitlines()
    assert lines[2].split()[:2] == ["batch", "msda"]
    assert [line.split()[1] for line in lines[5:7]] == ["portable", "triton"]
    assert "msda triton" in text_of(kinds[1:], 120)


def test_a_failure_is_a_line_that_says_why() -> None:
    """And no figure stands in it."""
    text = text_of(several(), 120)
    (line,) = [line for line in text.splitlines() if "failed" in line]
    assert line.split()[:3] == ["512", "fp32", "train"]
    assert "CUDA out of memory" in line


def test_doubts_that_differ_in_their_figures_share_a_number() -> None:
    """Two clocks, one kind of doubt; the other has a number of its own."""
    text = text_of(several(), 120)
    assert text.count("SM clock") == 1
    assert "2  latency: SM clock 1000 to 1100 MHz, 60 to 66 % of the base clock" in text
    assert "no energy: energy is not measured on CPU\n" in text


def test_a_cost_that_is_not_what_is_counted_now_is_doubtful() -> None:
    """A file may come from another version of the closed form, or from somebody's editor."""
    small = run_profile("small", latency=False)
    assert "doubts" not in text_of([small], 120)
    for cost in (replace(small.cost, rows=small.cost.rows[:-1]), replace(small.cost, height=225)):
        text = text_of([replace(small, cost=cost)], 120)
        assert "cost: the dilnas that wrote it counted something else than this one" in text


@given(st.lists(profiles(), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_any_profiles_can_be_shown(drawn: list[Profile]) -> None:
    """Whatever is in them: a line a measurement, in printable characters, at any width."""
    for width in (40, 120):
        text = text_of(drawn, width)
        assert all(line.isprintable() for line in text.splitlines())
    assert len(profiles_frame(drawn)) == len(drawn)


def test_text_from_a_file_is_never_markup_or_an_escape_sequence() -> None:
    """Names, devices and doubts come from files that anybody may have written."""
    hostile = "\x1b[31m[bold]x[/bold]"
    (first, *_) = several()
    shown = replace(
        first, name=hostile, environment=replace(GPU, device_name=hostile),
        measurement=seen(1.0, hostile), missing={hostile: hostile},
    )  # fmt: skip
    text = text_of([shown, replace(shown, measurement=None, failure=hostile)], 120)
    assert "\x1b" not in text
    assert text.count("[bold]x[/bold]") == 6


def test_the_order_is_by_device_network_and_workload() -> None:
    """The paper's networks first and by size, batches rising; costs alone come last."""
    order = [(p.name, p.workload.batch_size) for p in sorted_profiles(several())]
    assert order == [
        ("runs/first#12", 1), ("tiny", 1), ("tiny", 64), ("tiny", 1), ("base", 512), ("base", 64),
        ("small", 1),
    ]  # fmt: skip
    assert sorted_profiles(reversed(several())) == sorted_profiles(several())


def test_what_dilnas_chooses_stands_before_other_implementations_of_msda() -> None:
    """Its batches are one after another; a column tells them apart, in the CSV too."""
    rows = [
        replace(
            on_gpu("tiny", batch, "bf16", 0.01),
            environment=replace(GPU, facts={"msda_backend": name}),
        )
        for name in ("matmul", "auto", "portable") for batch in (64, 8)
    ]  # fmt: skip
    order = [(p.msda, p.workload.batch_size) for p in sorted_profiles(rows)]
    assert order == [
        ("auto", 8), ("auto", 64), ("matmul", 8), ("matmul", 64), ("portable", 8), ("portable", 64)
    ]  # fmt: skip
    assert text_of(rows, 120).count("portable") == 2
    assert list(profiles_frame(rows)["msda"]) == [p.msda for p in rows]


def test_profiles_are_chosen_by_parts_of_names() -> None:
    """Upper and lower case alike; what there is is said when nothing fits."""
    assert len(select_profiles(several())) == 7
    assert {p.name for p in select_profiles(several(), device="gpu")} == {"tiny", "base"}
    assert len(select_profiles(several(), device="GPU 100", name="TINY")) == 3
    with pytest.raises(InputError, match=r"--name: no profile has that \(expected runs/first#12,"):
        select_profiles(several(), device="cpu", name="tiny,")
    with pytest.raises(InputError, match="--device: no profile has that"):
        select_profiles(several(), device="H200")


def test_the_frame_has_memory_energy_and_failures() -> None:
    """One row a profile, a unit in every heading."""
    frame = profiles_frame(several())
    assert frame["peak_memory_mb"][0] == pytest.approx(75 * 64)
    assert frame["joules_per_image"][0] == 0.25
    assert frame["joules_per_image"].isna()[5]
    assert frame["failure"][3].startswith("CUDA out of memory")
    assert frame["median_ms"].isna()[3] and frame["median_ms"][4] == pytest.approx(100)
