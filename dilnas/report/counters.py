"""Third-party counters beside the closed form, to the last integer, and why they differ.

Integers, not rounded figures: only they show that nothing is left unexplained. At 80 columns they
fit up to totals of 10^13.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dilnas.records import CounterReport, CounterRow

__all__ = ["counters_view"]


def counters_view(reports: Sequence[CounterReport]) -> RenderableType:
    """Counts by operator, differences with their reasons, residuals, and what each counter misses.

    ``reports`` are of one network and one image size (``dilnas.count.reconcile``).
    """
    if not reports:
        return Text("no counter was run")
    parts: list[RenderableType] = [_table(reports), "", Text("why they differ", style="bold")]
    for report in reports:
        parts.append(_line(f"{report.counter} {report.version}", report.convention))
        parts.extend(_detail(line) for line in _reasons(report.rows))
    ran = [report for report in reports if report.unguarded_total is not None]
    if ran:
        title = "what they say of the network as it is, on the CPU"
        parts += ["", Text(title, style="bold")]
    told: dict[tuple[str, ...], str] = {}
    for report in ran:
        same_as = told.setdefault(report.blind_to, report.counter)
        repeated = bool(report.blind_to) and same_as != report.counter
        text = _outcome(report, same_as if repeated else "")
        parts.append(_line(report.counter, f"{report.unguarded_total:,}: {text}"))
        if not repeated:
            parts.extend(_detail(sentence) for sentence in report.blind_to)
    return Group(*parts)


def _table(reports: Sequence[CounterReport]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("one image", no_wrap=True)
    for title in ("closed form", *(report.counter for report in reports)):
        table.add_column(Text(title), justify="right", overflow="fold")
    names = list(dict.fromkeys(row.operator for report in reports for row in report.rows))
    columns = [{row.operator: row for row in report.rows} for report in reports]
    closed = {row.operator: row.closed_form for rows in columns for row in rows.values()}
    for name in names:
        counts = [column[name].counted if name in column else 0 for column in columns]
        table.add_row(Text(name), *(f"{c:,}" if c else "–" for c in (closed[name], *counts)))
    totals = [report.total for report in reports]
    exact = sum(closed.values())
    table.add_row("total", *(f"{c:,}" for c in (exact, *totals)), style="bold", end_section=True)
    explained = [sum(row.explained for row in report.rows) for report in reports]
    table.add_row("difference", "", *(_signed(total - exact) for total in totals))
    table.add_row("explained", "", *(_signed(each) for each in explained))
    table.add_row("residual", "", *(_residual(report) for report in reports), style="bold")
    return table


def _residual(report: CounterReport) -> Text:
    """0, or the sum of the operators' residuals without their signs, in red."""
    return Text(f"{report.residual:,}", style="red" if report.residual else "green")


def _reasons(rows: Iterable[CounterRow]) -> Iterable[str]:
    """A line a reason, with the operators that it holds for, then one a residual."""
    rows = tuple(rows)
    for why in dict.fromkeys(row.why for row in rows if row.explained):
        same = [row for row in rows if row.why == why and row.explained]
        names = ", ".join(row.operator for row in same)
        yield f"{_signed(sum(row.explained for row in same))} {names}: {why}"
    for row in rows:
        if row.residual:
            yield f"{_signed(row.residual)} {row.operator}: nothing explains it"


def _outcome(report: CounterReport, same_as: str) -> str:
    """What the plain network's total is worth; ``same_as`` names a counter that misses the same."""
    assert report.unguarded_total is not None
    missed = report.total - report.unguarded_total
    if not missed and not report.blind_to:
        return "sees all of it"
    short = f"{missed:,} ({missed / report.total:.1%}) short"
    return f"{short}, for the same reason as {same_as}" if same_as else f"{short}, does not see"


def _line(name: str, text: str) -> Padding:
    line = Text(overflow="fold")
    line.append(name, style="cyan")
    line.append(f"  {text}")
    return Padding(line, (0, 0, 0, 2), expand=False)


def _detail(text: str) -> Padding:
    return Padding(Text(text, overflow="fold"), (0, 0, 0, 4), expand=False)


def _signed(count: int) -> str:
    """With its sign; a true minus."""
    return f"{count:+,}".replace("-", "−") if count else "0"
