"""A Profile for people: rich tables for a terminal of 80 columns or more, plain text in a pipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from dilnas.arch import Architecture
from dilnas.records import Cost, Profile
from dilnas.report.measured import Pairs, doubt_lines, measured_lines, pairs, sentences
from dilnas.report.rows import operator_rows, stage_rows

if TYPE_CHECKING:
    from rich.console import JustifyMethod

__all__ = ["cost_lines", "header", "operator_table", "profile_view", "stage_table"]

BAR = 16
"""Characters of a full share bar."""

_EIGHTHS = " ▏▎▍▌▋▊▉"


def share_bar(share: float, width: float = BAR) -> str:
    """A bar of ``share`` (0..1) of ``width`` characters, to an eighth of one."""
    eighths = round(max(0.0, min(share, 1.0)) * width * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).strip()


@dataclass(frozen=True, slots=True)
class ShareBar:
    """A bar that shrinks with its column instead of being cut: all bars of a table alike.

    ``largest`` is the largest share of the column.
    """

    share: float
    largest: float

    @property
    def _longest(self) -> int:
        return len(share_bar(self.largest))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """From one character to what the largest share takes."""
        return Measurement(min(1, self._longest), min(self._longest, options.max_width))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The bar, scaled to the column where that is narrower than the longest bar."""
        room = min(options.max_width, self._longest)
        scale = 1.0 if room == self._longest else room / (BAR * self.largest)
        yield Text(share_bar(self.share, BAR * scale)[:room], no_wrap=True)


def _table(*columns: tuple[str, JustifyMethod, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title, justify, style in columns:
        table.add_column(title, justify=justify, style=style, no_wrap=True)
    return table


def stage_table(cost: Cost, architecture: Architecture) -> Table:
    """Cost by part: blocks, width, map, params, GFLOPs and their share; the last row sums."""
    table = _table(
        ("part", "left", ""),
        ("blocks", "left", "dim"),
        ("dim", "right", "dim"),
        ("map", "right", "dim"),
        ("params", "right", ""),
        ("GFLOPs", "right", "bold"),
        ("share", "right", ""),
    )
    table.add_column("", justify="left", style="blue")  # may be narrower, unlike the others
    rows = stage_rows(cost, architecture)
    largest = max(row["flops_share"] for row in rows)
    for row in rows:
        table.add_row(
            row["part"],
            row["blocks"],
            "" if row["dim"] is None else str(row["dim"]),
            row["map"],
            f"{row['params'] / 1e6:.3f} M",
            f"{row['flops'] / 1e9:.3f}",
            f"{row['flops_share']:.1%}",
            ShareBar(row["flops_share"], largest),
        )
    total, flops = f"{cost.params / 1e6:.3f} M", f"{cost.flops / 1e9:.3f}"
    table.add_row("total", "", "", "", total, flops, "100.0%", "", style="bold")
    return table


def operator_table(cost: Cost) -> Table:
    """Cost by operator, in fvcore's names; the last rows sum."""
    table = _table(
        ("operator", "left", ""),
        ("GFLOPs", "right", "bold"),
        ("share", "right", ""),
    )
    table.add_column("", justify="left", style="blue")
    rows = operator_rows(cost)
    largest = max(row["flops_share"] for row in rows)
    for row in rows:
        share = row["flops_share"]
        table.add_row(
            row["operator"], f"{row['flops'] / 1e9:.3f}", f"{share:.1%}", ShareBar(share, largest)
        )
    table.add_row("total", f"{cost.flops / 1e9:.3f}", "100.0%", "", style="bold")
    return table


def profile_view(profile: Profile) -> RenderableType:
    """Everything of a profile: header, cost tables, what was measured and where, doubts, notes."""
    cost = profile.cost
    parts: list[RenderableType] = [
        header(profile),
        *cost_lines(cost),
        "",
        stage_table(cost, profile.architecture),
        "",
        operator_table(cost),
        "",
    ]
    if profile.counters:
        from dilnas.report.counters import counters_view

        parts += [counters_view(profile.counters), ""]
    parts += measured_lines(profile)
    if profile.breakdown is not None:
        from dilnas.report.breakdown import breakdown_view

        parts += ["", breakdown_view(profile.breakdown), ""]
    parts += doubt_lines(profile)
    parts += sentences("note", "cyan", profile.notes)
    return Group(*parts)


def header(profile: Profile) -> Text:
    """Name, layout, image and key on one line."""
    line = Text()
    line.append(profile.name, style="bold")
    line.append(f"   {profile.architecture.layout}   {profile.cost.height} x {profile.cost.width}")
    line.append(f"   key {profile.architecture.key}", style="dim")
    return line


def cost_lines(cost: Cost) -> tuple[Pairs, Pairs]:
    """The exact figures of one image: what it computes, what it holds."""
    computes = pairs(
        ("params", f"{cost.params / 1e6:.3f} M"),
        ("GFLOPs", f"{cost.flops / 1e9:.3f}"),
        ("MACs", f"{cost.macs / 1e9:.3f} G"),
        ("", "(exact, one image)"),
    )
    holds = pairs(
        ("weights", f"{cost.weight_bytes() / 1e6:.1f} MB"),
        ("with live activations", f"{cost.memory_bytes() / 1e6:.1f} MB"),
        ("", "(fp32, inference)"),
    )
    return computes, holds
