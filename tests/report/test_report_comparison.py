"""The table of a comparison: golden text, 80 columns, nothing read as markup."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from dilnas.records import Comparison, Contender, Environment, Verdict, Workload
from dilnas.report.comparison import comparison_view
from dilnas.report.document import comparison_json

GOLDEN = Path(__file__).parent / "golden" / "comparison.txt"


def text_of(shown: Comparison, width: int, *, colour: bool = False) -> str:
    """As printed ``width`` columns wide, without spaces at line ends."""
    console = Console(
        width=width, no_color=not colour, force_terminal=colour, highlight=False,
        file=io.StringIO(), color_system="truecolor" if colour else None,
    )  # fmt: skip
    with console.capture() as captured:
        console.print(comparison_view(shown))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def contender(name: str, scale: float, **known: object) -> Contender:
    return Contender(
        name=name, spec=name, parameters=17_238_744,
        samples_s=tuple(scale * (0.06 + 0.0001 * (i % 5)) for i in range(24)), **known,
    )  # fmt: skip


def verdict(name: str, low: float, high: float, kind: str, why: str) -> Verdict:
    return Verdict(
        name=name, baseline="tiny", ratio=(low + high) / 2, low=low, high=high,
        noise_low=0.991, noise_high=1.012, verdict=kind, why=why,
    )  # fmt: skip


def recorded() -> Comparison:
    """One of each verdict, as if from a device."""
    return Comparison(
        workload=Workload(batch_size=8, height=224, width=320, dtype="bf16", compile="compile"),
        environment=Environment(
            device_name="Replay CPU", platform="any", python="3.11.0", torch="2.13.0",
            dilnas="0", threads=2,
        ),
        contenders=(
            contender("tiny", 1.0, key="0123456789abcdef", gflops=3.177),
            contender("tiny (2)", 1.001, key="0123456789abcdef", gflops=3.177),
            contender("base", 30.0, gflops=9.962),
            contender("package.module.with.a.long.name:small_model_factory", 0.001),
            contender("timm:[bold]resnet[/bold]", 1.04),
        ),
        control_s=tuple(0.06 + 0.0001 * ((i + 1) % 5) for i in range(24)),
        verdicts=(
            verdict("tiny (2)", 0.99, 1.015, "SAME", "-1.0% to +1.5%: all within the margin"),
            verdict("base", 29.1, 30.9, "SLOWER", "+2810% to +2990%: all above the margin"),
            verdict("package…", 0.001, 0.002, "FASTER", "all below the margin and the noise"),
            verdict("timm…", 1.01, 1.07, "AMBIGUOUS", "neither within the margin nor beyond it"),
        ),
        seed=7,
        doubts=("other processes used 0.9 of 2 cores meanwhile", "[red]not markup[/red]"),
        extra={"rounds_s": 12.34, "calls_per_sample": 3, "stopped_by": "time"},
    )  # fmt: skip


def test_the_table_is_as_recorded() -> None:
    """80 columns wide. After a wanted change: DILNAS_OVERWRITE_GOLDEN=1 pytest tests/report."""
    text = text_of(recorded(), 80)
    if os.environ.get("DILNAS_OVERWRITE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_every_width_from_80_shows_every_figure() -> None:
    """No verdict, ratio or interval is cut; names fold, and are not read as markup."""
    for width in (80, 100, 120):
        text = text_of(recorded(), width)
        assert max(map(len, text.splitlines())) <= width
        for word in ("SAME", "SLOWER", "FASTER", "AMBIGUOUS", "baseline", "[29.1, 30.9]"):
            assert word in text
        joined = "".join(text.split())
        assert "[red]notmarkup[/red]" in joined
        assert "timm:[bold]resnet[/bold]" in joined or width < 120
        assert "…" not in text.replace("package…", "").replace("timm…", "")


def test_verdicts_are_coloured() -> None:
    """Red for slower, green for faster, in a terminal."""
    text = text_of(recorded(), 100, colour=True)
    assert "\x1b[1;31mSLOWER" in text and "\x1b[1;32mFASTER" in text


def test_without_doubts_that_is_said() -> None:
    """Silence would look like not having looked."""
    assert "doubts   none found" in text_of(replace(recorded(), doubts=()), 80)


def test_the_document_is_the_record_with_samples_on_one_line() -> None:
    """Nothing is lost by the layout, also where a string looks like it."""
    shown = replace(recorded(), doubts=('["1",\n 2]', "[\n 1\n]"))
    text = comparison_json(shown)
    found = json.loads(text)
    assert found["doubts"] == list(shown.doubts)
    assert found["control_s"] == list(shown.control_s)
    assert sum("0.0601" in line for line in text.splitlines()) <= len(shown.contenders) + 1
