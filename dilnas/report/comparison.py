"""A Comparison for people: one table, the noise floor and what makes it doubtful; 80 columns do."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dilnas.records import Comparison, Contender, Verdict, Workload

__all__ = ["comparison_view"]

COLOURS = {"FASTER": "bold green", "SLOWER": "bold red", "SAME": "bold blue", "AMBIGUOUS": "yellow"}

STOPPED = {
    "verdict": "stopped when all was decided",
    "time": "stopped by the time limit",
    "count": "all that were asked for",
}


def comparison_view(comparison: Comparison) -> RenderableType:
    """Table of the contenders, then why, noise floor, rounds, device and doubts.

    Nothing that a user named is read as markup.
    """
    return Group(_header(comparison), "", _table(comparison), "", _below(comparison))


def _header(comparison: Comparison) -> Text:
    line = Text(overflow="fold")
    line.append(comparison.contenders[0].name, style="bold")
    others = len(comparison.contenders) - 1
    line.append(f" against {others} other{'s' if others > 1 else ''}")
    line.append(f"   {_workload(comparison.workload)}", style="dim")
    return line


def _workload(workload: Workload) -> str:
    words = [
        f"batch {workload.batch_size}",
        f"{workload.height} x {workload.width}",
        workload.dtype,
        workload.mode,
    ]
    if workload.compile != "eager":
        words.append({"compile": "compiled", "graph": "CUDA graph"}[workload.compile])
    if workload.channels_last:
        words.append("channels last")
    return ", ".join(words)


def _table(comparison: Comparison) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0)
    )  # fmt: skip
    table.add_column("name", overflow="fold", min_width=8)
    for title in ("params", "GFLOPs", "median", "ratio"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("95% interval", style="dim", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    verdicts: list[Verdict | None] = [None, *comparison.verdicts]
    for contender, verdict in zip(comparison.contenders, verdicts, strict=True):
        table.add_row(Text(contender.name), *_figures(contender), *_told(verdict))
    return table


def _figures(contender: Contender) -> tuple[str, str, str]:
    gflops = "-" if contender.gflops is None else f"{contender.gflops:.3f}"
    number = contender.parameters
    params = f"{number / 1e6:.3f} M" if number >= 100_000 else f"{number:,}"
    return params, gflops, _time(contender.median_s)


def _told(verdict: Verdict | None) -> tuple[str, str, Text]:
    if verdict is None:
        return "1", "", Text("baseline", style="dim")
    return (
        _ratio(verdict.ratio),
        _interval(verdict.low, verdict.high),
        Text(verdict.verdict, style=COLOURS[verdict.verdict]),
    )


def _time(seconds: float) -> str:
    """Four digits or so, in ms from a tenth of one."""
    if seconds < 1e-4:
        return f"{seconds * 1e6:.2f} µs"
    ms = seconds * 1e3
    return f"{ms:.4f} ms" if ms < 1 else f"{ms:.2f} ms" if ms < 1000 else f"{ms:,.0f} ms"


def _interval(low: float, high: float) -> str:
    return f"[{_ratio(low)}, {_ratio(high)}]"


def _ratio(ratio: float) -> str:
    """Three decimals about 1, three digits far from it."""
    return f"{ratio:.3f}" if 0.1 <= ratio < 10 else f"{ratio:.3g}"


def _below(comparison: Comparison) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in (*_facts(comparison), *_doubts(comparison)):
        grid.add_row(Text(name, style="yellow" if name == "doubt" else "dim"), Text(value))
    return grid


def _facts(comparison: Comparison) -> Iterable[tuple[str, str]]:
    base = comparison.contenders[0]
    for verdict in comparison.verdicts:
        yield "verdict", f"{verdict.name} {verdict.verdict}: {verdict.why}"
    noise = statistics.median(
        own / other for own, other in zip(comparison.control_s, base.samples_s, strict=True)
    )
    span = _interval(comparison.verdicts[0].noise_low, comparison.verdicts[0].noise_high)
    yield "noise", f"{base.name} against a second copy of itself: {_ratio(noise)} {span}"
    yield "rounds", _rounds(comparison)
    where = comparison.environment
    threads = f", {where.threads} thread{'s' if where.threads != 1 else ''}"
    if comparison.workload.device.startswith("cuda"):
        threads = ""
    yield "device", f"{where.device_name}{threads}, torch {where.torch}, Python {where.python}"


def _rounds(comparison: Comparison) -> str:
    extra = comparison.extra
    words = [f"{len(comparison.control_s)} in random order (seed {comparison.seed})"]
    if "rounds_s" in extra:
        words.append(f"{extra['rounds_s']:.1f} s")
    if (calls := extra.get("calls_per_sample", 1)) > 1:
        words.append(f"{calls} calls a sample")
    if "stopped_by" in extra:
        words.append(STOPPED.get(extra["stopped_by"], str(extra["stopped_by"])))
    return ", ".join(words)


def _doubts(comparison: Comparison) -> Iterable[tuple[str, str]]:
    if not comparison.doubts:
        yield "doubts", "none found"
    for doubt in comparison.doubts:
        yield "doubt", doubt
