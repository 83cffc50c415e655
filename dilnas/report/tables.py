"""A Profile for people: rich tables for a terminal of 80 columns or more, plain text in a pipe."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dilnas.arch import Architecture
from dilnas.records import Cost, Profile
from dilnas.report.rows import latency_row, operator_rows, stage_rows

if TYPE_CHECKING:
    from rich.console import JustifyMethod

__all__ = ["operator_table", "profile_view", "stage_table"]

BAR = 16
"""Characters of a full share bar."""

_EIGHTHS = " ▏▎▍▌▋▊▉"


def share_bar(share: float, width: int = BAR) -> str:
    """A bar of ``share`` (0..1) of ``width`` characters, to an eighth of one."""
    eighths = round(max(0.0, min(share, 1.0)) * width * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).strip()


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
        ("", "left", "blue"),
    )
    for row in stage_rows(cost, architecture):
        table.add_row(
            row["part"],
            row["blocks"],
            "" if row["dim"] is None else str(row["dim"]),
            row["map"],
            f"{row['params'] / 1e6:.3f} M",
            f"{row['flops'] / 1e9:.3f}",
            f"{row['flops_share']:.1%}",
            share_bar(row["flops_share"]),
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
        ("", "left", "blue"),
    )
    for row in operator_rows(cost):
        share = row["flops_share"]
        table.add_row(
            row["operator"], f"{row['flops'] / 1e9:.3f}", f"{share:.1%}", share_bar(share)
        )
    table.add_row("total", f"{cost.flops / 1e9:.3f}", "100.0%", "", style="bold")
    return table


def profile_view(profile: Profile) -> RenderableType:
    """Everything of a profile: header, cost tables, what was measured and where, doubts, notes."""
    cost = profile.cost
    parts: list[RenderableType] = [
        _header(profile),
        *_cost_lines(cost),
        "",
        stage_table(cost, profile.architecture),
        "",
        operator_table(cost),
        "",
    ]
    parts.extend(_measured(profile))
    parts.extend(_sentences("note", "cyan", profile.notes))
    return Group(*parts)


def _header(profile: Profile) -> Text:
    line = Text()
    line.append(profile.name, style="bold")
    line.append(f"   {profile.architecture.layout}   {profile.cost.height} x {profile.cost.width}")
    line.append(f"   key {profile.architecture.key}", style="dim")
    return line


def _cost_lines(cost: Cost) -> tuple[Text, Text]:
    """The exact figures of one image: what it computes, what it holds."""
    computes = _pairs(
        ("params", f"{cost.params / 1e6:.3f} M"),
        ("GFLOPs", f"{cost.flops / 1e9:.3f}"),
        ("MACs", f"{cost.macs / 1e9:.3f} G"),
        ("", "(exact, one image)"),
    )
    holds = _pairs(
        ("weights", f"{cost.weight_bytes() / 1e6:.1f} MB"),
        ("with live activations", f"{cost.memory_bytes() / 1e6:.1f} MB"),
        ("", "(fp32, inference)"),
    )
    return computes, holds


def _measured(profile: Profile) -> Iterable[RenderableType]:
    row = latency_row(profile)
    if row is None or profile.measurement is None or profile.environment is None:
        return
    w, e, m = profile.workload, profile.environment, profile.measurement
    median = f"{row['median_ms']:.2f} ms"
    if row["median_low_ms"] is not None:
        median += f" [{row['median_low_ms']:.2f}, {row['median_high_ms']:.2f}]"
    images = row["images_per_s"]
    yield _pairs(
        ("latency", f"median {median}"),
        ("p95", f"{row['p95_ms']:.2f} ms"),
        ("images/s", f"{images:.1f}" if images < 1000 else f"{images:,.0f}"),
    )
    memory = row["peak_memory_mb"]
    yield _pairs(
        ("memory", "not measured" if memory is None else f"peak {memory:.1f} MB"),
        ("", m.extra.get("memory_method", "")),
    )
    yield _pairs(
        ("workload", f"batch {w.batch_size}, {w.height} x {w.width}, {w.dtype}, {w.mode}"),
        ("", f"{len(m.samples)} samples after {m.warmup} warm-up runs"),
    )
    threads = "" if w.device.startswith("cuda") else f", {e.threads} threads"
    yield _pairs(
        ("device", f"{e.device_name}{threads}"), ("", f"torch {e.torch}, Python {e.python}")
    )
    yield from _sentences("doubt", "yellow", m.doubts)
    if not m.doubts:
        yield _pairs(("doubts", "none found"))


def _pairs(*pairs: tuple[str, str]) -> Text:
    """``name value   name value``: names dim, values as they are; never read as markup."""
    line = Text(overflow="fold")
    for i, (name, value) in enumerate(pairs):
        line.append("   " if i else "")
        line.append(f"{name} " if name else "", style="dim")
        line.append(value)
    return line


def _sentences(kind: str, style: str, sentences: Iterable[Any]) -> Iterable[Text]:
    for sentence in sentences:
        line = Text(overflow="fold")
        line.append(f"{kind}: ", style=style)
        line.append(str(sentence))
        yield line
