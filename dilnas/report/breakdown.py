"""A Breakdown for people: where the time goes, by part and by operator; fits 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dilnas.records import Breakdown, BreakdownRow, DeviceRates
from dilnas.report.measured import sentences
from dilnas.report.tables import share_bar

__all__ = ["OPERATOR_NAMES", "breakdown_rows", "breakdown_view"]

OPERATOR_NAMES = {
    "conv": "convolution",
    "linear": "linear",
    "msda": "MSDA",
    "attention": "global attn",
    "layer_norm": "layer norm",
    "batch_norm": "batch norm",
    "gelu": "GELU",
    "add": "sums",
    "pool": "pooling",
    "copy": "copies",
}
"""Operators as tables and plots call them; any other name is shown as it is."""

BAR = 8
"""Characters of a full share bar."""


def breakdown_rows(breakdown: Breakdown) -> list[dict[str, Any]]:
    """Both lists as plain rows, ``kind`` "part" or "operator": the same for CSV and pandas.

    ``attained`` (0..1, above 1 where data stay in caches) and ``bound`` are None for a row that
    must neither compute nor move anything.
    """
    return [
        {"kind": kind, **_plain(row, breakdown)}
        for kind, rows in (("part", breakdown.parts), ("operator", breakdown.operators))
        for row in rows
    ]


def _plain(row: BreakdownRow, breakdown: Breakdown) -> dict[str, Any]:
    works = bool(row.macs or row.moved_bytes)
    return {
        "name": row.name,
        "time_ms": row.time_s * 1e3,
        "time_share": row.time_s / breakdown.total_s if breakdown.total_s else 0.0,
        "copy_ms": row.copy_s * 1e3,
        "gmacs": row.macs / 1e9,
        "moved_mb": row.moved_bytes / 1e6,
        "macs_per_byte": row.macs_per_byte,
        "attained": row.attained(breakdown.rates) if works else None,
        "bound": row.bound(breakdown.rates) if works else None,
    }


def breakdown_view(breakdown: Breakdown, *, doubts: bool = True) -> RenderableType:
    """Both tables, the roofs, the bottleneck, the method and the doubts.

    ``doubts`` False leaves the breakdown's own doubts to a caller that shows them elsewhere; those
    of the roofs always stand beside the roofs.
    """
    same = breakdown.parts == breakdown.operators  # one row: operators cannot be told apart
    shown: list[RenderableType] = [_table("part", breakdown.parts, breakdown), ""]
    if not same:
        shown += [_table("operator", breakdown.operators, breakdown), ""]
    shown.append(_line("roofs", _roofs(breakdown.rates)))
    shown.append(_line("bottleneck", breakdown.bottleneck, "bold"))
    shown.append(_line("method", f"{breakdown.method}; {_totals(breakdown)}"))
    own = breakdown.doubts if doubts else ()
    shown.extend(sentences("doubt", "yellow", own))
    shown.extend(sentences("doubt", "yellow", (f"roofs: {d}" for d in breakdown.rates.doubts)))
    return Group(*shown)


def _table(kind: str, rows: Sequence[BreakdownRow], breakdown: Breakdown) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(kind, no_wrap=True)
    table.add_column("ms", justify="right", style="bold", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("", style="blue", no_wrap=True)
    for title in ("GMACs", "MB", "MACs/B"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("of its roof", justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row, breakdown))
    if len(rows) > 1:
        total = BreakdownRow(
            name="total",
            time_s=sum(row.time_s for row in rows),
            macs=sum(row.macs for row in rows),
            moved_bytes=sum(row.moved_bytes for row in rows),
        )
        cells = _cells(total, breakdown)
        table.add_row(*cells[:3], "", *cells[4:], style="bold")
    return table


def _cells(row: BreakdownRow, breakdown: Breakdown) -> list[str | Text]:
    plain = _plain(row, breakdown)
    roof = "–" if plain["bound"] is None else f"{plain['attained']:.0%} {plain['bound']}"
    works = row.macs or row.moved_bytes
    return [
        Text(OPERATOR_NAMES.get(row.name, row.name)),  # a name is never read as markup
        f"{plain['time_ms']:.2f}",
        f"{plain['time_share']:.1%}",
        share_bar(plain["time_share"], BAR),
        f"{plain['gmacs']:.3f}" if row.macs else "–",
        f"{plain['moved_mb']:.1f}" if works else "–",
        f"{plain['macs_per_byte']:.1f}" if row.macs else "–",
        roof,
    ]


def _roofs(rates: DeviceRates) -> str:
    macs, moved = rates.macs_per_s / 1e9, rates.bytes_per_s / 1e9
    knee = rates.macs_per_s / rates.bytes_per_s
    return (
        f"{macs:,.1f} GMAC/s in matrix products, {moved:,.1f} GB/s in copies, as measured here;"
        f" compute is nearer above {knee:.2g} MACs/B"
    )


def _totals(breakdown: Breakdown) -> str:
    return f"sum {breakdown.total_s * 1e3:.2f} ms, plain median {breakdown.plain_s * 1e3:.2f} ms"


def _line(name: str, value: str, style: str = "") -> Text:
    line = Text(overflow="fold")
    line.append(f"{name} ", style="dim")
    line.append(value, style=style)
    return line
