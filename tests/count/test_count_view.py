"""The table of counters as text."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from rich.console import Console

from dilnas.count import reconcile
from dilnas.records import CounterReport, CounterRow
from dilnas.report.counters import counters_view
from dilnas.variants import variant

GOLDEN = Path(__file__).parent / "golden"
OVERWRITE = "DILNAS_OVERWRITE_GOLDEN"
"""Set to 1 to write the golden files anew; then read the difference before committing it."""


@cache
def tiny() -> tuple[CounterReport, ...]:
    """Of Tiny at 224 pixels, with versions of one day, so that the text is stable."""
    return tuple(
        replace(report, version={"fvcore": "0.1.5", "torch": "2.13.0"}.get(report.counter, "0.7.5"))
        for report in reconcile(variant("tiny"))
    )


def text_of(reports: tuple[CounterReport, ...], width: int) -> str:
    """As a pipe gets it, without spaces at line ends."""
    console = Console(width=width, no_color=True, force_terminal=False, highlight=False)
    with console.capture() as captured:
        console.print(counters_view(reports))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


@pytest.mark.parametrize("width", [80, 120])
def test_the_counters_of_tiny_are_as_they_were(width: int) -> None:
    """Counts, differences, reasons, residual 0 and what each counter does not see."""
    path = GOLDEN / f"counters_{width}.txt"
    text = text_of(tiny(), width)
    if os.environ.get(OVERWRITE) == "1":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("factor", [1, 300])
def test_no_digit_is_cut_at_80_columns(factor: int) -> None:
    """Also for images 300 times as large: every count is there, on one line."""
    large = tuple(
        replace(
            report,
            rows=tuple(
                replace(
                    row, counted=row.counted * factor, closed_form=row.closed_form * factor,
                    explained=row.explained * factor,
                )
                for row in report.rows
            ),
        )
        for report in tiny()
    )  # fmt: skip
    text = text_of(large, 80)
    for report in large:
        assert f"{report.total:,}" in text
        for row in report.rows:
            assert not row.counted or f"{row.counted:,}" in text
    assert "…" not in text


def test_a_residual_is_shown_with_its_operator() -> None:
    """It stands in the table and among the reasons."""
    report = tiny()[2]
    rows = (replace(report.rows[0], counted=report.rows[0].counted - 7), *report.rows[1:])
    lines = text_of((replace(report, rows=rows),), 80).splitlines()
    assert next(line for line in lines if line.startswith("residual")).split() == ["residual", "7"]
    assert "    −7 conv: nothing explains it" in lines


def test_what_the_reader_did_not_ask_for_is_not_shown() -> None:
    """No counters at all, or none run on the plain network."""
    assert text_of((), 80) == "no counter was run\n"
    plain = tuple(replace(r, unguarded_total=None, blind_to=()) for r in tiny())
    assert "as it is" not in text_of(plain, 80)


def test_operators_and_sentences_are_no_markup() -> None:
    """Names come from other people's packages."""
    row = CounterRow(operator="[bold]odd", counted=5, closed_form=0)
    report = CounterReport(
        counter="torch", version="1", convention="[red]none", rows=(row,), blind_to=("[dim]x",),
        unguarded_total=1,
    )  # fmt: skip
    text = text_of((report,), 80)
    assert text.count("[bold]odd") == 2  # in the table, and as nothing explains it
    assert all(word in text for word in ("[red]none", "[dim]x"))
