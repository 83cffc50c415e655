"""What ``dilnas search`` shows while it runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.table import Table

    from dilnas.search.events import Event, Progress, UnitDone

__all__ = ["Screen", "clock", "fitting"]

SUMMARY_EVERY = 8
"""Plain lines between two that say everything."""

WIDE = 110
"""Columns from which the live table has room for dims and dilations."""

WHOLE = 136
"""Columns from which the final table has room for them, windows and memory."""

FRONT_ROWS = 12
"""Rows of the front that the live table shows at most."""


class Screen:
    """Shows events: a live table on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._console = console
        self._live: Live | None = None
        self._unit: UnitDone | None = None
        self._units = 0
        if console.is_terminal:
            self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Screen:
        (self._live or nullcontext()).__enter__()
        return self

    def __exit__(self, *problem: Any) -> None:
        if self._live is not None:
            self._live.__exit__(*problem)

    def show(self, event: Event) -> None:
        """Show ``event``. Of a unit's end and the progress after it, one line is made."""
        from dilnas.search.events import Note, Progress, UnitDone

        if isinstance(event, Note):
            for line in _note_lines(event):
                self._line(line)
        elif isinstance(event, UnitDone):
            self._unit = event
        elif isinstance(event, Progress):
            if self._unit is not None and (self._live is None or self._unit.reason):
                self._unit_line(self._unit, event)
            self._unit = None
            if self._live is not None:
                self._live.update(_live_table(event, self._console.width))

    def _unit_line(self, unit: UnitDone, progress: Progress) -> None:
        self._line(f"{_unit_text(unit)}  {_place(progress)}")
        self._units += 1
        if self._live is None and self._units % SUMMARY_EVERY == 0:
            self._line(_summary(progress))

    def _line(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text(text), highlight=False, soft_wrap=True)
        self._console.file.flush()


def fitting(rows: Iterable[Mapping[str, Any]], width: int) -> list[dict[str, Any]]:
    """Rows of the front without the columns that a console of ``width`` has no room for."""
    wordy = () if width >= WHOLE else ("dims", "dilations", "windows", "memory_mb")
    return [{k: v for k, v in row.items() if k not in wordy} for row in rows]


def _note_lines(note: Any) -> list[str]:
    from dilnas.space_report import SpaceReport

    report = note.detail
    return report.summary_lines() if isinstance(report, SpaceReport) else [note.text]


def _unit_text(unit: UnitDone) -> str:
    place = f"trial {unit.number:>3}  rung {unit.rung + 1}/{unit.rungs}"
    if unit.seed is not None:
        place = f"trial {unit.number:>3}  seed {unit.seed:<3}"
    if unit.reason:
        return f"{place}  failed: {unit.reason}"
    cost = f"{unit.gflops:7.3f} GFLOPs {unit.mparams:7.2f} MParams"
    return f"{place}  {unit.accuracy or 0:7.2%}  {cost}  {unit.seconds:6.1f} s  {unit.layout:<12}"


def _place(p: Progress) -> str:
    """Where the search stands, in a few words: "12/24, ETA 1:40"."""
    if p.final_units:
        return f"re-trained {p.final_done}/{p.final_units}, ETA {_eta(p)}"
    of = f"/{p.trials}" if p.trials else ""
    return f"{p.started}{of}, ETA {_eta(p)}"


def _summary(p: Progress) -> str:
    of = f" of {p.trials}" if p.trials else ""
    return (
        f"  {p.started}{of} candidates started, {p.complete} done, {len(p.running)} running, "
        f"{p.rejected} rejected, {p.failed} failed; {p.images_per_s:.0f} images/s, ETA {_eta(p)}; "
        f"{len(p.front)} on the front, hypervolume {p.hypervolume:.4f}"
    )


def _live_table(p: Progress, width: int) -> RenderableType:
    from rich.console import Group

    return Group(_facts(p, width), "", _front(p, width)) if p.front else _facts(p, width)


def _facts(p: Progress, width: int) -> Table:
    """Two rows of labelled facts; more rows where the terminal is narrow."""
    from rich.table import Table

    of = f"/{p.trials}" if p.trials else ""
    facts = [
        ("candidates", f"{p.started}{of}"), ("done", f"{p.complete}"),
        ("running", f"{len(p.running)}"), ("paused", f"{p.paused}"),
        ("rejected", f"{p.rejected}"), ("failed", f"{p.failed}"),
        ("images/s", f"{p.images_per_s:.0f}"), ("elapsed", clock(p.elapsed_s)),
        ("ETA", _eta(p)), ("front", f"{sum(1 for _ in p.front)}"),
        ("hypervolume", f"{p.hypervolume:.4f}"),
    ]  # fmt: skip
    if p.final_units:
        facts.insert(1, ("re-trained", f"{p.final_done}/{p.final_units}"))
    if p.pruned:
        facts.insert(4, ("stopped", f"{p.pruned}"))
    each = max(1, min(6, width // 20))
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(each):
        table.add_column(style="dim", no_wrap=True)
        table.add_column(style="bold", justify="right", no_wrap=True)
    for start in range(0, len(facts), each):
        table.add_row(*(cell for fact in facts[start : start + each] for cell in fact))
    return table


def _front(p: Progress, width: int) -> Table:
    from rich import box
    from rich.table import Table

    wide = width >= WIDE
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    again = any(row.get("final_accuracy", "") != "" for row in p.front)
    for title in ("front", "val %", *(("final %",) if again else ()), "GFLOPs", "params M"):
        table.add_column(title, justify="right", no_wrap=True)
    for title in ("layout", *(("dims", "dilations") if wide else ())):
        table.add_column(title, no_wrap=True, overflow="ellipsis")
    for row in p.front[-FRONT_ROWS:]:
        more = (row["dims"], row["dilations"]) if wide else ()
        mean = row.get("final_accuracy", "")
        final = (f"{100 * mean:.2f}" if mean != "" else "–",) if again else ()
        table.add_row(
            f"#{row['trial']}", f"{100 * row['val_accuracy']:.2f}", *final, f"{row['gflops']:.3f}",
            f"{row['mparams']:.2f}", row["layout"], *more,
        )  # fmt: skip
    return table


def _eta(p: Progress) -> str:
    """Time left; a search that GPU-hours alone end does not know it."""
    return "–" if p.eta_s is None or math.isinf(p.eta_s) else clock(p.eta_s)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: "1:02:03", "0:05"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
